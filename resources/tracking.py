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
from tidemill.project import SMALLER_IS_BETTER
from tidemill.store.durable import locked

if TYPE_CHECKING:  # at run time they would bring MLflow and the search to whoever loads the code
    from mlflow.tracking import MlflowClient

    from tidemill.learn.search import Trial

# Trials written of one training; each takes about 20 ms of the step. Its candidates share them.
MOST_TRIALS = 200
# MLflow's pages open on the views for models that are trained, not on those for language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}
# Characters of a tag; MLflow takes 8000.
MOST_TAG = 5000


class Tracking(ConfigurableResource):  # type: ignore[type-arg]
    """Experiments in the home's own MLflow store (SQLite and a folder); no server is needed."""

    root: str

    @property
    def uri(self) -> str:
        return f"sqlite:///{Home.find(self.root).mlflow / 'mlflow.db'}"

    @contextmanager
    def exclusive(self, wait: float = 60.0) -> Iterator[MlflowClient]:
        """A client of the store, while no other process of ours sets it up or changes the registry.

        The first use of a fresh SQLite file migrates it, and two migrations at once break each other. Raises
        Conflict when another holds it for `wait` seconds.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        from mlflow.tracking import MlflowClient

        mlflow_home = Home.find(self.root).mlflow
        mlflow_home.mkdir(parents=True, exist_ok=True)
        with locked(mlflow_home / ".setup.lock", wait=wait, what="MLflow's database"):
            yield MlflowClient(self.uri, registry_uri=self.uri)

    @contextmanager
    def training_run(
        self, context: AssetExecutionContext, experiment: str, tags: Mapping[str, str], candidates: int
    ) -> Iterator[TrainingRun]:
        """The MLflow run of this Dagster run: FINISHED at the end, FAILED when an error passes through.

        `candidates` is how many will share what is written of trials.
        """
        with self.exclusive():
            import mlflow

            mlflow.set_tracking_uri(self.uri)
            if mlflow.get_experiment_by_name(experiment) is None:
                artifacts = Home.find(self.root).mlflow / "artifacts" / experiment
                mlflow.create_experiment(experiment, artifacts.as_uri(), tags=dict(KIND))
            run = self._opened(context, experiment, tags)
        try:
            yield TrainingRun(run, candidates)
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
        self,
        mlflow_run_id: str,
        metrics: Mapping[str, float],
        files: Sequence[Path],
        plots: Mapping[str, bytes],
    ) -> None:
        """Add to a run that has ended what the held-out rows told: metrics, files such as the card, PNG plots."""
        with self.exclusive() as client:
            for name, value in metrics.items():
                client.log_metric(mlflow_run_id, name, value)
            for file in files:
                client.log_artifact(mlflow_run_id, str(file), "evaluation")
            with tempfile.TemporaryDirectory() as folder:
                for name, png in plots.items():
                    (Path(folder) / f"{name}.png").write_bytes(png)
                client.log_artifacts(mlflow_run_id, folder, "evaluation")


class TrainingRun:
    """What a training writes to MLflow, of so many `candidates`."""

    def __init__(self, mlflow: Any, candidates: int = 1) -> None:
        self._mlflow = mlflow
        self._trials_left = MOST_TRIALS
        self._candidates_left = candidates

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

    def log_failed_candidate(
        self, name: str, tags: Mapping[str, str], trials: Sequence[Trial], metric: str
    ) -> None:
        """Write a candidate none of whose settings worked: a child run that failed, with its trials below it."""
        run = self._mlflow.start_run(run_name=name, nested=True, tags=dict(tags))
        try:
            self._log_trials(run, name, trials, metric, tags)
            if reason := next((trial.error for trial in trials if trial.error), None):
                self._mlflow.set_tag("error", reason[:MOST_TAG])
        finally:
            self._mlflow.end_run("FAILED")

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
        """Write trials below the run `parent` of their candidate, as many as its share allows.

        What earlier candidates left of their shares is divided among those to come.
        """
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.tracking import MlflowClient

        client = MlflowClient()
        share = self._trials_left // max(1, self._candidates_left)
        written = shown_trials(trials, share, metric)
        self._trials_left -= len(written)
        self._candidates_left -= 1
        at = int(time.time() * 1000)
        for number, trial in written:
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
                tags=[RunTag("error", trial.error[:MOST_TAG])] if trial.error else [],
            )
            client.set_terminated(run.info.run_id, "FAILED" if trial.error else "FINISHED")
        client.set_tag(parent.info.run_id, "trials", f"{len(written)} of {len(trials)} written")


def shown_trials(trials: Sequence[Trial], share: int, metric: str) -> list[tuple[int, Trial]]:
    """At most `share` of `trials` with their numbers from 1, in their order.

    Beyond that the best of those that went through every fold stay, and one failure, so that its reason is seen.
    """
    numbered = list(enumerate(trials, start=1))
    if len(numbered) <= share:
        return numbered
    sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0

    def rank(each: tuple[int, Trial]) -> tuple[int, float]:
        trial = each[1]
        worth = -sign * trial.mean if trial.scores else 0.0
        return ("complete", "pruned", "out of time", "failed").index(trial.state), worth

    best = sorted(numbered, key=rank)[:share]
    failure = next((each for each in numbered if each[1].state == "failed"), None)
    if failure is not None and best and failure not in best:
        best[-1] = failure
    return sorted(best, key=lambda each: each[0])
