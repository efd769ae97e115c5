"""OpenAPI of what goes out: the client's own types, with one example each."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from tidemill import client_types

ID = "6f9c2d0e-6f0c-4c57-9a55-0f3b8c7b0a11"
RUN = "b7c1f6d2-55f1-4f3a-9d0e-2f4f6d1c9a70"
AT = "2026-04-30T14:05:00.123+00:00"
PATH = "/v1/projects/breast_cancer"


class Problem(TypedDict):
    """RFC 9457. `remedy` says what to do, `request_id` finds the request in the log; more members may follow."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    instance: str
    request_id: str


class ProjectList(TypedDict):
    projects: list[client_types.ProjectSummary]


class FileList(TypedDict):
    files: list[client_types.FileRecord]


class UploadList(TypedDict):
    uploads: list[client_types.UploadInfo]


class TableList(TypedDict):
    tables: list[client_types.TableInfo]


class TableProfile(TypedDict):
    profile: list[client_types.ColumnProfile]


class TableVersionList(TypedDict):
    table: str
    versions: list[client_types.TableVersionInfo]


class TrainingList(TypedDict):
    trainings: list[client_types.TrainingInfo]


class UndoneAnswer(TypedDict):
    undone: client_types.AnswerInfo | None


class AgreementList(TypedDict):
    agreement: list[client_types.AgreementInfo]


class AnnotatorList(TypedDict):
    annotators: list[client_types.AnnotatorInfo]


class RunList(TypedDict):
    runs: list[client_types.RunInfo]


class PredictionList(TypedDict):
    predictions: list[client_types.Prediction]


class LoggedList(TypedDict):
    predictions: list[client_types.LoggedPrediction]


class AlertList(TypedDict):
    alerts: list[client_types.AlertInfo]


class SourceList(TypedDict):
    sources: list[client_types.SourceInfo]


class ImportList(TypedDict):
    imports: list[client_types.ModelImport]


class AuditList(TypedDict):
    entries: list[client_types.AuditEntry]


class DriftAnswer(TypedDict):
    report: dict[str, Any] | None


SUMMARY: dict[str, Any] = {
    "name": "breast_cancer",
    "title": "Breast cancer",
    "task": "binary",
    "target": "diagnosis",
    "rows": 569,
    "dataset_version": 2,
    "champion": 1,
    "predictions": 200,
    "open_alerts": 0,
    "problem": None,
    "next_step": {"action": "all_well", "text": "Nothing needs doing."},
}
COLUMN = {
    "name": "mean_radius",
    "type": "float",
    "role": "feature",
    "nulls": True,
    "min": 0.0,
    "max": 60.0,
    "values": None,
    "description": "",
}
FILE: dict[str, Any] = {
    "id": "9f2c4be01d77a3c5",
    "name": "hospital_a.csv",
    "sha256": "9f2c4be01d77a3c5" + "0" * 48,
    "bytes": 74210,
    "status": "accepted",
    "rows": 300,
    "accepted": 298,
    "rejected": 2,
    "found": {"format": "csv", "encoding": "utf-8", "delimiter": ";", "decimal": ","},
    "dataset_version": 1,
    "dataset": "raw@1",
    "problem": None,
    "progress": None,
    "received_at": AT,
    "finished_at": AT,
    "url": f"{PATH}/files/9f2c4be01d77a3c5",
}
RUN_EXAMPLE: dict[str, Any] = {
    "id": RUN,
    "job": "training",
    "status": "running",
    "created_at": AT,
    "started_at": AT,
    "ended_at": None,
    "steps": [{"name": "breast_cancer__labels", "status": "succeeded", "started_at": AT, "ended_at": AT}],
    "steps_total": 9,
    "percent": 23,
    "trigger": "dashboard",
    "actor": "owner",
    "reason": "new data of April",
    "retry_of": None,
    "waiting_for": None,
    "is_ending": False,
    "error": None,
    "url": f"{PATH}/trainings/{RUN}",
    "dagster_url": f"http://127.0.0.1:8702/runs/{RUN}",
}
MODEL: dict[str, Any] = {
    "version": 1,
    "estimator": "linear",
    "created": AT,
    "metric": "roc_auc",
    "metrics": {"roc_auc": {"value": 0.994, "low": 0.982, "high": 1.0}},
    "baseline": {"roc_auc": 0.5},
    "gate": {"passed": True, "reasons": [], "checks": []},
    "champion": True,
    "provenance": {"dataset": "raw@2", "run_id": RUN},
}
EVENT = {
    "revision": 1,
    "action": "deploy",
    "version": 1,
    "actor": "owner",
    "reason": "gate passed",
    "at": AT,
    "percent": None,
    "detail": None,
}
CHALLENGER = {"version": 2, "stage": "canary", "percent": 10.0, "paused": False, "since": 2, "since_at": AT}
ANSWER: dict[str, Any] = {
    "id": ID,
    "label": "malignant",
    "score": 0.97,
    "probabilities": {"benign": 0.03, "malignant": 0.97},
    "model_version": 1,
    "role": "champion",
    "flags": [{"field": "scanner", "problem": "unknown_category", "action": "flagged"}],
    "at": AT,
}
LOGGED: dict[str, Any] = {
    **ANSWER,
    "project": "breast_cancer",
    "request_id": "2b1c",
    "entity_id": "P-0042",
    "input": {"mean_radius": 14.2},
    "latency_ms": 4.1,
}
ALERT: dict[str, Any] = {
    "id": 3,
    "project": "breast_cancer",
    "kind": "drift",
    "subject": "model 1",
    "state": "open",
    "severity": "warning",
    "title": "4 columns have drifted",
    "detail": {"columns": ["mean_radius"]},
    "times_seen": 1,
    "opened_at": AT,
    "last_seen_at": AT,
    "resolved_at": None,
}
METRIC = {"roc_auc": {"value": 0.99, "low": 0.97, "high": 1.0}}

# (type, example) of each answer.
Out = tuple[Any, Any]

PROJECTS: Out = (ProjectList, {"projects": [SUMMARY]})
PROJECT: Out = (
    client_types.ProjectDetail,
    {
        **SUMMARY,
        "description": "",
        "columns": [COLUMN],
        **{part: {} for part in ("labels", "training", "gates", "serving", "monitoring")},
    },
)
FILES: Out = (FileList, {"files": [FILE]})
SOURCES: Out = (
    SourceList,
    {
        "sources": [
            {
                "name": "lab",
                "kind": "sftp",
                "where": "sftp://tidemill@lab.local/export/*.csv",
                "every": 60,
                "state": "away",
                "since": AT,
                "last_look": AT,
                "last_ok": AT,
                "waiting": 1,
                "taken": 12,
                "error": {
                    "title": "The SFTP server does not answer",
                    "detail": "tidemill@lab.local:22: timed out",
                    "remedy": "See whether it runs and can be reached from here. It is looked at again.",
                },
                "problems": [],
            }
        ]
    },
)
ONE_FILE: Out = (client_types.FileRecord, FILE)
FILE_EVENTS = (
    "retry: 2000\n\n"
    'id: 5f3a9c1e\nevent: processing\ndata: {"id":"9f2c4be01d77a3c5","status":"processing","progress":'
    '{"phase":"reading","rows":200000,"bytes":18874368,"total_bytes":74210133,"share":0.2543}}\n\n'
    ": still here\n\n"
    'id: b01d77a3\nevent: accepted\ndata: {"id":"9f2c4be01d77a3c5","status":"accepted","dataset":"raw@1"}\n\n'
)
UPLOAD_EXAMPLE: dict[str, Any] = {
    "id": "5c0e7f0d3b1a4f6e9d2c8b7a60514233",
    "name": "hospital_a.csv",
    "length": 734003200,
    "offset": 5242880,
    "sha256": "9f2c4be01d77a3c5" + "0" * 48,
    "file": None,
    "url": f"{PATH}/uploads/5c0e7f0d3b1a4f6e9d2c8b7a60514233",
}
UPLOAD: Out = (client_types.UploadInfo, UPLOAD_EXAMPLE)
OPEN_UPLOADS: Out = (UploadList, {"uploads": [UPLOAD_EXAMPLE]})
TABLES: Out = (
    TableList,
    {
        "tables": [
            {
                "name": "raw",
                "version": 2,
                "rows": 569,
                "created": AT,
                "sha256": "0" * 64,
                "columns": {"_row": "string", "mean_radius": "double"},
                "parents": {},
                "sources": [],
            }
        ]
    },
)
TABLE: Out = (
    client_types.TableRows,
    {"table": "raw", "version": 2, "columns": ["_row", "mean_radius"], "rows": [["P-0042", 14.2]]},
)
PROFILE: Out = (
    TableProfile,
    {"profile": [{"column": "mean_radius", "type": "double", "rows": 569, "nulls": 0}]},
)
VERSION: dict[str, Any] = {
    "version": 2,
    "current": True,
    "created": AT,
    "rows": 569,
    "parent": 1,
    "parents": {"raw": 1},
    "added": 269,
    "changed": 0,
    "removed": 0,
    "files": ["hospital_b.csv"],
    "note": "",
}
VERSIONS: Out = (TableVersionList, {"table": "raw", "versions": [VERSION]})
TABLE_DIFF: Out = (
    client_types.TableDiff,
    {
        "table": "raw",
        "from": 1,
        "to": 2,
        "rows_before": 300,
        "rows_after": 569,
        "added": 269,
        "changed": 1,
        "removed": 0,
        "unchanged": 299,
        "columns_added": {},
        "columns_removed": {},
        "columns_retyped": {},
        "columns_changed": {"mean_radius": 1},
        "examples": {"changed": [{"_row": "P-0042", "mean_radius": [14.2, 14.3]}]},
        "profile": {"mean_radius": {"before": {"mean": 14.1}, "after": {"mean": 14.2}}},
    },
)
LAUNCHED: Out = (
    client_types.Launched,
    {"id": RUN, "status": "queued", "url": f"{PATH}/trainings/{RUN}", "dagster_url": None},
)
SEARCH = {"done": 18, "total": 54, "best_score": 0.994, "name": "random_forest"}
TRAINING_EXAMPLE = {**RUN_EXAMPLE, "model_version": None, "progress": SEARCH}
TRAINING_EVENTS = (
    "retry: 2000\n\n"
    f'id: 5f3a9c1e\nevent: running\ndata: {{"id":"{RUN}","status":"running","percent":23,"progress":'
    '{"done":18,"total":54,"best_score":0.994,"name":"random_forest"}}\n\n'
    ": still here\n\n"
    f'id: b01d77a3\nevent: succeeded\ndata: {{"id":"{RUN}","status":"succeeded","percent":100}}\n\n'
)
TRAININGS: Out = (TrainingList, {"trainings": [TRAINING_EXAMPLE]})
TRAINING: Out = (client_types.TrainingInfo, TRAINING_EXAMPLE)
RUNS: Out = (RunList, {"runs": [RUN_EXAMPLE]})
ONE_RUN: Out = (client_types.RunInfo, RUN_EXAMPLE)
MODELS: Out = (client_types.Models, {"models": [MODEL], "champion": 1})
ONE_MODEL: Out = (
    client_types.ModelDetail,
    {
        **MODEL,
        "evaluation": None,
        "candidates": [],
        "card": "# Breast cancer, model 1",
        "classes": ["benign", "malignant"],
        "positive": "malignant",
        "threshold": 0.5,
    },
)
DEPLOYMENT: Out = (
    client_types.DeploymentInfo,
    {
        "champion": 1,
        "previous": None,
        "challenger": CHALLENGER,
        "revision": 2,
        "changed_at": AT,
        "history": [{**EVENT, "revision": 2, "action": "canary", "version": 2, "percent": 10.0}, EVENT],
    },
)
_MS = {"count": 900, "p50_ms": 0.081, "p95_ms": 0.12, "p99_ms": 0.3}
COMPARISON: Out = (
    client_types.ComparisonInfo,
    {
        "stage": "canary",
        "champion": 1,
        "challenger": 2,
        "since": 2,
        "since_at": AT,
        "updated_at": AT,
        "compared": 100,
        "agreement": 0.97,
        "disagreements": [{"champion": "benign", "challenger": "malignant", "count": 3}],
        "difference": {"mean": 0.004, "mean_absolute": 0.02, "largest": 0.41},
        "latency": {"champion": _MS, "challenger": {**_MS, "count": 100}},
        "answered": {"champion": 900, "canary": 100},
        "errors": {"count": 0, "share": 0.0, "last": None},
        "dropped": 0,
        "waiting": 0,
        "quality": {
            "measure": "share of wrong labels",
            "count": 40,
            "champion": 0.05,
            "challenger": 0.05,
            "low": -0.07,
            "high": 0.07,
        },
        "breach": None,
    },
)
PREDICTED: Out = (client_types.Prediction | PredictionList | client_types.PartialPredictions, ANSWER)
BATCH_PATH = f"{PATH}/batch-predictions/{RUN.replace('-', '')}"
BATCH: Out = (
    client_types.BatchInfo,
    {
        "id": RUN.replace("-", ""),
        "name": "hospital_c.csv",
        "format": "csv",
        "log": False,
        "status": "succeeded",
        "rows": 120_000,
        "errors": 3,
        "model_version": 1,
        "problem": None,
        "created_at": AT,
        "ended_at": AT,
        "url": BATCH_PATH,
        "result_url": f"{BATCH_PATH}/result",
    },
)
IMPORT: dict[str, Any] = {
    "id": "9f2c4be01d77a3c5",
    "name": "forest.onnx",
    "sha256": "9f2c4be01d77a3c5" + "0" * 48,
    "size": 74210,
    "status": "accepted",
    "by": "owner",
    "columns": None,
    "classes": ["benign", "malignant"],
    "model_version": 2,
    "problem": None,
    "received_at": AT,
    "decided_at": AT,
    "url": f"{PATH}/models/imports/9f2c4be01d77a3c5",
}
ONE_IMPORT: Out = (client_types.ModelImport, IMPORT)
IMPORTS: Out = (ImportList, {"imports": [IMPORT]})
LOGGED_LIST: Out = (LoggedList, {"predictions": [LOGGED]})
ONE_LOGGED: Out = (client_types.LoggedPrediction, {**LOGGED, "truth": None})
RECEIPT: Out = (client_types.TruthReceipt, {"accepted": 1, "matched": 1, "unmatched": 0})
QUALITY: Out = (
    client_types.QualityInfo,
    {"rows": 100, "matched": 100, "unmatched": 0, "unknown_labels": 0, "metrics": METRIC, "note": ""},
)
DRIFT: Out = (DriftAnswer, {"report": None})
ALERTS: Out = (AlertList, {"alerts": [ALERT]})
ONE_ALERT: Out = (client_types.AlertInfo, ALERT)

LABEL_ROUND = {"round": 1, "tasks": 50, "finished": 12, "reasons": {"uncertain": 38, "held-out": 12}}
LABELLING: Out = (
    client_types.Labelling,
    {
        "kind": "built-in",
        "instructions": "",
        "classes": ["benign", "malignant"],
        "annotators_wanted": 1,
        "budget": 50,
        "rows": 569,
        "labelled_rows": 369,
        "tasks": 50,
        "finished": 12,
        "answers": 12,
        "skipped": 1,
        "unusable": 0,
        "by_annotator": {"ada": 12},
        "rounds": [LABEL_ROUND],
        "trouble": None,
    },
)
ROUND: Out = (
    client_types.StartedRound,
    {"round": 2, "tasks": 50, "reasons": {"uncertain": 38, "held-out": 12}, "remarks": []},
)
HINT_TAKEN: Out = (client_types.HintTaken, {"within_seconds": 2.0})
LABEL_STUDIO_LINK: Out = (
    client_types.LabelStudioLink,
    {"url": "http://127.0.0.1:8700/v1/label-studio/open?ticket=6sTkAq", "seconds": 60},
)
MLFLOW_LINK: Out = (
    client_types.MlflowLink,
    {"url": "http://127.0.0.1:8700/v1/mlflow/open?ticket=6sTkAq", "seconds": 60},
)
NEXT_TASK: Out = (
    client_types.NextTask,
    {
        "task": {
            "row": "P-0042",
            "fields": {"mean_radius": 14.2},
            "suggestion": {"label": "benign", "score": 0.54, "model_version": 1},
            "reason": "uncertain",
            "round": 1,
            "annotators": 1,
        },
        "open": 38,
        "tasks": 50,
    },
)
GIVEN: dict[str, Any] = {
    "id": "ada|P-0042",
    "row": "P-0042",
    "label": "benign",
    "annotator": "ada",
    "created_at": AT,
    "updated_at": AT,
    "lead_seconds": 4.2,
    "origin": "accepted",
}
ONE_ANSWER: Out = (client_types.AnswerInfo, GIVEN)
UNDONE: Out = (UndoneAnswer, {"undone": GIVEN})
AGREEMENT: Out = (
    AgreementList,
    {
        "agreement": [
            {
                "name": "krippendorff_alpha_nominal",
                "value": 0.81,
                "low": 0.7,
                "high": 0.9,
                "rows": 40,
                "annotators": ["ada", "bob"],
            }
        ]
    },
)
ANNOTATORS: Out = (
    AnnotatorList,
    {
        "annotators": [
            {
                "annotator": "ada",
                "answers": 12,
                "skipped": 1,
                "skip_share": 0.077,
                "median_seconds": 4.2,
                "pairs": 10,
                "agreement": 0.9,
                "distance": None,
                "gold": 4,
                "gold_right": 4,
                "gold_low": 0.51,
                "gold_high": 1.0,
                "gold_error": None,
            }
        ]
    },
)
STABILITY: Out = (
    client_types.StabilityInfo,
    {"kappas": [0.97, 0.992, 0.995], "models": [1, 2, 3, 4], "rows": 369, "stop": False, "text": "..."},
)

ME: Out = (
    client_types.CallerInfo,
    {"name": "ward-7", "role": "labeler", "projects": ["breast_cancer"]},
)
AUDIT: Out = (
    AuditList,
    {
        "entries": [
            {
                "seq": 42,
                "at": AT,
                "actor": "ada",
                "role": "promoter",
                "action": "POST /v1/projects/{project}/rollback",
                "project": "breast_cancer",
                "subject": {},
                "status": 200,
                "request_id": "6f9c2d0e6f0c4c579a550f3b8c7b0a11",
                "previous": "0" * 64,
                "hash": "f" * 64,
            }
        ]
    },
)

_REASONS = {
    401: "No key, or one that is not known",
    403: "The key's role or projects do not allow it",
    404: "There is no such object",
    409: "The object changed, or its state does not allow it",
    410: "It was there, and does not come back",
    412: "Another version of the protocol",
    413: "Over a limit on size",
    415: "The body is of another kind",
    422: "What was sent is wrong",
    423: "Somebody else is at it; Retry-After says when to try again",
    429: "Too many, of this key or at once; Retry-After says when to try again",
    460: "The bytes are not what their checksum says",
    503: "Not ready; Retry-After says when to try again",
    507: "The disk is full",
}


def ok(out: Out, *errors: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """OpenAPI of a route's answers: the good one with its example, and the problems it can give."""
    model, example = out
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "content": {"application/json": {"example": example}}}
    }
    return responses | problems(401, 403, 404, 422, 429, 503, *errors)


def stream(example: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI of a route that answers with server-sent events."""
    content = {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
    return {200: {"content": content}, **problems(401, 404, 422, 503)}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI of problem documents."""
    return {
        status: {
            "description": _REASONS[status],
            "content": {"application/problem+json": {"schema": _REFERENCE}},
        }
        for status in sorted(set(statuses))
    }


_REFERENCE = {"$ref": "#/components/schemas/Problem"}
