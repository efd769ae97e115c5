"""A typed client of Tidemill's API, for the dashboard, the demo, notebooks and other programs.

    with Client("http://127.0.0.1:8700", key) as client:
        answer = client.predict("breast_cancer", {"mean_radius": 14.2, ...})

It imports nothing of Tidemill but its own parts, `client_*.py`, so these can be copied into another program; it
needs httpx. Answers are plain dictionaries, typed there (the API's OpenAPI document is made from the same types);
problems are raised as ApiError with the server's title, detail and remedy. Nothing is sent twice, but for the parts
of a resumed upload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast
from urllib.parse import urlencode

from tidemill.client_files import Files
from tidemill.client_transport import (
    ApiError,
    StillWorking,
    Unreachable,
    at,
    error_of,
    json_of,
    pieces,
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
    BatchInfo,
    CallerInfo,
    ColumnProfile,
    ComparisonInfo,
    DeploymentInfo,
    Label,
    Labelling,
    LabelStudioLink,
    Launched,
    LoggedPrediction,
    MlflowLink,
    ModelDetail,
    ModelImport,
    Models,
    NextTask,
    PartialPredictions,
    Prediction,
    ProjectDetail,
    ProjectSummary,
    QualityInfo,
    Record,
    RunInfo,
    StabilityInfo,
    StartedRound,
    TableDiff,
    TableInfo,
    TableRows,
    TableVersionInfo,
    TrainingInfo,
    Truth,
    TruthReceipt,
)

__all__ = ["ApiError", "Client", "StillWorking", "Unreachable"]


class Client(Files):
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

    # Models and deployment

    def mlflow_link(self) -> MlflowLink:
        """A link to MLflow's pages that needs no key; it works once, within a minute. Their server is started."""
        return cast(MlflowLink, self._post("/v1/mlflow/link", None))

    def models(self, project: str) -> Models:
        """All models, newest first, and the version that answers now."""
        return cast(Models, self._get(at(project, "models")))

    def model_card(self, project: str, version: int, form: Literal["html", "markdown"] = "html") -> str:
        """The card of a model, as one page that needs nothing else, or as Markdown."""
        return self._checked("GET", at(project, "models", version, "card"), params={"form": form}).text

    def model(self, project: str, version: int) -> ModelDetail:
        return cast(ModelDetail, self._get(at(project, "models", version)))

    def import_model(
        self,
        project: str,
        file: str | Path,
        *,
        columns: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
    ) -> ModelImport:
        """Send a model made elsewhere (ONNX, skops, LightGBM, XGBoost, CatBoost); `model_import` tells what becomes
        of it. `columns` and `classes` are their order in the model, where the file does not say."""
        params = {"name": Path(file).name, "columns": list(columns or ()), "classes": list(classes or ())}
        with Path(file).open("rb") as handle:
            headers = {"Content-Type": "application/octet-stream"}
            path = at(project, "models", "imports")
            found = self._json("POST", path, params=params, content=pieces(handle), headers=headers)
        return cast(ModelImport, found)

    def model_imports(self, project: str) -> list[ModelImport]:
        """The model files sent or dropped, newest first, and what became of them."""
        return cast("list[ModelImport]", self._get(at(project, "models", "imports"))["imports"])

    def model_import(self, project: str, import_id: str) -> ModelImport:
        return cast(ModelImport, self._get(at(project, "models", "imports", import_id)))

    def deployment(self, project: str) -> DeploymentInfo:
        return cast(DeploymentInfo, self._get(at(project, "deployment")))

    def comparison(self, project: str, since: int | None = None) -> ComparisonInfo:
        """What the champion and the challenger said of the same records, in the stage that revision `since` began
        (the newest). 404 when there was none."""
        found = self._get(at(project, "deployment", "comparison"), **({"since": since} if since else {}))
        return cast(ComparisonInfo, found)

    def deploy(
        self,
        project: str,
        version: int,
        reason: str,
        expected_revision: int | None = None,
        *,
        despite_gate: bool = False,
    ) -> DeploymentInfo:
        """Make `version` answer. With `expected_revision` only if nobody changed the deployment since.

        A model that has not passed its gate is refused (409), unless `despite_gate`.
        """
        body = {"reason": reason, "expected_revision": expected_revision, "despite_gate": despite_gate}
        return cast(DeploymentInfo, self._post(at(project, "models", version, "deploy"), body))

    def rollback(self, project: str, reason: str, expected_revision: int | None = None) -> DeploymentInfo:
        """Put the previous model back; whatever challenger there was is so no more."""
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "rollback"), body))

    def shadow(
        self, project: str, version: int, reason: str, expected_revision: int | None = None
    ) -> DeploymentInfo:
        """Ask `version` beside the live model, for comparison; it answers nobody."""
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "models", version, "shadow"), body))

    def canary(
        self,
        project: str,
        version: int,
        reason: str,
        expected_revision: int | None = None,
        *,
        percent: float | None = None,
        despite_gate: bool = False,
    ) -> DeploymentInfo:
        """Let `version` answer `percent` of the entities (project.yaml's when None), always the same ones."""
        body = {
            "reason": reason,
            "expected_revision": expected_revision,
            "percent": percent,
            "despite_gate": despite_gate,
        }
        return cast(DeploymentInfo, self._post(at(project, "models", version, "canary"), body))

    def pause(self, project: str, reason: str, expected_revision: int | None = None) -> DeploymentInfo:
        """Ask the challenger nothing until `resume`."""
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "deployment", "pause"), body))

    def resume(self, project: str, reason: str, expected_revision: int | None = None) -> DeploymentInfo:
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "deployment", "resume"), body))

    def withdraw(self, project: str, reason: str, expected_revision: int | None = None) -> DeploymentInfo:
        """End the challenger: the live model answers everyone."""
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "deployment", "withdraw"), body))

    # Predictions and truth

    def predict(self, project: str, record: Record, *, explain: bool = False) -> Prediction:
        """The answer to one record, with `explain` also how much each field moved it."""
        return cast(Prediction, self._predict(project, plain(record), explain=explain))

    def predict_many(
        self, project: str, records: Sequence[Record], *, explain: bool = False
    ) -> list[Prediction]:
        """One answer per record, in order; all or none."""
        body = {"records": [plain(record) for record in records]}
        return cast("list[Prediction]", self._predict(project, body, explain=explain)["predictions"])

    def predict_each(
        self, project: str, records: Sequence[Record], *, explain: bool = False
    ) -> PartialPredictions:
        """The same, but a record with faults keeps no other from its answer: each has a `status` of its own."""
        body = {"records": [plain(record) for record in records]}
        return cast(PartialPredictions, self._predict(project, body, explain=explain, partial=True))

    def _predict(self, project: str, body: Any, **asked: bool) -> dict[str, Any]:
        params = {name: "true" for name, is_asked in asked.items() if is_asked}
        return self._json("POST", at(project, "predictions"), params=params, json=body)

    def start_batch(
        self,
        project: str,
        file: str | Path | BinaryIO,
        *,
        name: str | None = None,
        format: Literal["csv", "parquet"] = "csv",
        version: int | None = None,
        log: bool = False,
    ) -> BatchInfo:
        """Send a whole file to be scored beside the online path; `wait_batch` waits, `batch_result` fetches.

        An open file needs its `name`, whose suffix says what kind of file it is.
        """
        named = name or (Path(file).name if isinstance(file, str | Path) else "")
        given = {"name": named, "format": format, "version": version, "log": str(log).lower()}
        params = {key: value for key, value in given.items() if value is not None}
        with ExitStack() as opened:
            handle = opened.enter_context(Path(file).open("rb")) if isinstance(file, str | Path) else file
            headers = {"Content-Type": "application/octet-stream"}
            path = at(project, "batch-predictions")
            found = self._json("POST", path, params=params, content=pieces(handle), headers=headers)
        return cast(BatchInfo, found)

    def batch(self, project: str, batch_id: str) -> BatchInfo:
        return cast(BatchInfo, self._get(at(project, "batch-predictions", batch_id)))

    def wait_batch(
        self,
        project: str,
        batch_id: str,
        timeout: float = 3600.0,
        on_progress: Callable[[BatchInfo], None] | None = None,
    ) -> BatchInfo:
        """The batch once it has ended, well or not. Raises StillWorking after `timeout` seconds."""
        return wait_until(
            lambda: self.batch(project, batch_id),
            lambda found: found["status"] in ("succeeded", "failed"),
            timeout,
            f"The batch {batch_id}",
            on_progress,
        )

    def batch_result(self, project: str, batch_id: str, target: str | Path) -> Path:
        """Write the result of a batch to `target`, in pieces."""
        path = at(project, "batch-predictions", batch_id, "result")
        with self._lost(), self._http.stream("GET", path) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            with Path(target).open("wb") as handle:
                for piece in response.iter_bytes():
                    handle.write(piece)
        return Path(target)

    def predictions(self, project: str, limit: int = 50) -> list[LoggedPrediction]:
        """The newest logged predictions, newest first."""
        answer = self._get(at(project, "predictions"), limit=limit)
        return cast("list[LoggedPrediction]", answer["predictions"])

    def prediction(self, project: str, prediction_id: str) -> LoggedPrediction:
        return cast(LoggedPrediction, self._get(at(project, "predictions", prediction_id)))

    def send_truth(
        self,
        project: str,
        label: Label | bool,
        *,
        prediction_id: str | None = None,
        entity_id: str | None = None,
        observed_at: str | None = None,
    ) -> TruthReceipt:
        """The true answer to one prediction, named by its id or by the entity's."""
        given = {
            "prediction_id": prediction_id,
            "entity_id": entity_id,
            "label": plain(label),
            "observed_at": observed_at,
        }
        truth = {name: value for name, value in given.items() if value is not None}
        return cast(TruthReceipt, self._post(at(project, "ground-truth"), truth))

    def send_truths(self, project: str, truths: Sequence[Truth]) -> TruthReceipt:
        return cast(TruthReceipt, self._post(at(project, "ground-truth"), {"truths": plain(list(truths))}))

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
