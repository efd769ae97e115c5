"""What a training leaves in a real MLflow store on SQLite; no MLflow server is started."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from resources import tracking
from resources.tracking import Tracking, TrainingRun, shown_trials
from tidemill.home import Home
from tidemill.learn.search import Trial

# MLflow 3.17 defines its tables in a way that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture
def client(home: Home, mlflow_store: Path) -> Iterator[MlflowClient]:
    shutil.copy(mlflow_store, home.mlflow / "mlflow.db")
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


def test_candidates_share_what_is_written_of_trials(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "MOST_TRIALS", 12)
    tried = [Trial({"depth": depth}, [0.5 + depth / 100], 0.1) for depth in range(20)]
    with mlflow.start_run():
        tracked = TrainingRun(mlflow, candidates=3)
        log(tracked, "forest", tried, tmp_path / "plots")
        log(tracked, "linear", tried[:2], tmp_path / "plots")
        log(tracked, "boosted", tried, tmp_path / "plots")
    assert len(runs(client, "tags.state = 'complete'")) == 12
    told = {
        name: runs(client, f"attributes.run_name = '{name}'")[0] for name in ("forest", "linear", "boosted")
    }
    assert {name: run.data.tags["trials"] for name, run in told.items()} == {
        "forest": "4 of 20 written",
        "linear": "2 of 2 written",
        "boosted": "6 of 20 written",  # and what the second left of its share
    }


def test_what_is_left_out_is_what_did_worse() -> None:
    tried = [Trial({}, [score], 0.1) for score in (0.5, 0.9, 0.6, 0.8)]
    tried.insert(2, Trial({}, [], 0.1, "failed", "no memory"))
    assert [number for number, _ in shown_trials(tried, 5, "f1")] == [1, 2, 3, 4, 5]
    assert [number for number, _ in shown_trials(tried, 3, "f1")] == [2, 3, 5]  # one failure says why
    assert [number for number, _ in shown_trials(tried, 3, "rmse")] == [1, 3, 4]
    assert shown_trials(tried, 0, "f1") == []


def test_a_candidate_of_which_nothing_worked_is_a_run_that_failed(client: MlflowClient) -> None:
    tried = [Trial({"depth": depth}, [], 0.1, "failed", "MemoryError: out of memory") for depth in range(3)]
    with mlflow.start_run() as training:
        TrainingRun(mlflow).log_failed_candidate("forest", {"dataset": "raw@1"}, tried, "f1")
    (candidate,) = runs(client, "attributes.run_name = 'forest'")
    assert candidate.info.status == "FAILED"
    assert candidate.data.tags["error"] == "MemoryError: out of memory"
    assert candidate.data.tags["mlflow.parentRunId"] == training.info.run_id
    assert len(runs(client, f"tags.mlflow.parentRunId = '{candidate.info.run_id}'")) == 3
    assert client.get_run(training.info.run_id).info.status == "FINISHED"


def test_the_evaluation_is_added_to_a_run_that_has_ended(
    client: MlflowClient, home: Home, tmp_path: Path
) -> None:
    with mlflow.start_run() as run:
        pass
    (card := tmp_path / "card.html").write_text("<p>card</p>")
    plots = {"roc": b"PNG", "importance": b"PNG"}
    Tracking(root=str(home.root)).add_evaluation(run.info.run_id, {"test_f1": 0.7}, [card], plots)
    found = client.get_run(run.info.run_id)
    assert (found.info.status, found.data.metrics["test_f1"]) == ("FINISHED", 0.7)
    files = {file.path for file in client.list_artifacts(run.info.run_id, "evaluation")}
    assert files == {"evaluation/card.html", "evaluation/roc.png", "evaluation/importance.png"}


def test_the_table_version_is_the_dataset(client: MlflowClient, tmp_path: Path) -> None:
    with mlflow.start_run() as run:
        TrainingRun(mlflow).log_dataset("features@3", "ab" * 32, tmp_path)
    (used,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("features@3", ("ab" * 32)[:36])
