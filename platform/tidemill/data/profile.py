"""A profile of a table: for each column what it holds, in numbers.

Here belongs description only. Whether a value is allowed is `data/checks.py`; whether it changed since training
is the business of `monitor/`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import duckdb

from tidemill.data.casting import literal, quoted
from tidemill.data.table_diff import database, plain
from tidemill.store.tables import TableVersion

TOP = 5
BINS = 20
BARS = " ▁▂▃▄▅▆▇█"
EXAMPLES = 5
# Examples are looked for among so many first values, and cut to so many characters.
LOOKED_AT = 200
SHOWN = 200
NUMBERS = ("int", "uint", "float", "double", "decimal")
ORDERED = (*NUMBERS, "date", "timestamp")
EXACT_ROWS = 200_000
SAMPLED_ROWS = 50_000
COLUMNS_AT_ONCE = 20
NOTHING = (None, None, None)


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
    `histogram` is of numbers only. Rows, nulls, range and mean are of all rows. Beyond EXACT_ROWS `distinct` is an
    estimate (HyperLogLog, within some 2 %), and quartiles, `top`, `histogram` and `examples` are of `sampled` rows,
    chosen by chance and always the same; `sampled` is None where they are of all.
    """

    column: str
    type: str
    rows: int
    nulls: int
    distinct: int
    min: float | str | None
    max: float | str | None
    mean: float | str | None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    top: list[tuple[str, int]] = field(default_factory=list)
    histogram: Histogram | None = None
    examples: list[str] = field(default_factory=list)
    sampled: int | None = None


def profile(version: TableVersion, names: Sequence[str] | None = None) -> list[ColumnProfile]:
    """The profile of the columns `names` of a table version, or of all that are not Tidemill's own, in its order.

    Raises Corrupt when a file of it cannot be read, NotReady when memory and disk do not suffice.
    """
    wanted = [
        name for name in version.schema if (name in names if names is not None else not name.startswith("_"))
    ]
    with database(version) as connection:
        return [
            column
            for start in range(0, len(wanted), COLUMNS_AT_ONCE)
            for column in _Columns(connection, version, wanted[start : start + COLUMNS_AT_ONCE]).profiles()
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


def rows_of(version: TableVersion, *, numbered: bool = False) -> str:
    """SQL of the rows of a version, with their `file_row_number` when asked; of none, when it has no file yet."""
    if version.paths:
        paths = ", ".join(literal(path) for path in version.paths)
        number = ", file_row_number = true" if numbered else ""
        return f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false{number})"
    columns = ", ".join(f"NULL AS {quoted(name)}" for name in version.schema) or "NULL AS nothing"
    return f"(SELECT {columns} WHERE false)"


class _Columns:
    """Some columns of a version: what is counted over all rows, and what over those looked at."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, version: TableVersion, names: Sequence[str]
    ) -> None:
        self.connection = connection
        self.version = version
        self.kinds = {name: version.schema[name] for name in names}
        self.is_exact = version.rows <= EXACT_ROWS

    def profiles(self) -> list[ColumnProfile]:
        found = self._counted()
        self._look_at_rows()
        quartiles = self._quartiles()
        ((looked_at,),) = self.connection.execute("SELECT count(*) FROM looked_at").fetchall()
        return [
            replace(
                column,
                p25=quartiles.get(column.column, NOTHING)[0],
                p50=quartiles.get(column.column, NOTHING)[1],
                p75=quartiles.get(column.column, NOTHING)[2],
                top=self._top(column.column),
                histogram=self._histogram(column),
                examples=self._examples(column.column),
                sampled=None if self.is_exact else looked_at,
            )
            for column in found
        ]

    def _counted(self) -> list[ColumnProfile]:
        wanted = ["count(*)"]
        for name, kind in self.kinds.items():
            value = quoted(name)
            distinct = f"count(DISTINCT {value})" if self.is_exact else f"approx_count_distinct({value})"
            span = f"min({value}), max({value})" if kind.startswith(ORDERED) else "NULL, NULL"
            mean = f"avg({value})" if kind.startswith(NUMBERS) and self.version.parts else "NULL"
            wanted += [f"count({value})", distinct, span, mean]
        rows = rows_of(self.version)
        ((count, *cells),) = self.connection.execute(f"SELECT {', '.join(wanted)} FROM {rows}").fetchall()
        found = []
        for index, (name, kind) in enumerate(self.kinds.items()):
            filled, distinct, least, greatest, mean = cells[5 * index : 5 * index + 5]
            numbers = (plain(least), plain(greatest), plain(mean))
            found.append(ColumnProfile(name, kind, count, count - filled, distinct, *numbers))
        return found

    def _look_at_rows(self) -> None:
        """Make the table `looked_at`: all rows, or some chosen by a hash of their place, the same each time."""
        chosen = ""
        if not self.is_exact:
            share = max(self.version.rows // SAMPLED_ROWS, 1)
            chosen = f"WHERE hash(file_row_number + {share}) % {share} = 0"
        names = ", ".join(map(quoted, self.kinds))
        rows = rows_of(self.version, numbered=bool(chosen))
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE looked_at AS SELECT {names} FROM {rows} {chosen}"
        )

    def _quartiles(self) -> dict[str, Sequence[float | None]]:
        numbers = [name for name, kind in self.kinds.items() if kind.startswith(NUMBERS)]
        if not numbers or not self.version.parts:
            return {}
        wanted = ", ".join(f"quantile_cont({quoted(name)}, [0.25, 0.5, 0.75])" for name in numbers)
        (found,) = self.connection.execute(f"SELECT {wanted} FROM looked_at").fetchall()
        pairs = zip(numbers, found, strict=True)
        return {
            name: values for name, values in pairs if values is not None and all(map(math.isfinite, values))
        }

    def _top(self, name: str) -> list[tuple[str, int]]:
        value = quoted(name)
        return self.connection.execute(
            f"SELECT left(CAST({value} AS VARCHAR), {SHOWN}), count(*) FROM looked_at WHERE {value} IS NOT NULL "
            f"GROUP BY {value} ORDER BY count(*) DESC, 1 LIMIT {TOP}"
        ).fetchall()

    def _histogram(self, column: ColumnProfile) -> Histogram | None:
        if not column.type.startswith(NUMBERS) or column.nulls == column.rows:
            return None
        numbers = f"(SELECT CAST({quoted(column.column)} AS DOUBLE) AS v FROM looked_at)"
        finite = f"SELECT min(v), max(v), count(*) FROM {numbers} WHERE isfinite(v)"
        ((least, greatest, count),) = self.connection.execute(finite).fetchall()
        if isinstance(column.min, float | int) and isinstance(column.max, float | int) and count:
            least, greatest = float(column.min), float(column.max)
        if not count or not math.isfinite(greatest - least):
            return None
        width = (greatest - least) / BINS
        if not width:
            return Histogram([least, greatest], [count])
        counted = self.connection.execute(
            f"SELECT least(CAST(floor((v - ?) / ?) AS BIGINT), {BINS - 1}) AS bin, count(*) FROM {numbers} "
            "WHERE isfinite(v) GROUP BY bin",
            [least, width],
        )
        counts = dict(counted.fetchall())
        edges = [least + width * index for index in range(BINS)]
        return Histogram([*edges, greatest], [counts.get(index, 0) for index in range(BINS)])

    def _examples(self, name: str) -> list[str]:
        value = quoted(name)
        found = self.connection.execute(
            f"SELECT left(CAST({value} AS VARCHAR), {SHOWN}) FROM looked_at "
            f"WHERE {value} IS NOT NULL LIMIT {LOOKED_AT}"
        ).fetchall()
        return list(dict.fromkeys(text for (text,) in found))[:EXAMPLES]
