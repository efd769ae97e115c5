"""A profile of a table: for each column what it holds, in numbers.

Here belongs description only. Whether a value is allowed is `data/checks.py`; whether it changed since training
is the business of `monitor/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb

from tidemill.data.casting import literal, quoted
from tidemill.settings import load_settings
from tidemill.store.tables import TableVersion

TOP = 5
NUMBERS = frozenset({"int64", "double", "int32", "float"})


@dataclass(frozen=True)
class ColumnProfile:
    """One column. `mean` and the quartiles are of numbers only; `min` and `max` of dates are ISO 8601 text.

    `top` holds the most frequent values with their counts.
    """

    column: str
    type: str
    rows: int
    nulls: int
    distinct: int
    min: float | str | None
    max: float | str | None
    mean: float | None
    p25: float | None
    p50: float | None
    p75: float | None
    top: list[tuple[str, int]]


def profile(version: TableVersion) -> list[ColumnProfile]:
    """The profile of every column of a table version, in its order. Numbers are exact, not sampled."""
    with duckdb.connect(config={"memory_limit": load_settings().duckdb_memory}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return [_column(connection, version, name, kind) for name, kind in version.schema.items()]


def rows_of(version: TableVersion) -> str:
    """SQL of the rows of a version; of none, when it has no file yet."""
    if version.paths:
        return f"read_parquet([{', '.join(literal(path) for path in version.paths)}], union_by_name = true)"
    columns = ", ".join(f"NULL AS {quoted(name)}" for name in version.schema) or "NULL AS nothing"
    return f"(SELECT {columns} WHERE false)"


def _column(
    connection: duckdb.DuckDBPyConnection, version: TableVersion, name: str, kind: str
) -> ColumnProfile:
    rows, value = rows_of(version), quoted(name)
    ordered = kind in NUMBERS or kind.startswith(("date", "timestamp"))
    span = f"min({value}), max({value})" if ordered else "NULL, NULL"
    numbers = (
        f"avg({value}), " + ", ".join(f"quantile_cont({value}, {share})" for share in (0.25, 0.5, 0.75))
        if kind in NUMBERS
        else "NULL, NULL, NULL, NULL"
    )
    found = connection.execute(
        f"SELECT count(*), count(*) - count({value}), count(DISTINCT {value}), {span}, {numbers} FROM {rows}"
    ).fetchone()
    assert found is not None
    count, nulls, distinct, least, greatest, mean, p25, p50, p75 = found
    top = connection.execute(
        f"SELECT CAST({value} AS VARCHAR), count(*) FROM {rows} WHERE {value} IS NOT NULL "
        f"GROUP BY {value} ORDER BY count(*) DESC, 1 LIMIT {TOP}"
    ).fetchall()
    return ColumnProfile(
        column=name,
        type=kind,
        rows=count,
        nulls=nulls,
        distinct=distinct,
        min=_shown(least),
        max=_shown(greatest),
        mean=mean,
        p25=p25,
        p50=p50,
        p75=p75,
        top=top,
    )


def _shown(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value
