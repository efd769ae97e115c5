"""A profile of a table: for each column what it holds, in numbers.

Here belongs description only. Whether a value is allowed is `data/checks.py`; whether it changed since training
is the business of `monitor/`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb

from tidemill.data.casting import literal, quoted
from tidemill.settings import load_settings
from tidemill.store.tables import TableVersion

TOP = 5
BINS = 20
BARS = " ▁▂▃▄▅▆▇█"
EXAMPLES = 5
# Examples are looked for among so many first values, and cut to so many characters.
LOOKED_AT = 200
SHOWN = 200
NUMBERS = frozenset({"int64", "double", "int32", "float"})


@dataclass(frozen=True)
class Histogram:
    """Counts of finite numbers in bins of equal width; bin i is [edges[i], edges[i + 1]), the last one closed.

    A column of one value has one bin, of no width.
    """

    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class ColumnProfile:
    """One column. `mean` and the quartiles are of numbers only; `min` and `max` of dates are ISO 8601 text.

    `top` holds the most frequent values with their counts, `examples` the first different ones of the table.
    `histogram` is of numbers only.
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
    histogram: Histogram | None = None
    examples: list[str] = field(default_factory=list)


def profile(version: TableVersion, names: Sequence[str] | None = None) -> list[ColumnProfile]:
    """The profile of the columns `names` of a table version, or of all, in its order.

    Numbers are exact, not sampled.
    """
    with duckdb.connect(config={"memory_limit": load_settings().duckdb_memory}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return [
            _column(connection, version, name, kind)
            for name, kind in version.schema.items()
            if names is None or name in names
        ]


def markdown(columns: Sequence[ColumnProfile]) -> str:
    """A profile as a Markdown table; bars show the histogram of numbers."""
    lines = [
        "| column | type | missing | distinct | min | median | max | histogram | examples |",
        "|---" * 9 + "|",
    ]
    for each in columns:
        missing = f"{each.nulls / each.rows:.1%}" if each.rows else ""
        numbers = ("" if found is None else str(found) for found in (each.min, each.p50, each.max))
        bars = _bars(each.histogram.counts) if each.histogram else ""
        cells = [
            each.column,
            each.type,
            missing,
            str(each.distinct),
            *numbers,
            bars,
            ", ".join(each.examples),
        ]
        lines.append("| " + " | ".join(_cell(text) for text in cells) + " |")
    return "\n".join(lines)


def _bars(counts: Sequence[int]) -> str:
    """One character a bin, the highest for the most; a bin that holds anything is never empty."""
    most = max(counts)
    return "".join(BARS[math.ceil(count / most * (len(BARS) - 1))] for count in counts)


def _cell(text: str) -> str:
    """Text of the data as text of a Markdown cell, at most 60 characters of it."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    plain = "".join(each if each.isprintable() else " " for each in cut)
    return re.sub(r"([\\`*_{}\[\]<>|#!~])", r"\\\1", plain)


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
        histogram=_histogram(connection, rows, value) if kind in NUMBERS else None,
        examples=_examples(connection, rows, value),
    )


def _histogram(connection: duckdb.DuckDBPyConnection, rows: str, value: str) -> Histogram | None:
    numbers = f"(SELECT CAST({value} AS DOUBLE) AS v FROM {rows} WHERE isfinite(CAST({value} AS DOUBLE)))"
    found = connection.execute(f"SELECT min(v), max(v), count(*) FROM {numbers}").fetchone()
    assert found is not None
    least, greatest, count = found
    if not count or not math.isfinite(greatest - least):
        return None
    width = (greatest - least) / BINS
    if not width:
        return Histogram([least, greatest], [count])
    counted = connection.execute(
        f"SELECT least(CAST(floor((v - ?) / ?) AS BIGINT), {BINS - 1}) AS bin, count(*) FROM {numbers} "
        "GROUP BY bin",
        [least, width],
    )
    counts = dict(counted.fetchall())
    edges = [least + width * index for index in range(BINS)]
    return Histogram([*edges, greatest], [counts.get(index, 0) for index in range(BINS)])


def _examples(connection: duckdb.DuckDBPyConnection, rows: str, value: str) -> list[str]:
    found = connection.execute(
        f"SELECT left(CAST({value} AS VARCHAR), {SHOWN}) FROM {rows} WHERE {value} IS NOT NULL LIMIT {LOOKED_AT}"
    ).fetchall()
    return list(dict.fromkeys(text for (text,) in found))[:EXAMPLES]


def _shown(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value
