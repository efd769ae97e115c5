"""What a training leaves in a real MLflow store on SQLite; no MLflow server is started."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from resources.tracking import MOST_TRIALS, Tracking, TrainingRun
from tidemill.home import Home
from tidemill.learn.search import Trial

# MLflow 3.17 defines its tables in a way that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture
def client(home: Home) -> Iterator[MlflowClient]:
    uri, before = Tracking(root=str(home.root)).uri, mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("churn", (home.mlflow / "artifacts").as_uri())
    )
    yield MlflowClient(uri)
    mlflow.set_tracking_uri(before)


def runs(client: MlflowClient, where: str) -> list[Any]:
    experiment = client.get_experiment_by_name("churn")
    return list(client.search_runs([experiment.experiment_id], where, max_results=1000))


def log(tracked: TrainingRun, name: str, trials: list[Trial], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    tracked.log_candidate(name, {}, {}, {"dataset": "raw@1"}, folder, trials, "f1")


def test_trials_are_below_their_candidate(client: MlflowClient, tmp_path: Path) -> None:
    tried = [Trial({"depth": 3}, [0.5, 0.7], 0.1), Trial({"depth": 9}, [], 0.2, "failed", "no memory")]
    with mlflow.start_run():
        log(TrainingRun(mlflow), "forest", tried, tmp_path / "plots")
    (candidate,) = runs(client, "attributes.run_name = 'forest'")
    found = runs(client, f"tags.mlflow.parentRunId = '{candidate.info.run_id}'")
    first, second = sorted(found, key=lambda run: run.info.run_name)
    assert first.data.params == {"depth": "3"}
    assert math.isclose(first.data.metrics["cv_f1"], 0.6)
    assert [point.value for point in client.get_metric_history(first.info.run_id, "fold_f1")] == [0.5, 0.7]
    assert first.info.status == "FINISHED"
    assert second.info.status == "FAILED"
    assert second.data.tags["error"] == "no memory"
    assert "cv_f1" not in second.data.metrics
    assert second.data.tags["dataset"] == "raw@1"


def test_a_long_search_writes_no_more_than_the_most(client: MlflowClient, tmp_path: Path) -> None:
    tried = [Trial({"depth": 3}, [0.5], 0.1)] * (MOST_TRIALS - 5)
    with mlflow.start_run():
        tracked = TrainingRun(mlflow)
        log(tracked, "forest", tried, tmp_path / "plots")
        log(tracked, "linear", tried[:10], tmp_path / "plots")
    assert len(runs(client, "tags.state = 'complete'")) == MOST_TRIALS
    (candidate,) = runs(client, "attributes.run_name = 'linear'")
    assert candidate.data.tags["trials"] == "5 of 10 written"


def test_the_table_version_is_the_dataset(client: MlflowClient, tmp_path: Path) -> None:
    with mlflow.start_run() as run:
        TrainingRun(mlflow).log_dataset("features@3", "ab" * 32, tmp_path)
    (used,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("features@3", ("ab" * 32)[:36])
