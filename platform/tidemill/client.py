"""A typed client of Tidemill's API, for the dashboard, the demo, notebooks and other programs.

    with Client("http://127.0.0.1:8700", key) as client:
        answer = client.predict("breast_cancer", {"mean_radius": 14.2, ...})

It imports nothing of Tidemill but its own parts, `client_*.py`, so these can be copied into another program; it
needs httpx. Answers are plain dictionaries, typed there (the API's OpenAPI document is made from the same types);
problems are raised as ApiError with the server's title, detail and remedy. Nothing is sent twice, but for the parts
of a resumed upload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, cast
from urllib.parse import urlencode

from tidemill.client_files import Files
from tidemill.client_models import ModelRoutes
from tidemill.client_predictions import PredictionRoutes
from tidemill.client_transport import (
    ApiError,
    StillWorking,
    Unreachable,
    at,
    error_of,
    json_of,
    plain,
    wait_until,
)
from tidemill.client_types import (
    AgreementInfo,
    AlertInfo,
    AlertState,
    AnnotatorInfo,
    AnswerInfo,
    AuditEntry,
    CallerInfo,
    ColumnProfile,
    Label,
    Labelling,
    LabelStudioLink,
    Launched,
    NextTask,
    ProjectDetail,
    ProjectSummary,
    QualityInfo,
    RunInfo,
    StabilityInfo,
    StartedRound,
    TableDiff,
    TableInfo,
    TableRows,
    TableVersionInfo,
    TrainingInfo,
)

__all__ = ["ApiError", "Client", "StillWorking", "Unreachable"]


class Client(Files, ModelRoutes, PredictionRoutes):
    """One API and one key. Close it, or use it in a `with`; it may be shared between threads."""

    # The service itself

    def health(self) -> dict[str, Any]:
        """Whether the API lives; needs no key."""
        return self._get("/healthz")

    def ready(self) -> dict[str, Any]:
        """`{"status", "checks"}`; a part that is missing is an answer here, not an error."""
        response = self._send("GET", "/readyz")
        if response.status_code not in (200, 503):
            raise error_of(response)
        return json_of(response)

    def me(self) -> CallerInfo:
        """Who this client's key is, and what it may do."""
        return cast(CallerInfo, self._get("/v1/me"))

    def audit(self, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
        """The newest entries of the audit log, newest first, or those before the number `before`."""
        found = self._get("/v1/audit", limit=limit, before=before)
        return cast("list[AuditEntry]", found["entries"])

    # Projects

    def projects(self) -> list[ProjectSummary]:
        return cast("list[ProjectSummary]", self._get("/v1/projects")["projects"])

    def project(self, project: str) -> ProjectDetail:
        return cast(ProjectDetail, self._get(at(project)))

    # Tables

    def tables(self, project: str) -> list[TableInfo]:
        return cast("list[TableInfo]", self._get(at(project, "tables"))["tables"])

    def table(self, project: str, table: str, limit: int = 50) -> TableRows:
        """The first rows of the current version of a table."""
        return cast(TableRows, self._get(at(project, "tables", table), limit=limit))

    def profile(self, project: str, table: str) -> list[ColumnProfile]:
        return cast("list[ColumnProfile]", self._get(at(project, "tables", table, "profile"))["profile"])

    def table_versions(self, project: str, table: str) -> list[TableVersionInfo]:
        """The kept versions of a table, newest first, with the rows each added, changed and removed."""
        return cast("list[TableVersionInfo]", self._get(at(project, "tables", table, "versions"))["versions"])

    def table_diff(self, project: str, table: str, old: int, new: int) -> TableDiff:
        """What version `new` has that `old` has not. The answer also has `from` and `to`."""
        found = self._get(at(project, "tables", table, "diff"), **{"from": old, "to": new})
        return cast(TableDiff, found)

    # Training and other runs

    def start_training(
        self,
        project: str,
        reason: str = "",
        *,
        trigger: Literal["api", "command-line", "dashboard", "git-push"] = "api",
        idempotency_key: str | None = None,
    ) -> Launched:
        """Start a training. With the same `idempotency_key` again, the run that was started first."""
        body = {"reason": reason, "trigger": trigger}
        return cast(Launched, self._post(at(project, "trainings"), body, idempotency_key))

    def cancel_training(self, project: str, run_id: str, reason: str = "") -> TrainingInfo:
        """Have a training ended that waits or goes on. Raises ApiError (409) when it has ended already."""
        return cast(TrainingInfo, self._post(at(project, "trainings", run_id, "cancel"), {"reason": reason}))

    def retry_training(
        self, project: str, run_id: str, reason: str = "", *, idempotency_key: str | None = None
    ) -> Launched:
        """Start a new training in place of one that failed or was cancelled."""
        path = at(project, "trainings", run_id, "retry")
        return cast(Launched, self._post(path, {"reason": reason}, idempotency_key))

    def follow_training(self, project: str, run_id: str, timeout: float = 86_400.0) -> Iterator[TrainingInfo]:
        """The training at each change, the last one ended; goes on when the connection breaks.

        Raises StillWorking after `timeout` seconds, Unreachable when the API has not answered for a minute.
        """
        path, what = at(project, "trainings", run_id, "events"), f"The training {run_id}"
        for document in self._followed(path, _has_ended, timeout, what):
            yield cast(TrainingInfo, document)

    def trainings(self, project: str, limit: int = 20) -> list[TrainingInfo]:
        """The newest trainings, newest first."""
        return cast("list[TrainingInfo]", self._get(at(project, "trainings"), limit=limit)["trainings"])

    def training(self, project: str, run_id: str) -> TrainingInfo:
        return cast(TrainingInfo, self._get(at(project, "trainings", run_id)))

    def wait_training(
        self,
        project: str,
        run_id: str,
        timeout: float = 900.0,
        on_progress: Callable[[TrainingInfo], None] | None = None,
    ) -> TrainingInfo:
        """The training once it has ended, well or not; `on_progress` sees each change of status or step.

        Raises StillWorking after `timeout` seconds.
        """
        return wait_until(
            lambda: self.training(project, run_id), _has_ended, timeout, f"The training {run_id}", on_progress
        )

    def runs(self, project: str, job: str | None = None, limit: int = 20) -> list[RunInfo]:
        """The newest runs (of the job ingest, labels, training, monitoring or loop), newest first."""
        return cast("list[RunInfo]", self._get(at(project, "runs"), job=job, limit=limit)["runs"])

    def run(self, project: str, run_id: str) -> RunInfo:
        return cast(RunInfo, self._get(at(project, "runs", run_id)))

    def wait_run(
        self,
        project: str,
        run_id: str,
        timeout: float = 300.0,
        on_progress: Callable[[RunInfo], None] | None = None,
    ) -> RunInfo:
        """`wait_training` for a run of any job."""
        return wait_until(
            lambda: self.run(project, run_id), _has_ended, timeout, f"The run {run_id}", on_progress
        )

    # Labels

    def labelling(self, project: str) -> Labelling:
        """How labelling stands: tasks, answers, rounds."""
        return cast(Labelling, self._get(at(project, "labels")))

    def start_round(
        self,
        project: str,
        budget: int | None = None,
        strategy: Literal["uncertain", "random"] | None = None,
    ) -> StartedRound:
        """Have rows chosen and people asked about them; unset, as project.yaml says."""
        body = {"budget": budget, "strategy": strategy}
        return cast(StartedRound, self._post(at(project, "labels", "rounds"), body))

    def next_task(self, project: str, annotator: str) -> NextTask:
        """The next row that this person may answer about, on the built-in page."""
        return cast(NextTask, self._get(at(project, "labels", "next"), annotator=annotator))

    def answer(
        self,
        project: str,
        row: str,
        label: Label | bool | None,
        annotator: str,
        lead_seconds: float | None = None,
    ) -> AnswerInfo:
        """Answer about a row, or skip it with None. Answering again changes the answer."""
        body = {"row": row, "label": plain(label), "annotator": annotator, "lead_seconds": lead_seconds}
        return cast(AnswerInfo, self._post(at(project, "labels", "answers"), body))

    def undo_answer(self, project: str, annotator: str) -> AnswerInfo | None:
        """Take back the person's last answer or skip; None when there was none."""
        found = self._post(at(project, "labels", "undo"), {"annotator": annotator})
        return cast("AnswerInfo | None", found["undone"])

    def agreement(self, project: str) -> list[AgreementInfo]:
        """How far people agree, by every coefficient that the answers allow."""
        return cast("list[AgreementInfo]", self._get(at(project, "labels", "agreement"))["agreement"])

    def annotators(self, project: str) -> list[AnnotatorInfo]:
        """How each person does."""
        return cast("list[AnnotatorInfo]", self._get(at(project, "labels", "annotators"))["annotators"])

    def label_stability(self, project: str) -> StabilityInfo:
        """Whether more labels of the same kind would change the model."""
        return cast(StabilityInfo, self._get(at(project, "labels", "stability")))

    def label_studio_link(self, project: str, annotator: str = "") -> LabelStudioLink:
        """A link into Label Studio that needs no login; the annotator opens it, once, within a minute."""
        where = at(project, "label-studio", "link")
        query = urlencode({"annotator": annotator}) if annotator else ""
        return cast(LabelStudioLink, self._post(f"{where}?{query}" if query else where, None))

    # Monitoring

    def quality(self, project: str) -> QualityInfo:
        """Metrics of the live model on the predictions whose truth is known."""
        return cast(QualityInfo, self._get(at(project, "quality")))

    def drift(self, project: str) -> dict[str, Any] | None:
        """The newest drift report, or None before the first."""
        return cast("dict[str, Any] | None", self._get(at(project, "drift"))["report"])

    def start_drift(self, project: str) -> Launched:
        """Have a drift report made now; `wait_run` waits for it."""
        return cast(Launched, self._post(at(project, "drift"), None))

    def alerts(self, project: str, state: AlertState | None = None) -> list[AlertInfo]:
        """Alerts, newest first; of one state when `state` is given."""
        return cast("list[AlertInfo]", self._get(at(project, "alerts"), state=state)["alerts"])

    def acknowledge(self, project: str, alert_id: int) -> AlertInfo:
        return cast(AlertInfo, self._post(at(project, "alerts", alert_id, "acknowledge"), None))


def _has_ended(run: RunInfo) -> bool:
    return run["status"] in ("succeeded", "failed", "canceled")
