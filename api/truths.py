"""Ground truth on its way into the log: checked against the project's classes, matched with predictions."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from api.body import validated
from api.context import Context
from api.schemas import TruthCreate
from tidemill.errors import InvalidInput, TooLarge
from tidemill.project import Project
from tidemill.store.state import now

if TYPE_CHECKING:
    import duckdb

MOST_FAULTS = 100


def truths_of(document: Any, limit: int) -> list[TruthCreate]:
    """The truths of a body: one, `{"truths": [...]}` or a list. Raises InvalidInput with every fault, TooLarge."""
    wrapped = (
        isinstance(document, dict) and set(document) == {"truths"} and isinstance(document["truths"], list)
    )
    found = document["truths"] if wrapped else document
    if not isinstance(found, list):
        return [validated(TruthCreate, found)]
    if not found:
        raise InvalidInput("There are no truths", detail="the list is empty", remedy="Send at least one.")
    if len(found) > limit:
        raise TooLarge(
            "Too many truths at once",
            detail=f"{len(found)} truths; the limit is {limit}",
            remedy="Send them in several requests, or raise TIDEMILL_MAX_RECORDS.",
            limit=limit,
        )
    truths: list[TruthCreate] = []
    faults: list[dict[str, Any]] = []
    for index, one in enumerate(found):
        try:
            truths.append(validated(TruthCreate, one))
        except InvalidInput as error:
            faults += [{"truth": index, **fault} for fault in error.extra["faults"]]
    _refuse(faults, len(found))
    return truths


def accept_truths(
    context: Context, project: Project, truths: list[TruthCreate], actor: str
) -> dict[str, int]:
    """Log the truths: how many were accepted, and how many of them name a prediction of the log.

    A label must be one of the project's classes, or a number. All are logged, or none.
    """
    classes = classes_of(context, project)
    events: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    for index, truth in enumerate(truths):
        try:
            events.append(_event(truth, project, classes, actor))
        except _Fault as fault:
            faults.append({"truth": index, "field": fault.field, "message": fault.message})
    _refuse(faults, len(truths))
    context.log(project.name, "ground_truth").append(events)
    matched = count_matched(context, project.name, events)
    return {"accepted": len(events), "matched": matched, "unmatched": len(events) - matched}


def classes_of(context: Context, project: Project) -> list[str] | None:
    """The classes a truth may be: of the contract, else of the newest model; None: any number, or nobody knows."""
    from tidemill.learn.bundle_info import list_bundles

    if not project.is_classification:
        return None
    target = project.columns[project.target]
    if target.type == "boolean":
        return ["false", "true"]
    if target.values is not None:
        return target.values
    bundles = list_bundles(context.home.models(project.name))
    return bundles[-1].classes if bundles else None


def count_matched(context: Context, project: str, events: list[dict[str, Any]]) -> int:
    """How many of the truths name a prediction that is in the log."""
    import duckdb

    from tidemill.store.history import read

    by_id = {event["prediction_id"] for event in events} - {None}
    by_entity = {event["entity_id"] for event in events if event["prediction_id"] is None}
    with duckdb.connect(":memory:", config={"memory_limit": "256MB", "threads": 2}) as con:
        view = read(context.home, project, "predictions", con)
        ids = _known(con, view.name, "id", by_id)
        entities = _known(con, view.name, "entity_id", by_entity)
    return sum(
        event["prediction_id"] in ids if event["prediction_id"] else event["entity_id"] in entities
        for event in events
    )


def truth_of(context: Context, project: str, prediction: dict[str, Any]) -> dict[str, Any] | None:
    """The newest truth known for a logged prediction, by its own id before its entity's."""
    import duckdb

    from tidemill.store.history import read

    columns = ("label", "observed_at", "source", "by_id")
    with duckdb.connect(":memory:", config={"memory_limit": "256MB", "threads": 2}) as con:
        view = read(context.home, project, "ground_truth", con)
        row = con.execute(
            f"SELECT label, observed_at, source, prediction_id IS NOT NULL FROM {view.name} "
            "WHERE prediction_id = $id OR (prediction_id IS NULL AND entity_id = $entity) "
            'ORDER BY prediction_id IS NOT NULL DESC, observed_at DESC, "at" DESC LIMIT 1',
            {"id": prediction["id"], "entity": prediction.get("entity_id")},
        ).fetchone()
    if row is None:
        return None
    import json

    found = dict(zip(columns, row, strict=True))
    moment: datetime | None = found["observed_at"]
    return {
        "label": json.loads(found["label"]),
        "observed_at": moment.replace(tzinfo=UTC).isoformat() if moment else None,
        "source": found["source"],
        "matched_by": "prediction" if found["by_id"] else "entity",
    }


def _known(con: duckdb.DuckDBPyConnection, view: str, column: str, wanted: set[Any]) -> set[str]:
    if not wanted:
        return set()
    rows = con.execute(
        f"SELECT DISTINCT {column} FROM {view} WHERE list_contains($wanted, {column})",
        {"wanted": list(wanted)},
    ).fetchall()
    return {row[0] for row in rows}


class _Fault(Exception):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def _event(truth: TruthCreate, project: Project, classes: list[str] | None, actor: str) -> dict[str, Any]:
    if (truth.prediction_id is None) == (truth.entity_id is None):
        raise _Fault("prediction_id", "name the prediction by prediction_id or by entity_id, one of them")
    return {
        "id": str(uuid.uuid4()),
        "at": now(),
        "project": project.name,
        "prediction_id": _prediction_id(truth.prediction_id),
        "entity_id": truth.entity_id,
        "label": _label(truth.label, project, classes),
        "observed_at": _moment(truth.observed_at) if truth.observed_at else now(),
        "source": truth.source or actor,
    }


def _prediction_id(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return str(uuid.UUID(given))
    except ValueError:
        raise _Fault("prediction_id", "it is not the id of a prediction") from None


def _label(given: Any, project: Project, classes: list[str] | None) -> str | float:
    if not project.is_classification:
        if isinstance(given, bool | str) or not math.isfinite(given):
            raise _Fault("label", "a regression's truth is a number, without quotes")
        return float(given)
    label = label_text(given)
    if classes and label not in classes:
        raise _Fault("label", f"it must be one of {', '.join(classes[:20])}")
    if not label:
        raise _Fault("label", "it is empty")
    return label


def label_text(value: Any) -> str:
    """A class as the text it is known by everywhere, as in `labels/column.py` (which needs pandas)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _moment(given: str) -> str:
    try:
        moment = datetime.fromisoformat(given)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Fault("observed_at", 'it must be a time such as "2026-05-02T09:00:00Z"') from None
    return moment.isoformat(timespec="milliseconds")


def _refuse(faults: list[dict[str, Any]], total: int) -> None:
    if not faults:
        return
    wrong = len({fault["truth"] for fault in faults})
    first = faults[0]
    raise InvalidInput(
        "The truth cannot be taken" if total == 1 else f"{wrong} of {total} truths cannot be taken",
        detail=(f"truth {first['truth']}, " if total > 1 else "") + f"{first['field']}: {first['message']}",
        remedy="Mend what is listed under faults and send the request again; nothing of it was stored.",
        faults=faults[:MOST_FAULTS],
        faults_total=len(faults),
    )
