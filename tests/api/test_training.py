from typing import Any

import pytest

from tidemill.client import ApiError, Client
from tidemill.client_types import TrainingInfo
from tidemill.home import Home
from tidemill.learn.progress import write_progress
from tidemill.learn.training import Progress
from tidemill.ops.runs import Step
from tidemill.store.durable import replace_json

AT = "2026-04-30T14:05:01.000+00:00"


def test_a_training_is_started_and_followed(client: Client, runs: Any) -> None:
    started = client.start_training("pets", "new data")
    assert started["status"] == "queued"
    assert started["dagster_url"] == f"http://127.0.0.1:8702/runs/{started['id']}"
    assert runs.runs[started["id"]].tags == {"tidemill/actor": "owner", "tidemill/reason": "new data"}
    seen: list[str] = []

    def look(training: TrainingInfo) -> None:
        seen.append(training["status"])
        status = "running" if len(seen) == 1 else "succeeded"
        runs.move(started["id"], status=status, steps=[Step("labels", "succeeded", AT, AT)])

    ended = client.wait_training("pets", started["id"], timeout=10, on_progress=look)
    assert seen == ["queued", "running", "succeeded"]
    assert ended["steps"] == [{"name": "labels", "status": "succeeded", "started_at": AT, "ended_at": AT}]


@pytest.mark.usefixtures("models")
def test_the_model_of_a_training_is_named(client: Client, runs: Any) -> None:
    started = client.start_training("pets")
    assert started["id"] == "run-1"
    runs.move("run-1", status="succeeded")
    assert client.training("pets", "run-1")["model_version"] == 1
    assert [one["model_version"] for one in client.trainings("pets")] == [1]


def test_a_failed_run_tells_why(client: Client, runs: Any) -> None:
    started = client.start_training("pets")
    runs.move(started["id"], status="failed", error="No row has a label")
    assert client.wait_training("pets", started["id"])["error"] == "No row has a label"


def test_runs_of_every_job(client: Client, runs: Any) -> None:
    drift = client.start_drift("pets")
    client.start_training("pets")
    assert [run["job"] for run in client.runs("pets")] == ["training", "monitoring"]
    assert [run["job"] for run in client.runs("pets", job="monitoring")] == ["monitoring"]
    runs.move(drift["id"], status="canceled")
    assert client.wait_run("pets", drift["id"])["status"] == "canceled"
    assert len(client.trainings("pets")) == 1


def test_runs_of_other_projects_are_not_shown(client: Client, runs: Any) -> None:
    other = runs.launch("plants", "training")
    with pytest.raises(ApiError, match="There is no such run"):
        client.run("pets", other)


def test_dagster_away(client: Client, runs: Any) -> None:
    runs.away = True
    with pytest.raises(ApiError, match="Dagster does not answer") as caught:
        client.start_training("pets")
    assert caught.value.status == 503


def test_progress_of_the_search_is_told(client: Client, home: Home) -> None:
    started = client.start_training("pets")
    assert client.training("pets", started["id"])["progress"] is None
    write_progress(home, started["id"], Progress(18, 54, 0.97, "linear"))
    found = client.training("pets", started["id"])["progress"]
    assert found == {"done": 18, "total": 54, "best_score": 0.97, "name": "linear"}


@pytest.mark.usefixtures("models")
def test_a_model_the_gate_refused_says_which_gate(client: Client, home: Home, runs: Any) -> None:
    refused = {
        "passed": False,
        "reasons": ["minimum roc_auc: 0.71 found, at least 0.90 needed"],
        "checks": [],
    }
    replace_json(home.models("pets") / "1" / "gate.json", refused)
    started = client.start_training("pets")
    runs.move(started["id"], status="failed", error="1 blocking asset check failed")
    told = client.training("pets", started["id"])["error"] or ""
    assert "Model 1 was made and not deployed" in told
    assert "at least 0.90 needed" in told
