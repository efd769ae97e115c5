from typing import Any

import httpx
import pytest

from tidemill.client import ApiError, Client
from tidemill.client_types import TrainingInfo
from tidemill.errors import NotReady
from tidemill.home import Home
from tidemill.learn.progress import write_progress
from tidemill.learn.training import Progress
from tidemill.ops.runs import Step
from tidemill.store.durable import replace_json

AT = "2026-04-30T14:05:01.000+00:00"
pytestmark = pytest.mark.usefixtures("data")


def test_a_training_is_started_and_followed(client: Client, runs: Any) -> None:
    started = client.start_training("pets", "new data")
    assert started["status"] == "queued"
    assert started["dagster_url"] == f"http://127.0.0.1:8702/runs/{started['id']}"
    assert runs.runs[started["id"]].tags == {
        "tidemill/actor": "owner",
        "tidemill/reason": "new data",
        "tidemill/trigger": "api",
    }
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
    ended = client.wait_run("pets", drift["id"])
    assert (ended["status"], ended["error"]) == (
        "canceled",
        "Cancelled in Dagster, or when the services were stopped.",
    )
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


def test_the_same_request_twice_is_one_run(client: Client, runs: Any) -> None:
    first = client.start_training("pets", "new data", idempotency_key="april-1")
    again = client.start_training("pets", "new data", idempotency_key="april-1")
    other = client.start_training("pets", "new data", idempotency_key="april-2")
    assert first == again
    assert other["id"] != first["id"]
    assert len(runs.runs) == 2


def test_the_same_key_with_another_body_is_refused(client: Client, runs: Any) -> None:
    client.start_training("pets", "new data", idempotency_key="april-1")
    with pytest.raises(ApiError, match="stands for another request") as caught:
        client.start_training("pets", "newer data", idempotency_key="april-1")
    assert caught.value.status == 422
    assert len(runs.runs) == 1


def test_a_replayed_answer_says_so(http: httpx.Client) -> None:
    def ask(key: str) -> httpx.Response:
        return http.post("/v1/projects/pets/trainings", headers={"Idempotency-Key": key})

    first, again = ask("k"), ask("k")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["location"] == again.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert ask("two words").json()["title"] == "That Idempotency-Key cannot be used"


def test_a_request_whose_answer_was_lost_finds_the_run_it_had_started(
    client: Client, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = runs.launch

    def launch_and_be_cut_off(*arguments: Any) -> str:
        launch(*arguments)
        raise NotReady("Dagster does not answer")

    monkeypatch.setattr(runs, "launch", launch_and_be_cut_off)
    with pytest.raises(ApiError, match="does not answer"):
        client.start_training("pets", idempotency_key="k")
    monkeypatch.setattr(runs, "launch", launch)
    assert client.start_training("pets", idempotency_key="k")["id"] == "run-1"
    assert len(runs.runs) == 1


def test_a_training_is_canceled_and_says_by_whom_and_why(client: Client, runs: Any) -> None:
    started = client.start_training("pets")
    runs.move(started["id"], status="running")
    assert client.cancel_training("pets", started["id"], "the wrong file")["status"] == "canceled"
    assert client.training("pets", started["id"])["error"] == "Cancelled by owner: the wrong file"
    with pytest.raises(ApiError, match="has ended already") as caught:
        client.cancel_training("pets", started["id"])
    assert caught.value.status == 409


def test_a_failed_training_is_tried_again_in_a_run_that_names_it(client: Client, runs: Any) -> None:
    started = client.start_training("pets", "new data")
    with pytest.raises(ApiError, match="not one to try again"):
        client.retry_training("pets", started["id"])
    runs.move(started["id"], status="failed", error="No space left")
    again = client.retry_training("pets", started["id"])
    found = client.training("pets", again["id"])
    assert (found["retry_of"], found["trigger"], found["reason"]) == (started["id"], "retry", "new data")


def test_what_started_a_run_is_told(client: Client, runs: Any) -> None:
    asked = client.start_training("pets", trigger="dashboard")
    assert client.training("pets", asked["id"])["trigger"] == "dashboard"
    in_dagster = runs.launch("pets", "training")
    assert client.training("pets", in_dagster)["trigger"] == "dagster"
    with pytest.raises(ApiError, match="right shape"):
        client.start_training("pets", trigger="drift")  # type: ignore[arg-type]


def test_a_queued_run_says_why_it_waits(client: Client, runs: Any) -> None:
    first = client.start_training("pets")
    waiting = client.training("pets", first["id"])["waiting_for"] or ""
    assert "begins within seconds" in waiting
    runs.move(first["id"], status="running")
    second = client.start_training("pets")
    told = client.training("pets", second["id"])["waiting_for"] or ""
    assert told.startswith("Training run-1 of this project goes on")
    assert client.training("pets", first["id"])["waiting_for"] is None
    drift = client.start_drift("pets")
    assert "begins within seconds" in (client.run("pets", drift["id"])["waiting_for"] or "")
    runs.launch("plants", "training")
    runs.move("run-4", status="running")
    assert (client.run("pets", drift["id"])["waiting_for"] or "").startswith("2 runs go on")


def test_how_far_it_is_in_percent(client: Client, home: Home, runs: Any) -> None:
    started = client.start_training("pets")
    done = [Step("pets__labels", "succeeded", AT, AT), Step("pets__model", "running", AT, None)]
    runs.move(started["id"], status="running", steps=done, planned=5)
    assert client.training("pets", started["id"])["percent"] == 20
    write_progress(home, started["id"], Progress(27, 54, 0.97, "linear"))
    found = client.training("pets", started["id"])
    assert (found["percent"], found["steps_total"]) == (round(25 + 50 / 4), 5)
    runs.move(started["id"], status="succeeded")
    assert client.training("pets", started["id"])["percent"] == 100


def test_a_training_is_followed_by_events(client: Client, runs: Any) -> None:
    started = client.start_training("pets")
    runs.move(started["id"], status="failed", error="No row has a label")
    (last,) = client.follow_training("pets", started["id"])
    assert (last["status"], last["error"]) == ("failed", "No row has a label")
