"""A survey of a file: for each column, what its cells are, counted over all rows.

Here belongs the counting, with the same SQL that ingestion uses, so that what was counted as a number is later
read as one. What a project makes of the counts is `data/infer.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from tidemill.data.casting import cleaned, quoted, typed
from tidemill.data.source import SourceFile
from tidemill.data.staging import chunks, workbench
from tidemill.project import Column, ColumnType

# Words and marks only: 1 and 0 are numbers until someone says otherwise.
BOOLEAN_WORDS = "('true', 'false', 'yes', 'no')"
TRIED: tuple[ColumnType, ...] = ("integer", "float", "date", "datetime")
LISTED = 50


@dataclass(frozen=True)
class ColumnSurvey:
    """Counts over the cells of one column. `filled` are those not missing; `parsed` counts them per type.

    `numbers` is (smallest, greatest) of the cells that are numbers. `values` lists the distinct values with their
    counts, most frequent first, when there are at most 50.
    """

    name: str
    rows: int
    filled: int
    distinct: int
    parsed: dict[str, int]
    boolean_words: int
    true_false: int
    fractions: int
    leading_zeros: int
    words: float
    numbers: tuple[float, float] | None
    values: list[tuple[str, int]]

    @property
    def nulls(self) -> int:
        return self.rows - self.filled

    @property
    def is_unique(self) -> bool:
        return self.filled == self.rows == self.distinct

    @property
    def is_counter(self) -> bool:
        """Whether the values are the row numbers, or any unbroken run of integers."""
        if self.numbers is None or not self.is_unique or self.parsed["integer"] != self.rows:
            return False
        return self.numbers[1] - self.numbers[0] == self.rows - 1


@dataclass(frozen=True)
class Survey:
    columns: list[ColumnSurvey]
    rows: int
    unreadable: int


def survey(source: SourceFile) -> Survey:
    """Count over all rows of `source`, in bounded memory."""
    with TemporaryDirectory(prefix="tidemill-") as scratch, workbench(Path(scratch)) as connection:
        rows, unreadable = _stage(connection, source)
        columns = [
            _survey_column(connection, name, index, source.decimal)
            for index, name in enumerate(source.columns)
        ]
    return Survey(columns, rows, unreadable)


def _stage(connection: duckdb.DuckDBPyConnection, source: SourceFile) -> tuple[int, int]:
    cells = ", ".join(f"c{index} VARCHAR" for index in range(len(source.columns)))
    connection.execute(f"CREATE TABLE cells (line BIGINT, {cells})")
    rows = unreadable = 0
    for chunk in chunks(source):
        connection.register("chunk", chunk.cells)
        connection.execute("INSERT INTO cells SELECT * FROM chunk")
        connection.unregister("chunk")
        rows, unreadable = rows + chunk.cells.num_rows, unreadable + len(chunk.faults)
    return rows, unreadable


def _survey_column(
    connection: duckdb.DuckDBPyConnection, name: str, index: int, decimal: str
) -> ColumnSurvey:
    text = cleaned(Column(type="category"), f"c{index}")
    number = typed(Column(type="float"), "v", decimal)
    measures = {
        "rows": "count(*)",
        "filled": "count(v)",
        "distinct": "count(DISTINCT v)",
        "boolean_words": f"count_if(lower(v) IN {BOOLEAN_WORDS})",
        "true_false": "count_if(lower(v) IN ('true', 'false'))",
        "fractions": f"count_if(regexp_matches(v, '[.,eE]') AND ({number}) IS NOT NULL)",
        "leading_zeros": "count_if(regexp_full_match(v, '[+-]?0[0-9]+'))",
        "words": "coalesce(avg(length(v) - length(replace(v, ' ', '')) + 1), 0)",
        "least": f"min({number})",
        "greatest": f"max({number})",
    }
    measures |= {kind: f"count({typed(Column(type=kind), 'v', decimal)})" for kind in TRIED}
    selected = ", ".join(f"{sql} AS {quoted(key)}" for key, sql in measures.items())
    found = _one(connection, f"SELECT {selected} FROM (SELECT {text} AS v FROM cells)")
    values: list[tuple[str, int]] = []
    if found["distinct"] <= LISTED:
        values = connection.execute(
            f"SELECT v, count(*) FROM (SELECT {text} AS v FROM cells) WHERE v IS NOT NULL "
            "GROUP BY v ORDER BY count(*) DESC, v"
        ).fetchall()
    least, greatest = found.pop("least"), found.pop("greatest")
    return ColumnSurvey(
        name=name,
        parsed={kind: int(found.pop(kind)) for kind in TRIED},
        numbers=None if least is None else (least, greatest),
        values=values,
        **found,
    )


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    cursor = connection.execute(query)
    row = cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    return dict(zip([column[0] for column in cursor.description], row, strict=True))
