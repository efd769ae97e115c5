"""MLflow as a Dagster resource, through dagster-mlflow: a run per training, its candidates and their trials below.

dagster-mlflow's own resource would import MLflow (3 s) wherever definitions are loaded, set itself up in steps
that never track, and leave the MLflow run open after runs started without its hook. So its `MlFlow` class is
made here, inside the step that tracks, and closed by the same `with`.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, BetaWarning, ConfigurableResource

from tidemill.home import Home
from tidemill.store.durable import locked

if TYPE_CHECKING:  # at run time it would bring the search's imports to whoever loads the code
    from tidemill.learn.search import Trial

# Trials written of one training; each takes about 20 ms of the step.
MOST_TRIALS = 200


class Tracking(ConfigurableResource):  # type: ignore[type-arg]
    """Experiments in the home's own MLflow store (SQLite and a folder); no server is needed."""

    root: str

    @property
    def uri(self) -> str:
        return f"sqlite:///{Home.find(self.root).mlflow / 'mlflow.db'}"

    @contextmanager
    def training_run(
        self, context: AssetExecutionContext, experiment: str, tags: Mapping[str, str]
    ) -> Iterator[TrainingRun]:
        """The MLflow run of this Dagster run: FINISHED at the end, FAILED when an error passes through."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        import mlflow

        home = Home.find(self.root)
        with locked(home.mlflow / ".setup.lock", what="MLflow's database"):
            # The first use of a fresh SQLite file migrates it, and two migrations at once break each other.
            mlflow.set_tracking_uri(self.uri)
            if mlflow.get_experiment_by_name(experiment) is None:
                mlflow.create_experiment(experiment, (home.mlflow / "artifacts" / experiment).as_uri())
            run = self._opened(context, experiment, tags)
        try:
            yield TrainingRun(run)
        except BaseException:
            mlflow.end_run("FAILED")
            raise
        mlflow.end_run("FINISHED")

    def _opened(self, context: AssetExecutionContext, experiment: str, tags: Mapping[str, str]) -> Any:
        """dagster-mlflow's view of the MLflow run that belongs to this Dagster run; it is active afterwards."""
        config = {
            "experiment_name": experiment,
            "mlflow_tracking_uri": self.uri,
            "extra_tags": dict(tags),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BetaWarning)  # its version is pinned
            from dagster_mlflow.resources import MlFlow

            return MlFlow(  # type: ignore[no-untyped-call]
                SimpleNamespace(
                    log=context.log,
                    dagster_run=context.run,
                    run_id=context.run.run_id,
                    resource_config=config,
                )
            )

    def add_evaluation(
        self, mlflow_run_id: str, metrics: Mapping[str, float], card: Path, plot: bytes
    ) -> None:
        """Add to a run that has ended what the held-out rows told: metrics, the model card (a file), a PNG."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self.uri)
        for name, value in metrics.items():
            client.log_metric(mlflow_run_id, name, value)
        client.log_artifact(mlflow_run_id, str(card), "evaluation")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "evaluation.png").write_bytes(plot)
            client.log_artifacts(mlflow_run_id, folder, "evaluation")


class TrainingRun:
    """What a training writes to MLflow."""

    def __init__(self, mlflow: Any) -> None:
        self._mlflow = mlflow
        self._trials_left = MOST_TRIALS

    @property
    def id(self) -> str:
        return str(self._mlflow.active_run().info.run_id)

    def log(
        self, params: Mapping[str, Any], metrics: Mapping[str, float], artifacts: Path | None = None
    ) -> None:
        """Write to the training's own run; `artifacts` is a folder that is copied."""
        self._mlflow.log_params(dict(params))
        self._mlflow.log_metrics(dict(metrics))
        if artifacts is not None:
            self._mlflow.log_artifacts(str(artifacts), artifact_path="bundle")

    def log_candidate(
        self,
        name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Path,
        trials: Sequence[Trial],
        metric: str,
    ) -> None:
        """Write one candidate as a child run, with plots from the folder `artifacts`, and its trials below it."""
        with self._mlflow.start_run(run_name=name, nested=True, tags=dict(tags)) as run:
            self._mlflow.log_params(dict(params))
            self._mlflow.log_metrics(dict(metrics))
            self._mlflow.log_artifacts(str(artifacts))
            self._log_trials(run, name, trials, metric, tags)

    def log_dataset(self, table: str, sha256: str, folder: Path) -> None:
        """Name the table version (such as `features@3`) that was trained on as the run's dataset."""
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.tracking import MlflowClient

        # MLflow's own dataset classes would read and hash the rows again; its digests have at most 36 characters.
        source = json.dumps({"uri": folder.as_uri()})
        dataset = Dataset(name=table, digest=sha256[:36], source_type="local", source=source)
        used = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        MlflowClient().log_inputs(self.id, [used])

    def _log_trials(
        self, parent: Any, name: str, trials: Sequence[Trial], metric: str, tags: Mapping[str, str]
    ) -> None:
        """Write trials below the run `parent` of their candidate, in their order, until MOST_TRIALS are written."""
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.tracking import MlflowClient

        client = MlflowClient()
        written = trials[: self._trials_left]
        self._trials_left -= len(written)
        at = int(time.time() * 1000)
        for number, trial in enumerate(written, start=1):
            run = client.create_run(
                parent.info.experiment_id,
                run_name=f"{name} trial {number}",
                tags={**tags, "mlflow.parentRunId": parent.info.run_id, "state": trial.state},
            )
            metrics = [Metric(f"fold_{metric}", score, at, fold) for fold, score in enumerate(trial.scores)]
            if trial.scores:
                metrics.append(Metric(f"cv_{metric}", trial.mean, at, 0))
            client.log_batch(
                run.info.run_id,
                metrics=[*metrics, Metric("seconds", trial.seconds, at, 0)],
                params=[Param(key, str(value)) for key, value in trial.params.items()],
                tags=[RunTag("error", trial.error[:5000])] if trial.error else [],
            )
            client.set_terminated(run.info.run_id, "FAILED" if trial.error else "FINISHED")
        client.set_tag(parent.info.run_id, "trials", f"{len(written)} of {len(trials)} written")
