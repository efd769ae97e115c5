import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tidemill.errors import InvalidInput, NotReady
from tidemill.home import Home
from tidemill.ops import dagster_runs as runs
from tidemill.ops.dagster_runs import DagsterRunClient, dagster_url

STARTED = 1777557900.5
RUN = {
    "runId": "r1",
    "jobName": "pets__training",
    "status": "STARTED",
    "creationTime": STARTED,
    "startTime": STARTED,
    "endTime": None,
    "tags": [{"key": "tidemill/project", "value": "pets"}, {"key": "dagster/x", "value": "y"}],
    "stepStats": [
        {"stepKey": "model", "status": "IN_PROGRESS", "startTime": STARTED + 2, "endTime": None},
        {"stepKey": "labels", "status": "SUCCESS", "startTime": STARTED, "endTime": STARTED + 1},
    ],
}


def client(*answers: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]) -> DagsterRunClient:
    """A client whose server gives these answers in turn."""
    waiting = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        answer = waiting.pop(0)
        data = answer(json.loads(request.content)["variables"]) if callable(answer) else answer
        return httpx.Response(200, json={"data": data})

    return DagsterRunClient("http://dagster", transport=httpx.MockTransport(handle))


def test_the_queries_fit_dagsters_schema() -> None:
    from dagster_graphql.schema import create_schema
    from graphql import parse, validate

    schema = create_schema().graphql_schema
    for query in (runs._LAUNCH, runs._GET, runs._LIST, runs._WHY, runs._CANCEL):
        assert validate(schema, parse(query)) == []


def test_a_launch_names_the_job_and_carries_tags() -> None:
    sent: dict[str, Any] = {}

    def launched(variables: dict[str, Any]) -> dict[str, Any]:
        sent.update(variables["params"])
        return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "r1"}}}

    assert client(launched).launch("pets", "training", {"tidemill/actor": "ada"}) == "r1"
    assert sent["selector"] == {
        "repositoryLocationName": "tidemill",
        "repositoryName": "__repository__",
        "jobName": "pets__training",
    }
    assert {tag["key"]: tag["value"] for tag in sent["executionMetadata"]["tags"]} == {
        "tidemill/project": "pets",
        "tidemill/job": "training",
        "tidemill/actor": "ada",
    }


def test_a_job_nobody_has_heard_of() -> None:
    with pytest.raises(InvalidInput, match="no such job"):
        client().launch("pets", "cooking")


UNKNOWN = {"launchRun": {"__typename": "PipelineNotFoundError", "message": "Could not find Pipeline"}}


def test_a_job_that_dagster_does_not_know_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RELOAD_SECONDS", 0.0)
    with pytest.raises(NotReady, match="does not know this project's jobs yet"):
        client(UNKNOWN).launch("pets", "training")


def test_a_job_is_waited_for_while_dagster_loads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RELOAD_LOOK_SECONDS", 0.0)
    started = {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "r1"}}}
    assert client(UNKNOWN, UNKNOWN, started).launch("pets", "training") == "r1"


def test_another_refusal_keeps_dagsters_words() -> None:
    refused = {"launchRun": {"__typename": "PythonError", "message": "grpc is away\nTraceback ..."}}
    with pytest.raises(NotReady, match="could not do that") as caught:
        client(refused).launch("pets", "training")
    assert caught.value.detail == "grpc is away"


def test_a_run_with_its_steps_in_order() -> None:
    run = client({"runOrError": {"__typename": "Run", **RUN}}).get("r1")
    assert run is not None
    assert (run.project, run.job, run.status) == ("pets", "training", "running")
    assert [(step.name, step.status) for step in run.steps] == [("labels", "succeeded"), ("model", "running")]
    assert run.started_at == "2026-04-30T14:05:00.500+00:00"
    assert run.tags == {"tidemill/project": "pets"}
    assert not run.is_finished


def test_no_such_run() -> None:
    assert client({"runOrError": {"__typename": "RunNotFoundError"}}).get("nope") is None


def test_a_failed_run_says_what_the_step_raised() -> None:
    failure = {
        "__typename": "ExecutionStepFailureEvent",
        "stepKey": "labels",
        "error": {
            "className": "DagsterExecutionStepExecutionError",
            "message": "dagster._core.errors.DagsterExecutionStepExecutionError: Error while executing op\n",
            "errorChain": [
                {
                    "error": {
                        "className": "InvalidInput",
                        "message": "tidemill.errors.InvalidInput: No row has a label\nall empty\n",
                    }
                }
            ],
        },
    }
    first = {
        "__typename": "EventConnection",
        "cursor": "1",
        "hasMore": True,
        "events": [{"__typename": "LogMessageEvent"}],
    }
    second = {"__typename": "EventConnection", "cursor": "2", "hasMore": False, "events": [failure]}
    failed = {"runOrError": {"__typename": "Run", **RUN, "status": "FAILURE"}}
    run = client(failed, {"logsForRun": first}, {"logsForRun": second}).get("r1")
    assert run is not None
    assert run.error == "No row has a label\nall empty"


def test_runs_are_listed_by_project_and_job() -> None:
    def listed(variables: dict[str, Any]) -> dict[str, Any]:
        assert variables["limit"] == 5
        assert {"key": "tidemill/job", "value": "training"} in variables["filter"]["tags"]
        return {"runsOrError": {"__typename": "Runs", "results": [{**RUN, "status": "FAILURE"}]}}

    nothing = {"logsForRun": {"__typename": "EventConnection", "cursor": "1", "hasMore": False, "events": []}}
    found = client(listed, nothing).list("pets", "training", 5)
    assert [run.status for run in found] == ["failed"]
    assert found[0].error == "The run failed before its first step."


def test_a_run_stopped_by_a_check_says_which_and_is_asked_once() -> None:
    def check(name: str, success: bool, severity: str) -> dict[str, Any]:
        evaluation = {
            "checkName": name,
            "success": success,
            "severity": severity,
            "description": "12 rows are in both train and test",
            "assetKey": {"path": ["pets", "features"]},
        }
        return {"__typename": "AssetCheckEvaluationEvent", "evaluation": evaluation}

    events = [
        check("contract", True, "ERROR"),
        check("rejects", False, "WARN"),
        check("leakage", False, "ERROR"),
        {"__typename": "RunFailureEvent", "message": "1 blocking asset check failed", "error": None},
    ]
    failed = {"runOrError": {"__typename": "Run", **RUN, "status": "FAILURE"}}
    why = {"logsForRun": {"__typename": "EventConnection", "cursor": "1", "hasMore": False, "events": events}}
    asked = client(failed, why, failed)
    for _ in range(2):
        run = asked.get("r1")
        assert run is not None
        assert run.error == "The check leakage of features failed: 12 rows are in both train and test"


def test_a_server_that_is_away() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    away = DagsterRunClient("http://dagster", transport=httpx.MockTransport(refuse))
    with pytest.raises(NotReady, match="does not answer"):
        away.launch("pets", "training")
    assert not away.is_reachable()
    with pytest.raises(NotReady, match="does not answer"):
        DagsterRunClient(lambda: None).get("r1")


def test_a_stranger_on_the_port() -> None:
    page = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    with pytest.raises(NotReady, match="does not answer"):
        DagsterRunClient("http://dagster", transport=page).get("r1")


def test_errors_of_graphql_itself() -> None:
    bad = httpx.MockTransport(lambda _: httpx.Response(400, json={"errors": [{"message": "no field x"}]}))
    with pytest.raises(NotReady) as caught:
        DagsterRunClient("http://dagster", transport=bad).get("r1")
    assert caught.value.detail == "no field x"


def test_the_address_comes_from_the_supervisors_note(home: Home) -> None:
    assert dagster_url(home) is None
    (home.run / "ports.json").write_text('{"dagster": 8702}')
    assert dagster_url(home) == "http://127.0.0.1:8702"
    (home.run / "ports.json").write_text("{")
    assert dagster_url(home) is None
