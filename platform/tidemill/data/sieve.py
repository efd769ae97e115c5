"""Rows of texts sifted in bulk: typed, and told apart into those plainly right and those to be judged.

Here belongs the one query that does it over any relation of texts, whichever reader gave them: DuckDB over a
stretch of a CSV (`data/bulk.py`), or another over a workbook. Which cells are plain says `data/plain.py`; rows that
are not are judged by `data/accept.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.data import row_rules
from tidemill.data.casting import quoted
from tidemill.data.plain import Form, Marks, plain, thorough
from tidemill.data.source import Row
from tidemill.data.stretches import Mask
from tidemill.project import Column, Project

# So many first rows tell in which columns plain cells are the rule.
TRIED_ROWS = 20_000
PLAIN_SHARE = 0.97

Lines = npt.NDArray[np.int64]
Place = tuple[str, Column, int]
"""A column's name, what it must hold, and the number of its cell."""


@dataclass(frozen=True)
class Taken:
    """Rows taken apart: `rows` has `line`, the typed columns t0, t1, ... and a hash h0 of each unique one.

    `good` tells which of them are plainly right; the others are among those below.
    `doubtful` are rows to be judged: `line` and the cells c0, c1, ...; `odd` those that it could not take apart.
    """

    rows: pa.Table
    good: Mask
    doubtful: pa.Table
    odd: list[Row]


class Sieve:
    """Sifts the rows of one file of `width` cells. `unique` are the numbers of the cells to be hashed."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        project: Project,
        columns: Sequence[Place],
        width: int,
        *,
        decimal: str,
        unique: Sequence[int],
    ) -> None:
        self.connection = connection
        self.project = project
        self.columns = columns
        self.width = width
        self.decimal = decimal
        self.unique = unique
        self.thorough: frozenset[int] | None = None

    def sift(self, relation: str, marks: Marks, *, besides: str = "") -> pa.Table:
        """The typed columns and hashes of the rows of `relation`, after the columns `besides`; and for rows not
        plainly right the list of their cells, for others NULL.

        `relation` is SQL of the texts _c0, _c1, ..., among them those of columns that the file lacks. Rows keep
        its order as long as nothing in it is joined.
        """
        if self.thorough is None:
            self.thorough = self._not_plain(relation, marks)
        return self.connection.sql(self._query(relation, marks, self.thorough, besides)).to_arrow_table()

    def absent(self) -> str:
        """SQL of the texts of columns that the file lacks, to be selected behind others."""
        return "".join(f", NULL::VARCHAR AS _c{i}" for *_, i in self.columns if i >= self.width)

    def take(self, cells: pa.Table) -> Taken:
        """The rows of a table of texts: `line` and c0, c1, ..."""
        names = ", ".join(f"c{i} AS _c{i}" for i in range(self.width))
        self.connection.register("cells", cells)
        try:
            relation = f"(SELECT line, {names}{self.absent()} FROM cells)"
            rows = self.sift(relation, Marks(), besides="line, ")
        finally:
            self.connection.unregister("cells")
        texts = rows.column("cells").combine_chunks()
        good = pc.is_null(texts).to_numpy(zero_copy_only=False)
        doubtful = self.apart(texts.filter(pa.array(~good)), rows.column("line").to_numpy()[~good])
        return Taken(rows.drop_columns(["cells"]), good, doubtful, [])

    def apart(self, cells: pa.ListArray, lines: Lines) -> pa.Table:
        """A list of cells for each row as columns of cells."""
        if not len(cells):
            return self.no_cells()
        flat = cells.flatten()
        places = np.arange(0, len(flat), self.width)
        columns = [flat.take(pa.array(places + index)) for index in range(self.width)]
        return pa.table([pa.array(lines), *columns], names=self.names)

    def no_cells(self) -> pa.Table:
        kinds = [pa.int64(), *[pa.string()] * self.width]
        return pa.table([pa.array([], kind) for kind in kinds], names=self.names)

    @property
    def names(self) -> list[str]:
        return ["line", *(f"c{index}" for index in range(self.width))]

    def _forms(self, marks: Marks, thoroughly: frozenset[int]) -> Mapping[int, Form]:
        return {
            i: thorough(column, f"_c{i}", f"_t{i}", self.decimal)
            if i in thoroughly
            else plain(column, f"_c{i}", f"_t{i}", self.decimal, marks)
            for _, column, i in self.columns
        }

    def _query(self, relation: str, marks: Marks, thoroughly: frozenset[int], besides: str) -> str:
        """SQL of the typed columns and hashes, and for rows not plainly right the list of their cells."""
        cells = ", ".join(f"_c{i}" for i in range(self.width))
        values = ", ".join(f"_t{i} AS t{i}" for *_, i in self.columns)
        hashes = "".join(f", CASE WHEN _t{i} IS NOT NULL THEN hash(_t{i}) END AS h{i}" for i in self.unique)
        return (
            f"SELECT {besides}{values}{hashes}, CASE WHEN NOT _holds THEN [{cells}] END AS cells "
            f"FROM (SELECT *, {self._holds(marks, thoroughly)} AS _holds "
            f"FROM {self._typed(relation, marks, thoroughly)})"
        )

    def _holds(self, marks: Marks, thoroughly: frozenset[int]) -> str:
        holds = [form.holds for form in self._forms(marks, thoroughly).values()]
        if all(column.nulls and column.role != "id" for _, column, _ in self.columns):
            holds.append(f"coalesce({', '.join(f'_c{i}' for i in range(self.width))}) IS NOT NULL")
        holds += [f"NOT {row_rules.breaks(rule)}" for rule in self.project.rules]
        return " AND ".join(f"({each})" for each in holds)

    def _typed(self, relation: str, marks: Marks, thoroughly: frozenset[int]) -> str:
        """SQL of the cells _c, their values _t, and the values again under the contract's names for its rules."""
        values = ", ".join(f"{form.value} AS _t{i}" for i, form in self._forms(marks, thoroughly).items())
        typed = f"(SELECT *, {values} FROM {relation})"
        if not self.project.rules:
            return typed
        names = ", ".join(f"_t{i} AS {quoted(name)}" for name, _, i in self.columns)
        return f"(SELECT *, {names} FROM {typed})"

    def _not_plain(self, relation: str, marks: Marks) -> frozenset[int]:
        """The columns in whose first rows plain cells are not the rule."""
        plainly = self._forms(marks, frozenset())
        shares = ", ".join(f"avg(CAST({form.holds} AS INTEGER))" for form in plainly.values())
        typed = self._typed(relation, marks, frozenset())
        query = f"SELECT {shares} FROM (FROM {typed} LIMIT {TRIED_ROWS})"
        (found,) = self.connection.execute(query).fetchall()
        pairs = zip(plainly, found, strict=True)
        return frozenset(i for i, share in pairs if share is not None and share < PLAIN_SHARE)
