"""A typed client of Tidemill's API, for the dashboard, the demo, notebooks and other programs.

    with Client("http://127.0.0.1:8700", key) as client:
        answer = client.predict("breast_cancer", {"mean_radius": 14.2, ...})

It imports nothing of Tidemill but `client_types.py`, so the two can be copied into another program; it needs httpx.
Answers are plain dictionaries, typed there (the API's OpenAPI document is made from the same types); problems are
raised as ApiError with the server's title, detail and remedy. Nothing is sent twice, but for the parts of a resumed
upload.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, TypeVar, cast
from urllib.parse import quote, urlencode

import httpx

from tidemill.client_types import (
    AgreementInfo,
    AlertInfo,
    AlertState,
    AnnotatorInfo,
    AnswerInfo,
    BatchInfo,
    ColumnProfile,
    DeploymentInfo,
    FileRecord,
    Label,
    Labelling,
    LabelStudioLink,
    Launched,
    LoggedPrediction,
    ModelDetail,
    ModelImport,
    Models,
    NextTask,
    Prediction,
    ProjectDetail,
    ProjectSummary,
    QualityInfo,
    Record,
    RunInfo,
    SourceInfo,
    StabilityInfo,
    StartedRound,
    TableDiff,
    TableInfo,
    TableRows,
    TableVersionInfo,
    TrainingInfo,
    Truth,
    TruthReceipt,
    UploadInfo,
)

T = TypeVar("T")
TUS = {"Tus-Resumable": "1.0.0"}
PART_TYPE = "application/offset+octet-stream"
PART_BYTES = 8 << 20
RETRY_SECONDS = 0.5  # between two tries
SILENT_SECONDS = 60.0  # of no answer at all, after which a long conversation is given up


class ApiError(Exception):
    """The API refused or failed: `title` says what, `detail` with which object, `remedy` what to do.

    `status` is the HTTP status; `problem` the whole problem document (RFC 9457), such as `faults` of records.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        self.title = str(problem.get("title") or f"The API answered {status}")
        self.detail = str(problem.get("detail") or "")
        self.remedy = str(problem.get("remedy") or "")
        self.slug = str(problem.get("type") or "").rpartition(":")[2]
        self.request_id = cast("str | None", problem.get("request_id"))
        super().__init__(self.title)

    @property
    def is_retryable(self) -> bool:
        """Whether trying again later can help."""
        return self.status in (0, 423, 429, 502, 503, 504, 507)

    def __str__(self) -> str:
        remedy = f"What to do: {self.remedy}" if self.remedy else ""
        return "\n".join(part for part in (self.title, self.detail, remedy) if part)


class Unreachable(ApiError):
    """The API did not answer; `status` is 0."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            0,
            {
                "type": "urn:tidemill:problem:unreachable",
                "title": "The API does not answer",
                "detail": f"{url}: {why}",
                "remedy": "Start the services with `tidemill up`; `tidemill status` shows what runs.",
            },
        )


class StillWorking(ApiError):
    """What was waited for had not ended in time; it goes on. `status` is 0."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            0,
            {
                "type": "urn:tidemill:problem:still-working",
                "title": f"{what} has not ended yet",
                "detail": f"waited for {seconds:.0f} s",
                "remedy": "Wait longer, or look at the run in Dagster.",
            },
        )


class Client:
    """One API and one key. Close it, or use it in a `with`; it may be shared between threads."""

    def __init__(
        self,
        url: str,
        key: str,
        timeout: float = 60.0,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        # Proxies of the environment are for other machines, never for our own.
        is_local = httpx.URL(self.url).host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            trust_env=not is_local,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # The service itself

    def health(self) -> dict[str, Any]:
        """Whether the API lives; needs no key."""
        return self._get("/healthz")

    def ready(self) -> dict[str, Any]:
        """`{"status", "checks"}`; a part that is missing is an answer here, not an error."""
        response = self._send("GET", "/readyz")
        if response.status_code not in (200, 503):
            raise _error_of(response)
        return _json_of(response)

    # Projects

    def projects(self) -> list[ProjectSummary]:
        return cast("list[ProjectSummary]", self._get("/v1/projects")["projects"])

    def project(self, project: str) -> ProjectDetail:
        return cast(ProjectDetail, self._get(_at(project)))

    # Files and tables

    def upload(
        self,
        project: str,
        source: str | Path | bytes | BinaryIO,
        name: str | None = None,
        *,
        resume: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> FileRecord:
        """Send a CSV or Excel file: a path, bytes, or an open binary file (streamed, not held in memory).

        `name` is the name to show; its suffix tells the format. The same bytes again give the stored record.

        With `resume` it goes in parts: when the connection breaks, or the same file was begun before, it goes on
        where the server is, and what is in the table already is not sent. An open file must be able to seek then.
        `on_progress` gets the bytes that are there and those of the whole. Gives up when nothing was heard for a
        minute.
        """
        if isinstance(source, (str, Path)):
            with Path(source).open("rb") as handle:
                name = name or Path(source).name
                return self.upload(project, handle, name, resume=resume, on_progress=on_progress)
        if name is None:
            name = os.path.basename(str(getattr(source, "name", ""))) or "data.csv"
        if resume:
            seekable = io.BytesIO(source) if isinstance(source, bytes) else source
            return self._upload_parts(project, seekable, name, on_progress or (lambda _there, _size: None))
        body = source if isinstance(source, bytes) else _pieces(source)
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._json(
            "POST", _at(project, "files"), params={"name": name}, content=body, headers=headers
        )
        return cast(FileRecord, answer)

    def send_records(self, project: str, records: Iterable[Record]) -> FileRecord:
        """Send rows; they become a file, whose record is the answer. The same rows again give the stored record.

        They are sent as they come from `records`, one JSON object a line, never all in memory.
        """
        lines = (json.dumps(_plain(record), allow_nan=False).encode() + b"\n" for record in records)
        headers = {"Content-Type": "application/x-ndjson"}
        return cast(
            FileRecord, self._json("POST", _at(project, "records"), content=_gathered(lines), headers=headers)
        )

    def files(self, project: str) -> list[FileRecord]:
        """The files sent or dropped, newest first."""
        return cast("list[FileRecord]", self._get(_at(project, "files"))["files"])

    def file(self, project: str, file_id: str) -> FileRecord:
        return cast(FileRecord, self._get(_at(project, "files", file_id)))

    def sources(self, project: str) -> list[SourceInfo]:
        """Where the project's files come from, and how each source was found at the last look."""
        return cast("list[SourceInfo]", self._get(_at(project, "sources"))["sources"])

    def rejects(self, project: str, file_id: str) -> str:
        """Why rows of a file were refused, as CSV: file, line, column, value, reason."""
        return self._checked("GET", _at(project, "files", file_id, "rejects")).text

    def rejected_rows(self, project: str, file_id: str) -> bytes:
        """The refused rows of a file as a CSV to be mended and sent again, after `_file`, `_line` and `_reason`."""
        return self._checked("GET", _at(project, "files", file_id, "rejected-rows")).content

    def wait_file(self, project: str, file_id: str, timeout: float = 120.0) -> FileRecord:
        """The file's record once it has been accepted or refused. Raises StillWorking after `timeout` seconds."""
        return _wait(
            lambda: self.file(project, file_id),
            lambda record: record["status"] in ("accepted", "refused"),
            timeout,
            f"The file {file_id}",
        )

    def follow_file(self, project: str, file_id: str, timeout: float = 3600.0) -> Iterator[FileRecord]:
        """The file's record at each change, the last one accepted or refused.

        Goes on where it was when the connection breaks. Raises StillWorking after `timeout` seconds, Unreachable
        when the API has not answered for a minute.
        """
        path = _at(project, "files", file_id, "events")
        for document in self._followed(path, _is_taken, timeout, f"The file {file_id}"):
            yield cast(FileRecord, document)

    def tables(self, project: str) -> list[TableInfo]:
        return cast("list[TableInfo]", self._get(_at(project, "tables"))["tables"])

    def table(self, project: str, table: str, limit: int = 50) -> TableRows:
        """The first rows of the current version of a table."""
        return cast(TableRows, self._get(_at(project, "tables", table), limit=limit))

    def profile(self, project: str, table: str) -> list[ColumnProfile]:
        return cast("list[ColumnProfile]", self._get(_at(project, "tables", table, "profile"))["profile"])

    def table_versions(self, project: str, table: str) -> list[TableVersionInfo]:
        """The kept versions of a table, newest first, with the rows each added, changed and removed."""
        return cast(
            "list[TableVersionInfo]", self._get(_at(project, "tables", table, "versions"))["versions"]
        )

    def table_diff(self, project: str, table: str, old: int, new: int) -> TableDiff:
        """What version `new` has that `old` has not. The answer also has `from` and `to`."""
        found = self._get(_at(project, "tables", table, "diff"), **{"from": old, "to": new})
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
        return cast(Launched, self._post(_at(project, "trainings"), body, idempotency_key))

    def cancel_training(self, project: str, run_id: str, reason: str = "") -> TrainingInfo:
        """Have a training ended that waits or goes on. Raises ApiError (409) when it has ended already."""
        return cast(TrainingInfo, self._post(_at(project, "trainings", run_id, "cancel"), {"reason": reason}))

    def retry_training(
        self, project: str, run_id: str, reason: str = "", *, idempotency_key: str | None = None
    ) -> Launched:
        """Start a new training in place of one that failed or was cancelled."""
        path = _at(project, "trainings", run_id, "retry")
        return cast(Launched, self._post(path, {"reason": reason}, idempotency_key))

    def follow_training(self, project: str, run_id: str, timeout: float = 86_400.0) -> Iterator[TrainingInfo]:
        """The training at each change, the last one ended; goes on when the connection breaks.

        Raises StillWorking after `timeout` seconds, Unreachable when the API has not answered for a minute.
        """
        path, what = _at(project, "trainings", run_id, "events"), f"The training {run_id}"
        for document in self._followed(path, _has_ended, timeout, what):
            yield cast(TrainingInfo, document)

    def trainings(self, project: str, limit: int = 20) -> list[TrainingInfo]:
        """The newest trainings, newest first."""
        return cast("list[TrainingInfo]", self._get(_at(project, "trainings"), limit=limit)["trainings"])

    def training(self, project: str, run_id: str) -> TrainingInfo:
        return cast(TrainingInfo, self._get(_at(project, "trainings", run_id)))

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
        return _wait(
            lambda: self.training(project, run_id), _has_ended, timeout, f"The training {run_id}", on_progress
        )

    def runs(self, project: str, job: str | None = None, limit: int = 20) -> list[RunInfo]:
        """The newest runs (of the job ingest, labels, training, monitoring or loop), newest first."""
        return cast("list[RunInfo]", self._get(_at(project, "runs"), job=job, limit=limit)["runs"])

    def run(self, project: str, run_id: str) -> RunInfo:
        return cast(RunInfo, self._get(_at(project, "runs", run_id)))

    def wait_run(
        self,
        project: str,
        run_id: str,
        timeout: float = 300.0,
        on_progress: Callable[[RunInfo], None] | None = None,
    ) -> RunInfo:
        """`wait_training` for a run of any job."""
        return _wait(lambda: self.run(project, run_id), _has_ended, timeout, f"The run {run_id}", on_progress)

    # Labels

    def labelling(self, project: str) -> Labelling:
        """How labelling stands: tasks, answers, rounds."""
        return cast(Labelling, self._get(_at(project, "labels")))

    def start_round(
        self,
        project: str,
        budget: int | None = None,
        strategy: Literal["uncertain", "random"] | None = None,
    ) -> StartedRound:
        """Have rows chosen and people asked about them; unset, as project.yaml says."""
        body = {"budget": budget, "strategy": strategy}
        return cast(StartedRound, self._post(_at(project, "labels", "rounds"), body))

    def next_task(self, project: str, annotator: str) -> NextTask:
        """The next row that this person may answer about, on the built-in page."""
        return cast(NextTask, self._get(_at(project, "labels", "next"), annotator=annotator))

    def answer(
        self,
        project: str,
        row: str,
        label: Label | bool | None,
        annotator: str,
        lead_seconds: float | None = None,
    ) -> AnswerInfo:
        """Answer about a row, or skip it with None. Answering again changes the answer."""
        body = {"row": row, "label": _plain(label), "annotator": annotator, "lead_seconds": lead_seconds}
        return cast(AnswerInfo, self._post(_at(project, "labels", "answers"), body))

    def undo_answer(self, project: str, annotator: str) -> AnswerInfo | None:
        """Take back the person's last answer or skip; None when there was none."""
        found = self._post(_at(project, "labels", "undo"), {"annotator": annotator})
        return cast("AnswerInfo | None", found["undone"])

    def agreement(self, project: str) -> list[AgreementInfo]:
        """How far people agree, by every coefficient that the answers allow."""
        return cast("list[AgreementInfo]", self._get(_at(project, "labels", "agreement"))["agreement"])

    def annotators(self, project: str) -> list[AnnotatorInfo]:
        """How each person does."""
        return cast("list[AnnotatorInfo]", self._get(_at(project, "labels", "annotators"))["annotators"])

    def label_stability(self, project: str) -> StabilityInfo:
        """Whether more labels of the same kind would change the model."""
        return cast(StabilityInfo, self._get(_at(project, "labels", "stability")))

    def label_studio_link(self, project: str, annotator: str = "") -> LabelStudioLink:
        """A link into Label Studio that needs no login; the annotator opens it, once, within a minute."""
        where = _at(project, "label-studio", "link")
        query = urlencode({"annotator": annotator}) if annotator else ""
        return cast(LabelStudioLink, self._post(f"{where}?{query}" if query else where, None))

    # Models and deployment

    def models(self, project: str) -> Models:
        """All models, newest first, and the version that answers now."""
        return cast(Models, self._get(_at(project, "models")))

    def model_card(self, project: str, version: int, form: Literal["html", "markdown"] = "html") -> str:
        """The card of a model, as one page that needs nothing else, or as Markdown."""
        return self._checked("GET", _at(project, "models", version, "card"), params={"form": form}).text

    def model(self, project: str, version: int) -> ModelDetail:
        return cast(ModelDetail, self._get(_at(project, "models", version)))

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
            path = _at(project, "models", "imports")
            found = self._json("POST", path, params=params, content=_pieces(handle), headers=headers)
        return cast(ModelImport, found)

    def model_imports(self, project: str) -> list[ModelImport]:
        """The model files sent or dropped, newest first, and what became of them."""
        return cast("list[ModelImport]", self._get(_at(project, "models", "imports"))["imports"])

    def model_import(self, project: str, import_id: str) -> ModelImport:
        return cast(ModelImport, self._get(_at(project, "models", "imports", import_id)))

    def deployment(self, project: str) -> DeploymentInfo:
        return cast(DeploymentInfo, self._get(_at(project, "deployment")))

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
        return cast(DeploymentInfo, self._post(_at(project, "models", version, "deploy"), body))

    def rollback(self, project: str, reason: str) -> DeploymentInfo:
        """Put the previous model back."""
        return cast(DeploymentInfo, self._post(_at(project, "rollback"), {"reason": reason}))

    # Predictions and truth

    def predict(self, project: str, record: Record) -> Prediction:
        return cast(Prediction, self._post(_at(project, "predictions"), _plain(record)))

    def predict_many(self, project: str, records: Sequence[Record]) -> list[Prediction]:
        """One answer per record, in order; all or none."""
        body = {"records": [_plain(record) for record in records]}
        return cast("list[Prediction]", self._post(_at(project, "predictions"), body)["predictions"])

    def start_batch(
        self,
        project: str,
        file: str | Path,
        *,
        format: Literal["csv", "parquet"] = "csv",
        version: int | None = None,
        log: bool = False,
    ) -> BatchInfo:
        """Send a whole file to be scored beside the online path; `wait_batch` waits, `batch_result` fetches."""
        given = {"name": Path(file).name, "format": format, "version": version, "log": str(log).lower()}
        params = {name: value for name, value in given.items() if value is not None}
        with Path(file).open("rb") as handle:
            headers = {"Content-Type": "application/octet-stream"}
            path = _at(project, "batch-predictions")
            found = self._json("POST", path, params=params, content=_pieces(handle), headers=headers)
        return cast(BatchInfo, found)

    def batch(self, project: str, batch_id: str) -> BatchInfo:
        return cast(BatchInfo, self._get(_at(project, "batch-predictions", batch_id)))

    def wait_batch(
        self,
        project: str,
        batch_id: str,
        timeout: float = 3600.0,
        on_progress: Callable[[BatchInfo], None] | None = None,
    ) -> BatchInfo:
        """The batch once it has ended, well or not. Raises StillWorking after `timeout` seconds."""
        return _wait(
            lambda: self.batch(project, batch_id),
            lambda found: found["status"] in ("succeeded", "failed"),
            timeout,
            f"The batch {batch_id}",
            on_progress,
        )

    def batch_result(self, project: str, batch_id: str, target: str | Path) -> Path:
        """Write the result of a batch to `target`, in pieces."""
        path = _at(project, "batch-predictions", batch_id, "result")
        with self._lost(), self._http.stream("GET", path) as response:
            if not response.is_success:
                response.read()
                raise _error_of(response)
            with Path(target).open("wb") as handle:
                for piece in response.iter_bytes():
                    handle.write(piece)
        return Path(target)

    def predictions(self, project: str, limit: int = 50) -> list[LoggedPrediction]:
        """The newest logged predictions, newest first."""
        answer = self._get(_at(project, "predictions"), limit=limit)
        return cast("list[LoggedPrediction]", answer["predictions"])

    def prediction(self, project: str, prediction_id: str) -> LoggedPrediction:
        return cast(LoggedPrediction, self._get(_at(project, "predictions", prediction_id)))

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
            "label": _plain(label),
            "observed_at": observed_at,
        }
        truth = {name: value for name, value in given.items() if value is not None}
        return cast(TruthReceipt, self._post(_at(project, "ground-truth"), truth))

    def send_truths(self, project: str, truths: Sequence[Truth]) -> TruthReceipt:
        return cast(TruthReceipt, self._post(_at(project, "ground-truth"), {"truths": _plain(list(truths))}))

    # Monitoring

    def quality(self, project: str) -> QualityInfo:
        """Metrics of the live model on the predictions whose truth is known."""
        return cast(QualityInfo, self._get(_at(project, "quality")))

    def drift(self, project: str) -> dict[str, Any] | None:
        """The newest drift report, or None before the first."""
        return cast("dict[str, Any] | None", self._get(_at(project, "drift"))["report"])

    def start_drift(self, project: str) -> Launched:
        """Have a drift report made now; `wait_run` waits for it."""
        return cast(Launched, self._post(_at(project, "drift"), None))

    def alerts(self, project: str, state: AlertState | None = None) -> list[AlertInfo]:
        """Alerts, newest first; of one state when `state` is given."""
        return cast("list[AlertInfo]", self._get(_at(project, "alerts"), state=state)["alerts"])

    def acknowledge(self, project: str, alert_id: int) -> AlertInfo:
        return cast(AlertInfo, self._post(_at(project, "alerts", alert_id, "acknowledge"), None))

    def _upload_parts(
        self, project: str, handle: BinaryIO, name: str, on_progress: Callable[[int, int], None]
    ) -> FileRecord:
        sha256, size = _digest_of(handle)
        if (known := self._known_file(project, sha256)) is not None:
            return known
        url = self._begun(project, sha256) or self._announce(project, name, size, sha256)
        heard = time.monotonic()
        offset: int | None = None
        while True:
            try:
                answer = self._part(url, handle, offset)
            except ApiError as error:
                # 409: the server has another count than we, such as after an answer that was lost.
                is_hopeful = error.is_retryable or (error.status == 409 and "offset" in error.problem)
                if not is_hopeful or time.monotonic() - heard > SILENT_SECONDS:
                    raise
                offset = None
                time.sleep(RETRY_SECONDS)
                continue
            heard, offset = time.monotonic(), int(answer.headers["Upload-Offset"])
            on_progress(offset, size)
            if file_id := answer.headers.get("Tidemill-File"):
                return self.file(project, file_id)

    def _part(self, url: str, handle: BinaryIO, offset: int | None) -> httpx.Response:
        """Send the part that begins at `offset`, or ask for the offset when it is not known."""
        if offset is None:
            return self._checked("HEAD", url, headers=TUS)
        handle.seek(offset)
        headers = TUS | {"Upload-Offset": str(offset), "Content-Type": PART_TYPE}
        return self._checked("PATCH", url, content=handle.read(PART_BYTES), headers=headers)

    def _known_file(self, project: str, sha256: str) -> FileRecord | None:
        """The record of these bytes when the table has them; refused ones are worth another try."""
        try:
            record = self.file(project, sha256[:16])
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        return record if record["sha256"] == sha256 and record["status"] == "accepted" else None

    def _begun(self, project: str, sha256: str) -> str | None:
        """Where an upload of these bytes goes on that was begun before."""
        uploads = cast("list[UploadInfo]", self._get(_at(project, "uploads"))["uploads"])
        return next((one["url"] for one in uploads if one["sha256"] == sha256 and one["file"] is None), None)

    def _announce(self, project: str, name: str, size: int, sha256: str) -> str:
        given = {"filename": name, "sha256": sha256}
        pairs = [f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in given.items()]
        headers = TUS | {"Upload-Length": str(size), "Upload-Metadata": ",".join(pairs)}
        return str(self._checked("POST", _at(project, "uploads"), headers=headers).headers["Location"])

    # The wire

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        given = {name: value for name, value in params.items() if value is not None}
        return self._json("GET", path, params=given)

    def _post(self, path: str, body: Any, idempotency_key: str | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        given = {"json": body} if body is not None else {}
        return self._json("POST", path, headers=headers, **given)

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return _json_of(self._checked(method, path, **options))

    def _checked(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = self._send(method, path, **options)
        if not response.is_success:
            raise _error_of(response)
        return response

    def _followed(
        self, path: str, is_last: Callable[[Any], bool], timeout: float, what: str
    ) -> Iterator[dict[str, Any]]:
        """The documents of an event stream until the last one, over as many connections as it takes."""
        deadline = time.monotonic() + timeout
        heard = time.monotonic()
        seen = ""
        while time.monotonic() < deadline:
            try:
                for event, text in self._events(path, seen):
                    seen, heard = event, time.monotonic()
                    document = json.loads(text)
                    yield document
                    if is_last(document):
                        return
            except ApiError as error:
                if not error.is_retryable or time.monotonic() - heard > SILENT_SECONDS:
                    raise
            time.sleep(RETRY_SECONDS)
        raise StillWorking(what, timeout)

    def _events(self, path: str, seen: str) -> Iterator[tuple[str, str]]:
        """(id, data) of the server-sent events after the event `seen`, to the end of the connection."""
        headers = {"Last-Event-ID": seen} if seen else {}
        with self._lost(), self._http.stream("GET", path, headers=headers) as response:
            if not response.is_success:
                response.read()
                raise _error_of(response)
            data: list[str] = []
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    seen = value
                elif name == "data":
                    data.append(value)
                elif not line and data:
                    yield seen, "\n".join(data)
                    data = []

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._lost():
            return self._http.request(method, path, **options)

    @contextmanager
    def _lost(self) -> Iterator[None]:
        """Turn httpx's ways of saying that nobody answers into Unreachable."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise Unreachable(self.url, "no answer in time") from error
        except httpx.TransportError as error:
            raise Unreachable(self.url, str(error) or type(error).__name__) from error


def _at(project: str, *parts: str | int) -> str:
    return "/".join(["/v1/projects", *(quote(str(part), safe="") for part in (project, *parts))])


def _plain(value: Any) -> Any:
    """`value` as JSON takes it: NaN of a data frame becomes null, its numbers plain, dates ISO 8601."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (date, datetime)):
        return None if value != value else value.isoformat()  # pandas' NaT is a datetime unequal to itself
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _pieces(handle: BinaryIO, size: int = 262_144) -> Iterator[bytes]:
    while piece := handle.read(size):
        yield piece


def _gathered(lines: Iterable[bytes], size: int = 262_144) -> Iterator[bytes]:
    """The same bytes in larger pieces: a packet for each row would cost more than the row."""
    waiting = bytearray()
    for line in lines:
        waiting += line
        if len(waiting) >= size:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _digest_of(handle: BinaryIO) -> tuple[str, int]:
    """SHA-256 in hex and size of a whole open file."""
    digest, size = hashlib.sha256(), 0
    handle.seek(0)
    for piece in _pieces(handle):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _json_of(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ApiError(
            response.status_code,
            {
                "title": "That is not Tidemill's API",
                "detail": f"{response.request.url} answered {response.status_code} without a JSON object",
                "remedy": "Check the address; `tidemill status` prints it.",
            },
        )
    return document


def _error_of(response: httpx.Response) -> ApiError:
    try:
        document = response.json()
    except ValueError:
        document = {}
    problem = document if isinstance(document, dict) else {}
    problem.setdefault("request_id", response.headers.get("X-Request-Id"))
    return ApiError(response.status_code, problem)


def _is_taken(record: FileRecord) -> bool:
    return record["status"] in ("accepted", "refused")


def _has_ended(run: RunInfo) -> bool:
    return run["status"] in ("succeeded", "failed", "canceled")


def _wait(
    look: Callable[[], T],
    is_done: Callable[[T], bool],
    timeout: float,
    what: str,
    on_progress: Callable[[T], None] | None = None,
) -> T:
    """Look until done: often at first, then every second."""
    deadline = time.monotonic() + timeout
    pause = 0.1
    seen: T | None = None
    while True:
        now = look()
        if on_progress is not None and now != seen:
            on_progress(now)
        seen = now
        if is_done(now):
            return now
        if time.monotonic() + pause > deadline:
            raise StillWorking(what, timeout)
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)
