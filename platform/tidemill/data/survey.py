"""A survey of a file: for each column, what its cells are, counted over all rows.

Here belongs the counting, with the same SQL that ingestion uses, so that what was counted as a number is later
read as one. What a project makes of the counts is `data/infer.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from tidemill.data.casting import THOUSANDS_SPACES, cleaned, quoted, typed
from tidemill.data.source import SourceFile
from tidemill.data.staging import chunks, workbench
from tidemill.project import Column, ColumnType, Thousands

# Words and marks only: 1 and 0 are numbers until someone says otherwise.
BOOLEAN_WORDS = "('true', 'false', 'yes', 'no')"
TRIED: tuple[ColumnType, ...] = ("integer", "float", "date", "datetime")
LISTED = 50
DATE_FORMATS = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d")
DATE_LIKE = "'[0-9]{1,4}[/-][0-9]{1,2}[/-][0-9]{1,4}( .*)?'"
# A thousands mark is proved by a decimal mark of another kind behind it, or by a second one; spaces and apostrophes
# stand in numbers for nothing else.
MARKS: tuple[Thousands, ...] = (",", ".", " ", "'")
GROUP = {",": "[,]", ".": "[.]", " ": f"[{THOUSANDS_SPACES}]", "'": "['']"}
# So many cells of a column may be wrong before it is taken for text.
TOLERATED_SHARE = 0.01
TOLERATED_FROM = 100


@dataclass(frozen=True)
class Spelling:
    """How dates or numbers are written, as a contract says it."""

    format: str | None = None
    thousands: Thousands | None = None

    def sql(self, kind: ColumnType, text: str, decimal: str) -> str:
        """SQL of `text` as this type, so spelled."""
        return typed(Column(type=kind, format=self.format, thousands=self.thousands), text, decimal)

    def fraction(self, decimal: str) -> str:
        """The regular expression of what makes a fraction of a number."""
        return "[.,eE]" if self.thousands is None else f"[{decimal}eE]"


@dataclass(frozen=True)
class ColumnSurvey:
    """Counts over the cells of one column. `filled` are those not missing; `parsed` counts them per type.

    `numbers` is (smallest, greatest) of the cells that are numbers. `values` lists the distinct values with their
    counts, most frequent first, when there are at most 50. `format` and `thousands` say how dates and numbers are
    written where the cells prove it; `unsure` what they leave open.
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
    format: str | None = None
    thousands: Thousands | None = None
    unsure: str = ""

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
        return survey_on(connection, source)


def survey_on(connection: duckdb.DuckDBPyConnection, source: SourceFile) -> Survey:
    """`survey`, leaving the cells in the table `cells` of `connection`: line, c0, c1, ..."""
    rows, unreadable = _stage(connection, source)
    columns = [
        _survey_column(connection, name, index, source.decimal) for index, name in enumerate(source.columns)
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
        rows, unreadable = rows + chunk.values.num_rows, unreadable + len(chunk.faults)
    return rows, unreadable


def _survey_column(
    connection: duckdb.DuckDBPyConnection, name: str, index: int, decimal: str
) -> ColumnSurvey:
    """The counts of one column, with the spelling of its dates or numbers when they are written in no plain way."""
    plain = _count(connection, name, index, decimal, Spelling())
    if not plain.filled or any(tolerable(plain, kind) for kind in TRIED):
        return plain
    cells = f"(SELECT {cleaned(Column(type='category'), f'c{index}')} AS v FROM cells)"
    spelling, unsure = _dates(connection, cells, plain)
    if not spelling and not unsure:
        spelling, unsure = _thousands(connection, cells, decimal, plain)
    if spelling:
        return _count(connection, name, index, decimal, spelling)
    return replace(plain, unsure=unsure)


def tolerable(column: ColumnSurvey, kind: str) -> bool:
    """Whether all cells, or all but a tolerable few, are of this type."""
    return tolerates(column.parsed[kind], column.filled)


def tolerates(right: int, filled: int) -> bool:
    return right == filled or (filled >= TOLERATED_FROM and filled - right <= TOLERATED_SHARE * filled)


def _dates(
    connection: duckdb.DuckDBPyConnection, cells: str, plain: ColumnSurvey
) -> tuple[Spelling | None, str]:
    """The format of dates with slashes or dashes, if one reads more of them than any other."""
    alike = f"count_if(regexp_full_match(v, {DATE_LIKE}))"
    if not tolerates(_one(connection, f"SELECT {alike} AS n FROM {cells}")["n"], plain.filled):
        return None, ""
    counts = {form: f"count({Spelling(format=form).sql('datetime', 'v', '.')})" for form in DATE_FORMATS}
    selected = ", ".join(f"{sql} AS {quoted(form)}" for form, sql in counts.items())
    found = _one(connection, f"SELECT {selected} FROM {cells}")
    best, other, *_ = sorted(found, key=lambda form: -found[form])
    if not tolerates(found[best], plain.filled):
        return None, ""
    if found[best] > found[other]:
        return Spelling(format=best), ""
    return None, (
        f"dates that may begin with the day or with the month: if they are dates, write type: date "
        f"with format: '{best}' or format: '{other}'"
    )


def _thousands(
    connection: duckdb.DuckDBPyConnection, cells: str, decimal: str, plain: ColumnSurvey
) -> tuple[Spelling | None, str]:
    """The mark between thousands, if it makes numbers of the cells and cannot be anything else."""
    unsure = ""
    for mark in MARKS:
        if mark == decimal:
            continue
        spelling, group = Spelling(thousands=mark), GROUP[mark]
        times = "{2,}" if mark in ",." else "+"
        proof = f"[+-]?[0-9]{{1,3}}({group}[0-9]{{3}}){times}([{decimal}][0-9]*)?"
        behind = f"[+-]?[0-9]{{1,3}}({group}[0-9]{{3}})+[{decimal}][0-9]*"
        measures = (
            f"count({spelling.sql('float', 'v', decimal)}) AS numbers, "
            f"count_if(regexp_full_match(v, '{proof}') OR regexp_full_match(v, '{behind}')) AS proofs"
        )
        found = _one(connection, f"SELECT {measures} FROM {cells}")
        if tolerates(found["numbers"], plain.filled):
            if found["proofs"]:
                return spelling, ""
            unsure = (
                f"numbers whose {mark!r} may mark thousands or decimals: if they are thousands, write "
                f'type: integer with thousands: "{mark}"'
            )
    return None, unsure


def _count(
    connection: duckdb.DuckDBPyConnection, name: str, index: int, decimal: str, spelling: Spelling
) -> ColumnSurvey:
    text = cleaned(Column(type="category"), f"c{index}")
    number = spelling.sql("float", "v", decimal)
    measures = {
        "rows": "count(*)",
        "filled": "count(v)",
        "distinct": "count(DISTINCT v)",
        "boolean_words": f"count_if(lower(v) IN {BOOLEAN_WORDS})",
        "true_false": "count_if(lower(v) IN ('true', 'false'))",
        "fractions": f"count_if(regexp_matches(v, '{spelling.fraction(decimal)}') AND ({number}) IS NOT NULL)",
        "leading_zeros": "count_if(regexp_full_match(v, '[+-]?0[0-9]+'))",
        "words": "coalesce(avg(length(v) - length(replace(v, ' ', '')) + 1), 0)",
        "least": f"min({number})",
        "greatest": f"max({number})",
    }
    measures |= {kind: f"count({spelling.sql(kind, 'v', decimal)})" for kind in TRIED}
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
        format=spelling.format,
        thousands=spelling.thousands,
        **found,
    )


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    cursor = connection.execute(query)
    row = cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    return dict(zip([column[0] for column in cursor.description], row, strict=True))
