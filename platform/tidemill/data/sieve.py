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

from tidemill.data import row_rules
from tidemill.data.casting import quoted
from tidemill.data.cell_texts import MOMENT
from tidemill.data.plain import Form, Marks, native, plain, thorough
from tidemill.data.source import Row
from tidemill.data.staging import as_texts
from tidemill.data.stretches import Mask
from tidemill.project import Column, Project

# So many first rows tell in which columns plain cells are the rule.
TRIED_ROWS = 20_000
PLAIN_SHARE = 0.97
# The values of cells that may be no texts, as DuckDB calls their types.
SQL_KINDS = {
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    MOMENT: "TIMESTAMP",
}

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
        self.thorough: frozenset[int] = frozenset()
        self._tried: frozenset[int] = frozenset()

    def sift(self, relation: str, marks: Marks) -> pa.Table:
        """The typed columns and hashes of the rows of `relation`; and for rows not plainly right the list of their
        cells, for others NULL.

        `relation` is SQL of the texts _c0, _c1, ..., among them those of columns that the file lacks. Rows keep
        its order as long as nothing in it is joined.
        """
        self._try(relation, marks, {})
        forms = self._forms(marks, {})
        cells = ", ".join(f"_c{i}" for i in range(self.width))
        values = ", ".join(f"_t{i} AS t{i}" for *_, i in self.columns)
        selected = f"{values}, CASE WHEN NOT _holds THEN [{cells}] END AS cells"
        return self.connection.sql(self._query(selected, relation, forms)).to_arrow_table()

    def absent(self) -> str:
        """SQL of the texts of columns that the file lacks, to be selected behind others."""
        return "".join(f", NULL::VARCHAR AS _c{i}" for *_, i in self.columns if i >= self.width)

    def take(self, cells: pa.Table) -> Taken:
        """The rows of a table: `line` and c0, c1, ..., each of texts or of values that say the same."""
        kinds = self._kinds(cells)
        cells = as_texts(cells, [f"c{i}" for i in range(self.width) if i not in kinds])
        names = ", ".join(f"c{i} AS _c{i}" for i in range(self.width))
        relation = f"(SELECT line AS _line, {names}{self.absent()} FROM cells)"
        self.connection.register("cells", cells)
        try:
            self._try(relation, Marks(), kinds)
            forms = self._forms(Marks(), kinds)
            # What is right as it stands need not go through the database.
            as_is = {i for i, form in forms.items() if form.value == f"_c{i}" and i < self.width}
            values = "".join(f", _t{i} AS t{i}" for i in forms if i not in as_is)
            query = self._query(f"_line AS line, _holds{values}", relation, forms)
            found = self.connection.sql(query).to_arrow_table()
        finally:
            self.connection.unregister("cells")
        if found.column("line") != cells.column("line"):
            found = found.sort_by("line")
        good = found.column("_holds").to_numpy()
        rows = found.drop_columns(["_holds"])
        for i in sorted(as_is):
            rows = rows.append_column(f"t{i}", cells.column(f"c{i}"))
        return Taken(rows, good, as_texts(cells.filter(pa.array(~good))), [])

    def _kinds(self, cells: pa.Table) -> dict[int, str]:
        """The SQL types of those columns that need not be made texts of."""
        kinds = {i: SQL_KINDS.get(cells.column(f"c{i}").type) for *_, i in self.columns if i < self.width}
        return {
            i: kind
            for _, column, i in self.columns
            if (kind := kinds.get(i)) and native(column, f"_c{i}", f"_t{i}", kind)
        }

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

    def _forms(self, marks: Marks, kinds: Mapping[int, str]) -> dict[int, Form]:
        """The form of the plain cells of each column; `kinds` are the SQL types of those that are no texts."""
        return {i: self._form(column, i, marks, kinds.get(i)) for _, column, i in self.columns}

    def _form(self, column: Column, i: int, marks: Marks, kind: str | None) -> Form:
        cell, value = f"_c{i}", f"_t{i}"
        if kind is not None and (form := native(column, cell, value, kind)) is not None:
            return form
        if i in self.thorough:
            return thorough(column, cell, value, self.decimal)
        return plain(column, cell, value, self.decimal, marks)

    def _query(self, selected: str, relation: str, forms: Mapping[int, Form]) -> str:
        """SQL of what is selected and of a hash of each unique column."""
        hashes = "".join(f", CASE WHEN _t{i} IS NOT NULL THEN hash(_t{i}) END AS h{i}" for i in self.unique)
        return f"SELECT {selected}{hashes} FROM {self._judged(relation, forms)}"

    def _judged(self, relation: str, forms: Mapping[int, Form]) -> str:
        """SQL of the cells, their values, and whether the row is plainly right."""
        holds = [form.holds for form in forms.values()]
        if all(column.nulls and column.role != "id" for _, column, _ in self.columns):
            filled = " OR ".join(f"_c{i} IS NOT NULL" for i in range(self.width))
            holds.append(filled)
        holds += [f"NOT {row_rules.breaks(rule)}" for rule in self.project.rules]
        every = " AND ".join(f"({each})" for each in holds)
        typed = _typed(relation, forms)
        if self.project.rules:
            # A rule speaks of the contract's names.
            names = ", ".join(f"_t{i} AS {quoted(name)}" for name, _, i in self.columns)
            typed = f"(SELECT *, {names} FROM {typed})"
        return f"(SELECT *, {every} AS _holds FROM {typed})"

    def _try(self, relation: str, marks: Marks, kinds: Mapping[int, str]) -> None:
        """Find the columns of texts in whose first rows plain cells are not the rule, where that is not known."""
        new = {i for *_, i in self.columns} - self._tried - kinds.keys()
        if not new:
            return
        forms = {i: form for i, form in self._forms(marks, kinds).items() if i in new}
        shares = ", ".join(f"avg(CAST({form.holds} AS INTEGER))" for form in forms.values())
        query = f"SELECT {shares} FROM (FROM {_typed(relation, forms)} LIMIT {TRIED_ROWS})"
        (found,) = self.connection.execute(query).fetchall()
        pairs = zip(forms, found, strict=True)
        self._tried |= new
        self.thorough |= {i for i, share in pairs if share is not None and share < PLAIN_SHARE}


def _typed(relation: str, forms: Mapping[int, Form]) -> str:
    """SQL of the cells _c and their values _t."""
    values = ", ".join(f"{form.value} AS _t{i}" for i, form in forms.items())
    return f"(SELECT *, {values} FROM {relation})"
