"""What the API answers, as types: the shapes that `client.py` gives back and the API promises in its document.

Here belong shapes alone. It imports nothing else of Tidemill, so that it can be copied along with the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads only this one before Python 3.12

Record = Mapping[str, Any]


Label = str | float


RunStatus = Literal["queued", "running", "succeeded", "failed", "canceled"]


AlertState = Literal["open", "acknowledged", "resolved"]


class NextStep(TypedDict):
    action: Literal["upload", "label", "train", "predict", "send_truth", "look_at_alerts", "all_well"]
    text: str


class ProjectSummary(TypedDict):
    name: str
    title: str
    task: str | None
    target: str | None
    rows: int | None
    dataset_version: int | None
    champion: int | None
    predictions: int
    open_alerts: int
    problem: str | None
    next_step: NextStep


class ColumnInfo(TypedDict):
    name: str
    type: str
    role: str
    nulls: bool
    min: float | None
    max: float | None
    values: list[str] | None
    description: str


class ProjectDetail(ProjectSummary):
    """`problem` set means that project.yaml cannot be read; `columns` and the settings are empty then."""

    description: str
    columns: list[ColumnInfo]
    labels: dict[str, Any]
    training: dict[str, Any]
    gates: dict[str, Any]
    serving: dict[str, Any]
    monitoring: dict[str, Any]


class FileProgress(TypedDict):
    """How far a file is being taken in; `bytes` and `share` are None where they are not known."""

    phase: Literal["opening", "reading", "publishing"]
    rows: int
    bytes: int | None
    total_bytes: int
    share: float | None


class FileRecord(TypedDict):
    """`progress` is there while the status is `processing`."""

    id: str
    name: str
    sha256: str
    bytes: int
    status: str  # received | processing | accepted | refused
    rows: int | None
    accepted: int | None
    rejected: int | None
    dataset_version: int | None
    dataset: str | None  # such as raw@3: the version of the table that the file came in with
    found: (
        dict[str, Any] | None
    )  # how it is written: format, encoding, delimiter, sheet ...; null when not known
    problem: dict[str, Any] | None
    progress: FileProgress | None
    received_at: str
    finished_at: str | None
    url: str


class UploadInfo(TypedDict):
    """A file on its way in parts: `offset` of `length` bytes are here, `sha256` is what its sender announced.

    `file` is the record of the whole file.
    """

    id: str
    name: str
    length: int
    offset: int
    sha256: str | None
    file: dict[str, Any] | None
    url: str


class SourceInfo(TypedDict):
    """One source of a project. `state` is ok, away (looked at again), wrong (see `error`), or None before a look.

    `waiting` counts files that are not whole yet, `taken` those that were taken; `problems` are of files. The
    inbox is not looked at: its `every` and `taken` are None.
    """

    name: str
    kind: Literal["inbox", "share", "sftp", "s3", "sql"]
    where: str
    every: int | None
    state: Literal["ok", "away", "wrong"] | None
    since: str | None
    last_look: str | None
    last_ok: str | None
    waiting: int
    taken: int | None
    error: dict[str, str] | None
    problems: list[dict[str, str]]


class TableInfo(TypedDict):
    name: str
    version: int
    rows: int
    created: str
    sha256: str
    columns: dict[str, str]
    parents: dict[str, Any]
    sources: list[dict[str, Any]]


class TableVersionInfo(TypedDict):
    """One kept version. What it changed is None where it was not written down, as for the first version."""

    version: int
    current: bool
    created: str
    rows: int
    parent: int | None
    parents: dict[str, Any]
    added: int | None
    changed: int | None
    removed: int | None
    files: list[str]
    note: str


class TableDiff(TypedDict):
    """What one version has that another has not; `examples` holds up to 20 rows of each kind."""

    table: str
    rows_before: int
    rows_after: int
    added: int
    changed: int
    removed: int
    unchanged: int
    columns_added: dict[str, str]
    columns_removed: dict[str, str]
    columns_retyped: dict[str, list[str]]
    columns_changed: dict[str, int]
    examples: dict[str, list[dict[str, Any]]]
    profile: dict[str, dict[str, Any]]


class TableRows(TypedDict):
    table: str
    version: int
    columns: list[str]
    rows: list[list[Any]]


class Histogram(TypedDict):
    """Counts of numbers between the edges, of which there is one more."""

    edges: list[float]
    counts: list[int]


class ColumnProfile(TypedDict, total=False):
    column: str
    type: str
    rows: int
    nulls: int
    distinct: int
    min: Any
    max: Any
    mean: float | None
    p25: float | None
    p50: float | None
    p75: float | None
    top: list[list[Any]]
    histogram: Histogram | None
    examples: list[str]
    sampled: int | None  # rows that quartiles, top, histogram and examples are of; None: all


class StepInfo(TypedDict):
    name: str
    status: str  # running | succeeded | failed | skipped
    started_at: str | None
    ended_at: str | None


class RunInfo(TypedDict):
    """`trigger` is what started it: api, command-line, dashboard, dagster, schedule, new-data, new-labels, drift,
    retry (of the run `retry_of`) or git-push. `waiting_for` says why a queued run does not begin yet, `error` why a
    run failed or was cancelled. `steps_total` and `percent` are null where they are not known."""

    id: str
    job: str
    status: RunStatus
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    steps: list[StepInfo]
    steps_total: int | None
    percent: int | None
    trigger: str
    actor: str | None
    reason: str | None
    retry_of: str | None
    waiting_for: str | None
    is_ending: bool
    error: str | None
    url: str
    dagster_url: str | None


class TrainingProgress(TypedDict):
    """`done` of `total` fits; `best_score` is the best cross-validated metric so far, `name` what is at work."""

    done: int
    total: int
    best_score: float
    name: str


class TrainingInfo(RunInfo):
    """`model_version` is the model that the run made, once there is one; `progress` is of the search."""

    model_version: int | None
    progress: TrainingProgress | None


class BatchInfo(TypedDict):
    """A file on its way through a model. `problem` says why it failed; `result_url` is there once it succeeded."""

    id: str
    name: str
    format: Literal["csv", "parquet"]
    log: bool
    status: Literal["queued", "running", "succeeded", "failed"]
    rows: int
    errors: int
    model_version: int | None
    problem: dict[str, Any] | None
    created_at: str
    ended_at: str | None
    url: str
    result_url: str | None


class ModelImport(TypedDict):
    """A model file made elsewhere. `problem` says why it was refused, or what it waits for; `model_version` is the
    model that it became."""

    id: str
    name: str
    sha256: str
    size: int
    status: Literal["received", "accepted", "refused"]
    by: str | None
    columns: list[str] | None
    classes: list[str] | None
    model_version: int | None
    problem: dict[str, Any] | None
    received_at: str
    decided_at: str | None
    url: str


class Launched(TypedDict):
    id: str
    status: RunStatus
    url: str
    dagster_url: str | None


class Interval(TypedDict):
    """A metric with its 95 % interval."""

    value: float
    low: float
    high: float


class GateInfo(TypedDict):
    passed: bool
    reasons: list[str]
    checks: list[dict[str, Any]]


class ModelInfo(TypedDict):
    version: int
    estimator: str
    created: str
    metric: str
    metrics: dict[str, Interval]
    baseline: dict[str, float]
    gate: GateInfo | None
    champion: bool
    provenance: dict[str, Any]


class ModelDetail(ModelInfo):
    evaluation: dict[str, Any] | None
    candidates: list[dict[str, Any]]
    card: str
    classes: list[str] | None
    positive: str | None
    threshold: float | None


class LabelRound(TypedDict):
    """A round of rows that people are asked about; `reasons` counts why they were chosen."""

    round: int
    tasks: int
    finished: int
    reasons: dict[str, int]


class Trouble(TypedDict):
    """What is wrong now, with what, and what to do."""

    title: str
    detail: str
    remedy: str


class Labelling(TypedDict):
    """How labelling stands. `finished` tasks have as many answers as were wanted; `classes` is None for numbers."""

    kind: str  # column | built-in | label-studio
    instructions: str
    classes: list[str] | None
    annotators_wanted: int
    budget: int
    rows: int | None
    labelled_rows: int | None
    tasks: int
    finished: int
    answers: int
    skipped: int
    unusable: int
    by_annotator: dict[str, int]
    rounds: list[LabelRound]
    trouble: Trouble | None  # what keeps answers in Label Studio from coming over


class HintTaken(TypedDict):
    """Answers are taken over about so many seconds from now."""

    within_seconds: float


class LabelStudioLink(TypedDict):
    """Where people label. The link to our own server works once, for `seconds`; None is a plain address."""

    url: str
    seconds: int | None


class MlflowLink(TypedDict):
    """A way into MLflow's pages, once and within `seconds`."""

    url: str
    seconds: int


class StartedRound(TypedDict):
    round: int
    tasks: int
    reasons: dict[str, int]
    remarks: list[str]


class LabelSuggestion(TypedDict):
    label: Label
    score: float | None
    model_version: int


class LabelTaskInfo(TypedDict):
    """A row to answer about: its `fields` stand in the contract's order."""

    row: str
    fields: dict[str, Any]
    suggestion: LabelSuggestion | None
    reason: str
    round: int
    annotators: int


class NextTask(TypedDict):
    """`task` is None when nothing is left for this person; `open` of `tasks` still want answers."""

    task: LabelTaskInfo | None
    open: int
    tasks: int


class AnswerInfo(TypedDict):
    """One person's answer; `label` is None for a skipped row."""

    id: str
    row: str
    label: Label | None
    annotator: str
    created_at: str
    updated_at: str
    lead_seconds: float | None
    origin: str  # manual | accepted | changed | column


class AgreementInfo(TypedDict):
    """A coefficient with its 95 % interval; None where nobody could have disagreed."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    rows: int
    annotators: list[str]


class AnnotatorInfo(TypedDict):
    """How one person does; shares are None where there was nothing to compare."""

    annotator: str
    answers: int
    skipped: int
    skip_share: float
    median_seconds: float | None
    pairs: int
    agreement: float | None
    distance: float | None
    gold: int
    gold_right: int | None
    gold_low: float | None
    gold_high: float | None
    gold_error: float | None


class StabilityInfo(TypedDict):
    """Kappa of successive models on a fixed set of rows; `stop` says that more labels would change little."""

    kappas: list[float]
    models: list[int]
    rows: int
    stop: bool
    text: str


class Models(TypedDict):
    models: list[ModelInfo]
    champion: int | None


class DeploymentEvent(TypedDict):
    """`action`: deploy, promote, rollback, shadow, canary, pause, resume or withdraw; `percent` of a canary.

    `detail` says what a policy found when it was the one that withdrew.
    """

    revision: int
    action: str
    version: int
    actor: str
    reason: str
    at: str
    percent: float | None
    detail: dict[str, Any] | None


class ChallengerInfo(TypedDict):
    """The model tried beside the live one; `since` is the revision that brought it to its stage."""

    version: int
    stage: Literal["shadow", "canary"]
    percent: float | None
    paused: bool
    since: int
    since_at: str


class DeploymentInfo(TypedDict):
    """`revision` counts changes; hand it back as `expected_revision` to change only what you have seen."""

    champion: int | None
    previous: int | None
    challenger: ChallengerInfo | None
    revision: int
    changed_at: str | None
    history: list[DeploymentEvent]


class Flag(TypedDict):
    """What was odd about a record and what became of it, as the project's `serving` says.

    `flagged`: the value went to the model as it stands; `imputed`: it counted as missing; `ignored`: the field is
    no column. `found` is what did not reach the model.
    """

    field: str
    problem: Literal["unknown_category", "out_of_range", "missing_field", "extra_field"]
    action: Literal["flagged", "imputed", "ignored"]
    found: NotRequired[str]


class Explanation(TypedDict):
    """How much each field moved the answer: `base_value` and the contributions add up to `margin`.

    `label` is the class it is about, None for a regression. `calibrated` says that the answer's probability was
    calibrated after the margin.
    """

    label: str | None
    unit: Literal["log-odds", "probability", "log-score", "value"]
    base_value: float
    contributions: dict[str, float]
    margin: float
    calibrated: bool


class LatencyInfo(TypedDict):
    """Quantiles within 5 %; null without any."""

    count: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class DifferenceInfo(TypedDict):
    """Challenger less champion: of scores (absolute: of all probabilities), or of a regression's numbers."""

    mean: float
    mean_absolute: float
    largest: float


class PairedQuality(TypedDict):
    """Mean losses where truth has come; `low` and `high` bound the difference at 95 %."""

    measure: str
    count: int
    champion: float
    challenger: float
    low: float
    high: float


class ErrorsInfo(TypedDict):
    """What the challenger failed at; for a canary the live model then answered."""

    count: int
    share: float | None
    last: str | None


class ComparisonInfo(TypedDict):
    """Champion and challenger on the same records, in one stage. `agreement` is null for a regression.

    In shadow the challenger's latency is that of its scoring alone, at idle priority. `dropped` counts records that
    were not compared because it could not keep up, `waiting` the bytes of the log that are still to be read.
    """

    stage: Literal["shadow", "canary"]
    champion: int
    challenger: int
    since: int
    since_at: str
    updated_at: str
    compared: int
    agreement: float | None
    disagreements: list[dict[str, Any]]
    difference: DifferenceInfo | None
    latency: dict[str, LatencyInfo]
    answered: dict[str, int]
    errors: ErrorsInfo
    dropped: int
    waiting: int
    quality: PairedQuality | None
    breach: dict[str, Any] | None


class Prediction(TypedDict):
    """`explanation` where one was asked for, `status` (200) where some records were allowed to fail."""

    id: str
    label: Label
    score: float | None
    probabilities: dict[str, float] | None
    model_version: int
    role: Literal["champion", "canary"]
    flags: list[Flag]
    at: str
    explanation: NotRequired[Explanation]
    status: NotRequired[int]


class RecordFault(TypedDict):
    """`field` is empty when the record itself is wrong."""

    field: str
    found: str
    message: str


class RefusedRecord(TypedDict):
    """What stands in the place of an answer to a record that was refused."""

    status: int
    faults: list[RecordFault]


class PartialPredictions(TypedDict):
    """One answer or refusal per record, in order; `errors` counts the refusals."""

    predictions: list[Prediction | RefusedRecord]
    errors: int


class LoggedPrediction(TypedDict):
    id: str
    at: str
    project: str
    model_version: int
    role: str
    request_id: str
    entity_id: str | None
    input: dict[str, Any]
    label: Label
    score: float | None
    probabilities: dict[str, float] | None
    flags: list[Flag]
    latency_ms: float
    truth: NotRequired[dict[str, Any] | None]


class Truth(TypedDict, total=False):
    """The true answer to one prediction, named by `prediction_id` or by the entity's id."""

    prediction_id: str
    entity_id: str
    label: Label | bool
    observed_at: str
    source: str


class TruthReceipt(TypedDict):
    accepted: int
    matched: int
    unmatched: int


class QualityInfo(TypedDict):
    """`metrics` is empty when `note` says why. `unknown_labels` counts truths that are no class of the model."""

    rows: int
    matched: int
    unmatched: int
    unknown_labels: int
    metrics: dict[str, Interval]
    note: str


class AlertInfo(TypedDict):
    id: int
    project: str
    kind: str
    subject: str
    state: AlertState
    severity: str
    title: str
    detail: dict[str, Any]
    times_seen: int
    opened_at: str
    last_seen_at: str
    resolved_at: str | None


class CallerInfo(TypedDict):
    name: str
    role: str
    projects: list[str] | None  # None: all


class AuditEntry(TypedDict):
    """One request that may have changed something. `hash` seals the entry and, by `previous`, all before it."""

    seq: int
    at: str
    actor: str
    role: str
    action: str
    project: str | None
    subject: dict[str, Any]
    status: int
    request_id: str
    previous: str
    hash: str
