"""Runs in Dagster: the one place that knows how Dagster is asked.

It is spoken to over its web server's GraphQL; nothing of it is imported, so the API stays small.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tidemill.errors import NotReady
from tidemill.home import Home
from tidemill.ops.runs import TAG_JOB, TAG_PROJECT, Run, RunClient, Status, Step, StepStatus, job_name

if TYPE_CHECKING:
    import httpx

LOCATION = "tidemill"
REPOSITORY = "__repository__"


def dagster_url(home: Home, host: str = "127.0.0.1") -> str | None:
    """Where Dagster's web server of `home` listens, as the supervisor wrote it down; None before that."""
    try:
        port = json.loads((home.run / "ports.json").read_text())["dagster"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def dagster_runs(home: Home, host: str = "127.0.0.1") -> DagsterRunClient:
    """The runs of the Dagster that belongs to `home`; its port is looked up anew at each call."""
    return DagsterRunClient(lambda: dagster_url(home, host))


_STATUS: dict[str, Status] = {
    "QUEUED": "queued",
    "NOT_STARTED": "queued",
    "STARTING": "queued",
    "MANAGED": "running",
    "STARTED": "running",
    "SUSPENDED": "running",
    "CANCELING": "running",
    "SUCCESS": "succeeded",
    "FAILURE": "failed",
    "CANCELED": "canceled",
}

_STEP_STATUS: dict[str, StepStatus] = {
    "IN_PROGRESS": "running",
    "SUCCESS": "succeeded",
    "FAILURE": "failed",
    "SKIPPED": "skipped",
}

_RUN_FIELDS = """
  runId jobName status creationTime startTime endTime
  tags { key value }
  stepStats { stepKey status startTime endTime }
"""

RELOAD_SECONDS = 20.0
RELOAD_LOOK_SECONDS = 1.0
_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""

_GET = f"""
query Get($id: ID!) {{
  runOrError(runId: $id) {{
    __typename
    ... on Run {{ {_RUN_FIELDS} executionPlan {{ steps {{ key }} }} }}
    ... on PythonError {{ message }}
  }}
}}
"""

_LIST = f"""
query List($filter: RunsFilter!, $limit: Int!) {{
  runsOrError(filter: $filter, limit: $limit) {{
    __typename
    ... on Runs {{ results {{ {_RUN_FIELDS} }} }}
    ... on Error {{ message }}
  }}
}}
"""

_CANCEL = """
mutation Cancel($id: String!) {
  terminateRun(runId: $id) {
    __typename
    ... on TerminateRunFailure { message }
    ... on PythonError { message }
  }
}
"""

_WHY = """
query Why($id: ID!, $after: String) {
  logsForRun(runId: $id, afterCursor: $after, limit: 1000) {
    __typename
    ... on EventConnection {
      cursor hasMore
      events {
        __typename
        ... on ExecutionStepFailureEvent { stepKey error { ...chain } }
        ... on RunFailureEvent { message error { ...chain } }
        ... on AssetCheckEvaluationEvent {
          evaluation { checkName success severity description assetKey { path } }
        }
      }
    }
  }
}
fragment chain on PythonError { className message errorChain { error { className message } } }
"""

_PAGES_OF_EVENTS = 20


class DagsterRunClient(RunClient):
    """Runs in Dagster, over the GraphQL of its web server.

    `url` is the server's address, or a function that finds it (None: not started). Nothing is sent twice: a lost
    answer to a launch must not become two runs.
    """

    def __init__(
        self,
        url: str | Callable[[], str | None],
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._find_url: Callable[[], str | None] = (lambda: url) if isinstance(url, str) else url
        self._timeout = timeout
        self._transport = transport
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._reasons: dict[str, str | None] = {}

    def launch(self, project: str, job: str, tags: Mapping[str, str] | None = None) -> str:
        name = job_name(project, job)
        carried = {TAG_PROJECT: project, TAG_JOB: job, **(tags or {})}
        params = {
            "selector": {
                "repositoryLocationName": LOCATION,
                "repositoryName": REPOSITORY,
                "jobName": name,
            },
            "runConfigData": {},
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in carried.items()],
            },
        }
        # A project made a moment ago is known once Dagster has loaded it: nobody should have to ask twice.
        until = time.monotonic() + RELOAD_SECONDS
        while True:
            answer = self._ask(_LAUNCH, {"params": params})["launchRun"]
            if answer["__typename"] == "LaunchRunSuccess":
                return str(answer["run"]["runId"])
            if not _is_unknown(answer) or time.monotonic() >= until:
                raise self._refused(name, answer)
            time.sleep(RELOAD_LOOK_SECONDS)

    def get(self, run_id: str) -> Run | None:
        answer = self._ask(_GET, {"id": run_id})["runOrError"]
        if answer["__typename"] == "RunNotFoundError":
            return None
        if answer["__typename"] != "Run":
            raise _trouble(answer.get("message", ""))
        return self._run(answer)

    def list(self, project: str, job: str | None = None, limit: int = 20) -> Sequence[Run]:
        wanted = [{"key": TAG_PROJECT, "value": project}]
        if job is not None:
            wanted.append({"key": TAG_JOB, "value": job})
        return self._found({"tags": wanted}, limit)

    def under_way(self) -> Sequence[Run]:
        return self._found({"statuses": ["STARTING", "STARTED", "CANCELING"]}, 100)

    def cancel(self, run_id: str) -> bool:
        run = self.get(run_id)
        if run is None or run.is_finished:
            return False
        answer = self._ask(_CANCEL, {"id": run_id})["terminateRun"]
        if answer["__typename"] == "TerminateRunSuccess":
            return True
        # It may have ended, or begun to end, between the two questions.
        after = self.get(run_id)
        if after is not None and (after.is_finished or after.is_ending):
            return after.status == "canceled" or after.is_ending
        raise _trouble(str(answer.get("message") or ""))

    def _found(self, wanted: dict[str, Any], limit: int) -> Sequence[Run]:
        answer = self._ask(_LIST, {"filter": wanted, "limit": limit})["runsOrError"]
        if answer["__typename"] != "Runs":
            raise _trouble(answer.get("message", ""))
        return [self._run(document) for document in answer["results"]]

    def url(self, run_id: str) -> str | None:
        base = self._find_url()
        return f"{base}/runs/{run_id}" if base else None

    def is_reachable(self) -> bool:
        import httpx

        base = self._find_url()
        if base is None:
            return False
        try:
            return self._client().get(f"{base}/server_info", timeout=1.0).is_success
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        with self._lock:
            if self._http is not None:
                self._http.close()
            self._http = None

    def _client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._http is None:
                # No proxy from the environment: the server is on this machine.
                self._http = httpx.Client(timeout=self._timeout, trust_env=False, transport=self._transport)
            return self._http

    def _ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        import httpx

        base = self._find_url()
        if base is None:
            raise _not_started("its port is not known yet")
        try:
            response = self._client().post(f"{base}/graphql", json={"query": query, "variables": variables})
            answer = response.json()
        except httpx.TransportError as error:
            raise _not_started(f"{base} does not answer ({type(error).__name__})") from error
        except ValueError as error:
            raise _not_started(f"{base} answered {response.status_code} and no JSON") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
            faults = answer.get("errors", []) if isinstance(answer, dict) else []
            raise _trouble("; ".join(str(fault.get("message", fault)) for fault in faults))
        data: dict[str, Any] = answer["data"]
        return data

    def _refused(self, name: str, answer: dict[str, Any]) -> NotReady:
        kind, message = answer["__typename"], str(answer.get("message") or "")
        if _is_unknown(answer):
            return NotReady(
                "Dagster does not know this project's jobs yet",
                detail=f"there is no job {name} in the code location {LOCATION}",
                remedy="After a new or changed project.yaml Dagster reloads within some ten seconds: try again. "
                "If it stays so, `tidemill logs code` shows why the project could not be loaded.",
            )
        faults = "; ".join(str(fault.get("message")) for fault in answer.get("errors", []))
        return _trouble(faults or message or kind)

    def _run(self, document: Mapping[str, Any]) -> Run:
        """A run as Dagster tells it; why it failed does not change, so it is asked for once."""
        run_id = str(document["runId"])
        if document["status"] == "FAILURE" and run_id not in self._reasons:
            self._reasons[run_id] = self._why(run_id)
        return _run_of(document, self._reasons.get(run_id))

    def _why(self, run_id: str) -> str | None:
        """The reason of a failed run in a person's words.

        The innermost error of the step that failed, else the blocking checks that stopped the run.
        """
        checks: list[str] = []
        after: str | None = None
        last: str | None = None
        for _ in range(_PAGES_OF_EVENTS):
            page = self._ask(_WHY, {"id": run_id, "after": after})["logsForRun"]
            if page["__typename"] != "EventConnection":
                return last
            for event in page["events"]:
                if event["__typename"] == "ExecutionStepFailureEvent":
                    return _innermost(event.get("error")) or f"The step {event.get('stepKey')} failed."
                if event["__typename"] == "RunFailureEvent":
                    last = "\n".join(checks) or _innermost(event.get("error")) or event.get("message") or last
                if event["__typename"] == "AssetCheckEvaluationEvent":
                    checks += _failed_check(event["evaluation"])
            if not page["hasMore"]:
                return last
            after = page["cursor"]
        return last


def _is_unknown(answer: Mapping[str, Any]) -> bool:
    """Whether Dagster said that it knows no such job."""
    kinds = ("PipelineNotFoundError", "InvalidSubsetError")
    return answer["__typename"] in kinds or "not found" in str(answer.get("message") or "").lower()


def _run_of(document: Mapping[str, Any], error: str | None) -> Run:
    tags = {tag["key"]: tag["value"] for tag in document.get("tags") or []}
    project, _, job = str(document["jobName"]).rpartition("__")
    steps = [
        Step(
            name=str(step["stepKey"]),
            status=_STEP_STATUS.get(step.get("status") or "", "running"),
            started_at=_iso(step.get("startTime")),
            ended_at=_iso(step.get("endTime")),
        )
        for step in sorted(document.get("stepStats") or [], key=lambda one: one.get("startTime") or 9e12)
    ]
    status = _STATUS.get(str(document["status"]), "running")
    if status == "failed" and error is None:
        failed = [step.name for step in steps if step.status == "failed"]
        error = f"The step {failed[0]} failed." if failed else "The run failed before its first step."
    return Run(
        id=str(document["runId"]),
        project=tags.get(TAG_PROJECT, project),
        job=tags.get(TAG_JOB, job),
        status=status,
        created_at=_iso(document.get("creationTime")),
        started_at=_iso(document.get("startTime")),
        ended_at=_iso(document.get("endTime")),
        steps=steps,
        error=error,
        tags={key: value for key, value in tags.items() if key.startswith("tidemill/")},
        planned=len(plan["steps"]) if (plan := document.get("executionPlan")) else None,
        is_ending=document["status"] == "CANCELING",
    )


def _failed_check(evaluation: Mapping[str, Any]) -> list[str]:
    """A sentence for a check that failed and stops a run; none for any other."""
    if evaluation["success"] or evaluation["severity"] != "ERROR":
        return []
    asset = (evaluation.get("assetKey") or {}).get("path", ["?"])[-1]
    return [
        f"The check {evaluation['checkName']} of {asset} failed: {evaluation.get('description') or ''}".strip()
    ]


def _innermost(error: Mapping[str, Any] | None) -> str | None:
    """Dagster wraps what a step raised; the last link of the chain is what was raised."""
    if not error:
        return None
    chain = [error, *(link["error"] for link in error.get("errorChain") or [])]
    messages = [_without_class(link) for link in chain]
    return next((message for message in reversed(messages) if message), None)


def _without_class(error: Mapping[str, Any]) -> str:
    message = str(error.get("message") or "").strip()
    head, colon, rest = message.partition(": ")
    is_name = bool(colon) and head.rpartition(".")[2] == error.get("className")
    return rest.strip() if is_name else message


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _not_started(detail: str) -> NotReady:
    return NotReady(
        "Dagster does not answer",
        detail=detail,
        remedy="Start the services with `tidemill up`; `tidemill status` shows what runs.",
    )


def _trouble(message: str) -> NotReady:
    return NotReady(
        "Dagster could not do that",
        detail=message.strip().splitlines()[0] if message.strip() else "it gave no reason",
        remedy="`tidemill logs dagster` and `tidemill logs code` show more.",
    )
