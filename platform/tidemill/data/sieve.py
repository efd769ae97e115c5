"""Rows of texts sifted in bulk: typed, and told apart into those plainly right and those to be judged.

Here belongs how it is done with any table of texts, whichever reader gave them: the bulk of a CSV (`data/bulk.py`)
or a workbook. A column is typed by kernels while its cells are plain (`data/plain.py`), else by the full rules:
each value is asked once. Rows that are not plainly right are judged by `data/accept.py`.
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
from tidemill.data.casting import broken, cleaned, quoted, rules, typed
from tidemill.data.cell_texts import texts_of
from tidemill.data.plain import Typed, native, nothing, plain
from tidemill.data.source import Row
from tidemill.data.staging import as_texts
from tidemill.data.stretches import Mask
from tidemill.project import Column, Project

# Verdicts on more different values of a column are not kept for the next rows.
VERDICTS = 50_000

Lines = npt.NDArray[np.int64]
Place = tuple[str, Column, int]
"""A column's name, what it must hold, and the number of its cell."""


@dataclass(frozen=True)
class Taken:
    """Rows taken apart: `rows` has `line`, the typed columns t0, t1, ... and a hash h0 of each unique one.

    `good` tells which of them are plainly right; the others are among those below.
    `doubtful` are rows to be judged: `line` and the cells c0, c1, ...; `odd` those that could not be taken apart.
    """

    rows: pa.Table
    good: Mask
    doubtful: pa.Table
    odd: list[Row]


def joined(pieces: Sequence[Taken]) -> Taken:
    """Rows taken apart one after the other, as one."""
    return Taken(
        pa.concat_tables([each.rows for each in pieces]),
        np.concatenate([each.good for each in pieces]),
        pa.concat_tables([each.doubtful for each in pieces]),
        [row for each in pieces for row in each.odd],
    )


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
        # The columns of this file in which plain cells were not the rule.
        self.by_value: set[int] = set()
        self.verdicts: dict[int, pa.Table] = {}

    def take(self, cells: pa.Table) -> Taken:
        """The rows of a table: `line` and c0, c1, ..., each of texts or of values that say the same, NULL where a
        cell is empty."""
        self.verdicts = {i: kept for i, kept in self.verdicts.items() if kept.num_rows < VERDICTS}
        found = self._typed(cells)
        columns = {f"t{i}": found[i].values for *_, i in self.columns}
        rows = pa.table({"line": cells.column("line"), **columns})
        good = np.logical_and.reduce([each.holds for each in found.values()])
        if queries := self._queries(found):
            asked = self._ask(queries, rows)
            good &= asked.column("holds").to_numpy()
            for i in self.unique:
                rows = rows.append_column(f"h{i}", asked.column(f"h{i}"))
        doubtful = self.no_cells() if good.all() else as_texts(cells.filter(pa.array(~good)))
        return Taken(rows, good, doubtful, [])

    def no_cells(self) -> pa.Table:
        kinds = [pa.int64(), *[pa.string()] * self.width]
        return pa.table([pa.array([], kind) for kind in kinds], names=self.names)

    @property
    def names(self) -> list[str]:
        return ["line", *(f"c{index}" for index in range(self.width))]

    def _typed(self, cells: pa.Table) -> dict[int, Typed]:
        """The columns of the contract, by the numbers of their cells."""
        if not cells.num_rows:
            return {i: nothing(column) for _, column, i in self.columns}
        found: dict[int, Typed] = {}
        others: dict[int, tuple[Column, pa.ChunkedArray]] = {}
        for _, column, i in self.columns:
            texts = cells.column(f"c{i}") if i < self.width else _absent(cells.num_rows)
            if texts.type != pa.string():
                if (values := native(column, texts)) is not None:
                    found[i] = values
                    continue
                texts = pa.chunked_array([texts_of(texts.combine_chunks())])
            if i not in self.by_value and (values := plain(column, texts, self.decimal)) is not None:
                found[i] = values
                continue
            self.by_value.add(i)
            others[i] = column, texts
        return {**found, **self._judged_by_value(others)}

    def _judged_by_value(self, columns: Mapping[int, tuple[Column, pa.ChunkedArray]]) -> dict[int, Typed]:
        """Columns typed and judged by the full rules, with each of their values asked once."""
        places = {i: self._places(i, texts) for i, (_, texts) in columns.items()}
        fresh = {
            i: columns[i][1].filter(pc.is_null(each)).unique()
            for i, each in places.items()
            if each.null_count
        }
        for i, verdicts in self._judged({i: (columns[i][0], texts) for i, texts in fresh.items()}).items():
            kept = [self.verdicts[i], verdicts] if i in self.verdicts else [verdicts]
            self.verdicts[i] = pa.concat_tables(kept).combine_chunks()
            places[i] = self._places(i, columns[i][1])
        return {
            i: Typed(
                pa.chunked_array([_only(self.verdicts[i], "value").take(each.combine_chunks())]),
                self.verdicts[i].column("holds").to_numpy()[each.to_numpy()],
                is_judged=True,
            )
            for i, each in places.items()
        }

    def _places(self, index: int, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        """Where the verdicts on the texts of a column stand, NULL where there is none."""
        if index not in self.verdicts:
            return pa.chunked_array([pa.nulls(len(texts), pa.int32())])
        return pc.index_in(texts, _only(self.verdicts[index], "text"))

    def _judged(self, columns: Mapping[int, tuple[Column, pa.Array]]) -> dict[int, pa.Table]:
        """For each column its texts with their typed `value`, and whether it `holds`."""
        if not columns:
            return {}
        most = max(len(texts) for _, texts in columns.values())
        padded = {
            f"c{i}": pa.concat_arrays([texts, pa.nulls(most - len(texts), pa.string())])
            for i, (_, texts) in columns.items()
        }
        cleaner = ", ".join(f"{cleaned(column, f'c{i}')} AS r{i}" for i, (column, _) in columns.items())
        typer = ", ".join(
            f"{typed(column, f'r{i}', self.decimal)} AS t{i}" for i, (column, _) in columns.items()
        )
        judge = ", ".join(
            f"t{i}, {broken(column, f'r{i}', f't{i}')} = 0 AS f{i}" for i, (column, _) in columns.items()
        )
        query = f"SELECT line, {judge} FROM (SELECT *, {typer} FROM (SELECT line, {cleaner} FROM different))"
        table = pa.table({"line": pa.array(np.arange(most)), **padded})
        found = self._in_order(query, "different", table)
        return {
            i: pa.table(
                {
                    "text": texts,
                    "value": found.column(f"t{i}")[: len(texts)],
                    "holds": found.column(f"f{i}")[: len(texts)],
                }
            )
            for i, (_, texts) in columns.items()
        }

    def _queries(self, found: Mapping[int, Typed]) -> list[str]:
        """SQL of what is asked of typed rows: whether they keep to ranges and rules, and the hashes."""
        breaks = [
            f"coalesce({rule}, false)"
            for _, column, i in self.columns
            if not found[i].is_judged
            for rule in rules(column, f"_t{i}").values()
        ]
        breaks += [row_rules.breaks(rule) for rule in self.project.rules]
        hashes = [f"CASE WHEN _t{i} IS NOT NULL THEN hash(_t{i}) END AS h{i}" for i in self.unique]
        if not breaks and not hashes:
            return []
        return [f"{' AND '.join(f'NOT {each}' for each in breaks) or 'true'} AS holds", *hashes]

    def _ask(self, queries: Sequence[str], rows: pa.Table) -> pa.Table:
        # Rules speak of the contract's names, of which none begins with an underscore.
        ours = ", ".join(f"t{i} AS _t{i}" for *_, i in self.columns)
        named = ", ".join(f"t{i} AS {quoted(name)}" for name, _, i in self.columns)
        selected = ", ".join(["_line AS line", *queries])
        query = f"SELECT {selected} FROM (SELECT line AS _line, {ours}, {named} FROM typed_rows)"
        return self._in_order(query, "typed_rows", rows)

    def _in_order(self, query: str, name: str, table: pa.Table) -> pa.Table:
        """What `query` gives for each row of `table`, in its order: by `line`, which increases in both."""
        self.connection.register(name, table)
        try:
            found = self.connection.sql(query).to_arrow_table()
        finally:
            self.connection.unregister(name)
        # Rows come as they went as long as nothing is joined; a plan with a join would shuffle them.
        if found.column("line") != table.column("line"):
            found = found.sort_by("line")
        return found


def _absent(rows: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(rows, pa.string())])


def _only(table: pa.Table, name: str) -> pa.Array:
    """A column of a table whose columns are of one piece."""
    return table.column(name).chunk(0)
