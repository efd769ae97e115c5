"""Rows of the prediction log that people label: a row to learn from, and ground truth of the prediction.

A prediction is a row named `prediction:<id>`. Once somebody has labelled it, its input becomes a row of the table
`production_rows`, typed as the table `raw` is, and features are made from both tables. `raw` itself holds what
files brought and nothing else (see docs/adr/0007).

The consolidated label is also logged as ground truth of the prediction, so that live quality is told from it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from tidemill.home import Home
from tidemill.project import Project
from tidemill.serve.record import CheckedRecord, RecordContract
from tidemill.store.state import now

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tidemill.store.tables import TableStore, TableVersion

PREFIX = "prediction:"
SOURCE = "labels"


def row_of(prediction_id: str) -> str:
    """The row key of a prediction."""
    return PREFIX + prediction_id


def prediction_of(row: str) -> str | None:
    """The prediction that a row key names, None for a row of the data."""
    return row.removeprefix(PREFIX) if row.startswith(PREFIX) else None


def production_rows(home: Home, project: Project, rows: Iterable[str], taken: Iterable[str] = ()) -> pa.Table:
    """The inputs of labelled predictions as an Arrow table: `_row`, the features, and the time if there is one.

    `taken` are row keys of `raw`: a prediction about an entity that is a row of the data by now is left out, or
    the same thing could be learnt from and held out. So is one whose input the contract, as it is now, refuses.
    The time of a row is when it was asked about. Ordered by key.
    """
    import pyarrow as pa

    from tidemill.data.accept import raw_schema

    ids = sorted({found for row in rows if (found := prediction_of(row)) is not None})
    known = set(taken)
    contract = RecordContract(project)
    time_column = next(iter(project.by_role("time")), None)
    wanted = ["_row", *project.feature_columns, *([time_column] if time_column else [])]
    fields = [field for field in raw_schema(project) if field.name in wanted]
    kept: list[dict[str, Any]] = []
    for event in _logged(home, project.name, ids):
        checked = contract.check(event["input"])
        if event["entity_id"] in known or not isinstance(checked, CheckedRecord):
            continue
        row = {"_row": row_of(event["id"]), **checked.values}
        if time_column and row.get(time_column) is None:
            row[time_column] = datetime.fromisoformat(event["at"])
        kept.append({field.name: _arrow_ready(row.get(field.name), field.type) for field in fields})
    return pa.Table.from_pylist(sorted(kept, key=lambda row: row["_row"]), schema=pa.schema(fields))


def all_rows(raw: TableVersion, production: TableVersion | None) -> pa.Table:
    """The rows of the data, then those of production; a column that the latter lack is empty there."""
    import pyarrow as pa

    if production is None or not production.rows:
        return raw.to_arrow()
    return pa.concat_tables([raw.to_arrow(), production.to_arrow()], promote_options="permissive")


def labelled_versions(store: TableStore, labels: TableVersion) -> tuple[TableVersion, TableVersion | None]:
    """The versions whose rows `labels` names: of `raw`, and of `production_rows` where there is one."""
    number = labels.parents.get("production_rows")
    return (
        store.version("raw", labels.parents["raw"]),
        store.version("production_rows", number) if number is not None else None,
    )


def report_truths(home: Home, project: str, labels: pd.DataFrame) -> int:
    """Log the labels of predictions as their ground truth, those that are not logged so yet; how many were new.

    `labels` has `_row` and `label`; rows of the data are passed over.
    """
    from tidemill.store.events import EventLog

    given = zip(labels["_row"], labels["label"], strict=True)
    wanted = {found: label for row, label in given if (found := prediction_of(str(row))) is not None}
    if not wanted:
        return 0
    told = _told(home, project, list(wanted))
    moment = now()
    events = [
        {
            "id": str(uuid.uuid4()),
            "at": moment,
            "project": project,
            "prediction_id": prediction_id,
            "entity_id": None,
            "label": label,
            "observed_at": moment,
            "source": SOURCE,
        }
        for prediction_id, label in wanted.items()
        if told.get(prediction_id) != label
    ]
    log = EventLog(home, project, "ground_truth")
    try:
        log.append(events)
    finally:
        log.close()
    return len(events)


def _logged(home: Home, project: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The predictions with these ids, each once."""
    if not ids:
        return []
    import duckdb

    from tidemill.store.event_rows import as_events
    from tidemill.store.history import read

    with duckdb.connect(":memory:", config={"memory_limit": "512MB", "threads": 2}) as con:
        view = read(home, project, "predictions", con).name
        found = con.execute(f"SELECT * FROM {view} WHERE list_contains($ids, id)", {"ids": list(ids)})
        return list({event["id"]: event for event in as_events(found)}.values())


def _told(home: Home, project: str, ids: Sequence[str]) -> dict[str, Any]:
    """What labelling has said of predictions before, the newest."""
    import duckdb

    from tidemill.store.event_rows import as_events
    from tidemill.store.history import read

    with duckdb.connect(":memory:", config={"memory_limit": "512MB", "threads": 2}) as con:
        view = read(home, project, "ground_truth", con).name
        found = con.execute(
            f"SELECT * FROM {view} WHERE source = $source AND list_contains($ids, prediction_id) "
            'ORDER BY "at", observed_at',
            {"source": SOURCE, "ids": list(ids)},
        )
        return {event["prediction_id"]: event["label"] for event in as_events(found)}


def _arrow_ready(value: Any, kind: pa.DataType) -> Any:
    import pyarrow as pa

    if isinstance(value, datetime):
        moment = value.astimezone(UTC).replace(tzinfo=None)
        return moment.date() if pa.types.is_date(kind) else moment
    if isinstance(value, date) and pa.types.is_timestamp(kind):
        return datetime(value.year, value.month, value.day)
    return value
