"""Events as rows of DuckDB, and rows as events again.

Here belong how each column of a stream is stored, taking lines of a segment into a table, and making events of
stored rows. Which lines and files those are is up to `store/history.py` and `store/compaction.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tidemill.errors import Corrupt
from tidemill.store.events import COLUMNS, Stream

if TYPE_CHECKING:
    import duckdb


def stored_columns(stream: Stream) -> str:
    """The columns of a stream's table, as SQL: times as TIMESTAMP in UTC, JSON as text."""
    return ", ".join(f'"{name}" {_stored_type(kind)}' for name, kind in COLUMNS[stream].items())


def insert_lines(
    con: duckdb.DuckDBPyConnection, table: str, stream: Stream, chunk: bytes, segment: str
) -> None:
    """Append the JSON lines of `chunk` to `table`. Raises Corrupt for a line that is not an event.

    DuckDB's read_json is not used on the file: its ignore_errors turns a torn tail into a row of NULLs, and
    without it a line still being written is an error.
    """
    import duckdb
    import pyarrow as pa

    columns = COLUMNS[stream]
    shape = literal(json.dumps(columns))
    values = ", ".join(_stored_value(name, kind) for name, kind in columns.items())
    lines = chunk.decode("utf-8", errors="replace").split("\n")[:-1]
    con.register("_lines", pa.table({"line": pa.array(lines, pa.string())}))
    try:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(
            f"INSERT INTO {table} SELECT {values} FROM (SELECT json_transform(line, {shape}) e FROM _lines)"
        )
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise Corrupt(
            "A line of the log is not an event",
            detail=f"segment {segment}: {str(error).splitlines()[0][:200]}",
            remedy="Restore the segment from a backup, or cut the line out of it.",
        ) from error
    finally:
        con.unregister("_lines")


def as_events(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Stored rows as the events they came from."""
    names = [column[0] for column in result.description]
    kinds = {name: kind for columns in COLUMNS.values() for name, kind in columns.items()}
    return [
        {name: _as_logged(name, value, kinds[name]) for name, value in zip(names, row, strict=True)}
        for row in result.fetchall()
    ]


def flags_of(logged: list[Any]) -> list[dict[str, str]]:
    """Flags as they are now: they used to be texts such as `out_of_range:age`."""
    return [
        flag
        if isinstance(flag, dict)
        else {"field": flag.partition(":")[2], "problem": flag.partition(":")[0], "action": "flagged"}
        for flag in logged
    ]


def parquet_rows(paths: Sequence[str]) -> str:
    """SQL for all rows of some of a stream's Parquet files."""
    listed = ", ".join(literal(path) for path in paths)
    return f"read_parquet([{listed}], union_by_name=true)"


def literal(text: str) -> str:
    """`text` quoted as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _stored_type(kind: str) -> str:
    return {"TIMESTAMPTZ": "TIMESTAMP", "JSON": "VARCHAR"}.get(kind, kind)


def _stored_value(name: str, kind: str) -> str:
    """SQL that takes one column out of the struct `e`, a parsed line."""
    if name == "id":
        return "coalesce(e.id, error('an event without id'))"
    if kind == "TIMESTAMPTZ":
        return f"e.\"{name}\" AT TIME ZONE 'UTC'"
    return f'CAST(e."{name}" AS {_stored_type(kind)})'


def _as_logged(name: str, value: Any, kind: str) -> Any:
    if value is None:
        return None
    if name == "flags":
        return flags_of(json.loads(value))
    if kind == "JSON":
        return json.loads(value)
    if kind == "TIMESTAMPTZ":
        moment: datetime = value.replace(tzinfo=UTC)
        return moment.isoformat(timespec="microseconds" if moment.microsecond % 1000 else "milliseconds")
    return value
