"""MLflow as a Dagster resource, through dagster-mlflow: one run per training, one child per candidate.

dagster-mlflow's own resource would import MLflow (3 s) wherever definitions are loaded, set itself up in steps
that never track, and leave the MLflow run open after runs started without its hook. So its `MlFlow` class is
made here, inside the step that tracks, and closed by the same `with`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dagster import AssetExecutionContext, BetaWarning, ConfigurableResource

from tidemill.home import Home
from tidemill.store.durable import locked


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
                    run_id=context.run_id,
                    resource_config=config,
                )
            )

    def add_metrics(self, mlflow_run_id: str, metrics: Mapping[str, float]) -> None:
        """Add metrics to a run that has ended, such as those of the held-out rows."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self.uri)
        for name, value in metrics.items():
            client.log_metric(mlflow_run_id, name, value)


class TrainingRun:
    """What a training writes to MLflow."""

    def __init__(self, mlflow: Any) -> None:
        self._mlflow = mlflow

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
    ) -> None:
        """Write one candidate as a child run, with its model and plots from the folder `artifacts`."""
        with self._mlflow.start_run(run_name=name, nested=True, tags=dict(tags)):
            self._mlflow.log_params(dict(params))
            self._mlflow.log_metrics(dict(metrics))
            self._mlflow.log_artifacts(str(artifacts))
