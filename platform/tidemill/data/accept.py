"""The gate between a file and the table: each row is accepted, typed by the contract, or rejected with reasons.

Here belongs the decision over rows of one file. It neither publishes nor moves anything: that is
`data/ingest.py`. Whatever happens, accepted + rejected = rows read, and this is checked, not hoped for.
"""

from __future__ import annotations

import csv
import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.data import row_rules
from tidemill.data.bulk import Bulk
from tidemill.data.casting import (
    ARROW_TYPES,
    Broken,
    broken,
    cleaned,
    explain,
    quoted,
    typed,
)
from tidemill.data.contract import EXAMPLES, ColumnChange, kind_of
from tidemill.data.formula import harmless
from tidemill.data.sieve import Sieve, Taken, joined
from tidemill.data.source import SourceFile
from tidemill.data.staging import CHUNK_ROWS, Chunk, chunks
from tidemill.data.unique import Unique
from tidemill.data.verdict import Tally
from tidemill.project import Project
from tidemill.store.durable import disk_full_is_an_error

OWN_COLUMNS = {"_row": "string", "_file": "string", "_line": "int64"}
# So many rows are judged and written together: each time has a cost of its own.
AT_ONCE = 200_000
SHOWN_VALUE = 200
MISTYPED_KEPT = 50
REJECT_HEADER = ("line", "column", "value", "reason")


def raw_schema(project: Project) -> pa.Schema:
    """The Arrow schema of the table `raw`: Tidemill's own columns, then the contract's in its order."""
    names = {name: ARROW_TYPES[column.type] for name, column in project.columns.items()}
    return pa.schema([(name, _arrow_type(kind)) for name, kind in (OWN_COLUMNS | names).items()])


def _arrow_type(kind: str) -> pa.DataType:
    match kind:
        case "timestamp[us]":
            return pa.timestamp("us")
        case "date32[day]":
            return pa.date32()
        case _:
            return pa.type_for_alias(kind)


def _insert(rejects: Path, more: Iterable[tuple[int, str, str, str]]) -> None:
    """Add rejects to a list of them, in the order of their lines."""
    aside = rejects.with_name(f"{rejects.name}-more")
    with (
        disk_full_is_an_error(rejects),
        rejects.open(encoding="utf-8", newline="") as before,
        aside.open("w", encoding="utf-8", newline="") as handle,
    ):
        rows = csv.reader(before)
        writer = csv.writer(handle)
        writer.writerow(next(rows))
        merged: Iterator[Sequence[Any]] = heapq.merge(rows, more, key=lambda row: int(row[0]))
        writer.writerows(merged)
        handle.flush()
        os.fsync(handle.fileno())
    aside.replace(rejects)


class Acceptor:
    """Takes the rows of one file apart: write `tables`, then what was `held_back`, and look at `tally`.

    `known` are the Parquet files of the table so far, whose values may not occur again where each may occur once.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        source: SourceFile,
        project: Project,
        sha256: str,
        known: Sequence[str] = (),
    ) -> None:
        self.connection = connection
        self.source = source
        self.project = project
        self.sha256 = sha256
        self.schema = raw_schema(project)
        self.tally = Tally()
        place = {name: index for index, name in enumerate(source.columns)}
        absent = [name for name in project.columns if name not in place]
        # Optional columns that the file lacks are cells like the others, after its last and all empty.
        place |= {name: index for index, name in enumerate(absent, start=len(source.columns))}
        empty = "".join(f", NULL::VARCHAR AS c{place[name]}" for name in absent)
        self.cells = f"(SELECT *{empty} FROM chunk)"
        self.columns = [(name, column, place[name]) for name, column in project.columns.items()]
        self.unique = {
            index: name for name, column, index in self.columns if column.role == "id" or column.unique
        }
        self.values = Unique(connection, list(self.unique.values()), known)
        self.rules = list(enumerate(project.rules))
        self.mistyped: dict[str, tuple[int, dict[str, None]]] = {}
        self.judged = False
        self.delimited = source.delimited if source.as_it_stands else None
        self.sieve = Sieve(
            connection,
            project,
            self.columns,
            len(source.columns),
            decimal=source.decimal,
            unique=list(self.unique),
        )
        self.bulk = Bulk(self.delimited, self.sieve) if self.delimited else None

    def tables(self, rejects: Path, on_progress: Callable[[int], None] | None = None) -> Iterator[pa.Table]:
        """The accepted rows, piece by piece, while the rejected ones are written to `rejects`."""
        with disk_full_is_an_error(rejects), rejects.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(REJECT_HEADER)
            for taken, chunk in self._pieces():
                self.tally.rows += chunk.rows + (int(taken.good.sum()) if taken else 0)
                writer.writerows(sorted(self._rejected(chunk)))
                yield self._accepted(taken)
                if on_progress is not None:
                    on_progress(self.tally.rows)
            handle.flush()
            os.fsync(handle.fileno())
        self.tally.changed = [self._changed(name, *found) for name, found in self.mistyped.items()]
        if not self.values.has_held:
            self._complete()

    def _pieces(self) -> Iterator[tuple[Taken | None, Chunk]]:
        """The rows of the file piece by piece: those that are plainly good, and those to be judged."""
        taken: list[Taken] = []
        for each in self._taken_apart():
            if isinstance(each, Taken):
                taken.append(each)
                size = sum(len(one.good) for one in taken), sum(one.doubtful.num_rows for one in taken)
                if size[0] < AT_ONCE and size[1] < CHUNK_ROWS:
                    continue
            if taken:
                whole = joined(taken)
                yield whole, Chunk(whole.doubtful, whole.odd)
                taken = []
            if isinstance(each, Chunk):
                yield None, each
        if taken:
            whole = joined(taken)
            yield whole, Chunk(whole.doubtful, whole.odd)

    def _taken_apart(self) -> Iterator[Taken | Chunk]:
        """The rows of the file in its order, taken apart in bulk or not at all."""
        if self.delimited is None or self.bulk is None:
            for chunk in chunks(self.source):
                yield replace(self.sieve.take(chunk.values), odd=chunk.faults)
            return
        stretches = self.delimited.stretches()
        for stretch in stretches:
            found = self.bulk.take(stretch, stretches)
            if isinstance(found, Taken):
                yield found
                continue
            careful = replace(self.source, rows=self.delimited.carefully(found, stretches))
            yield from chunks(careful)

    def held_back(self, written: str | None, rejects: Path) -> pa.Table | None:
        """The last accepted rows: those that seemed to repeat a value which may occur once, and do not.

        `written` is the Parquet file of the rows of `tables`. Rows that do repeat one, of an earlier row or of the
        table so far, are rejected: put among `rejects` and counted so. None when no row was held back.
        """
        if not self.values.has_held:
            return None
        rows, doubles = self.values.judge(written)
        columns = self.project.columns
        _insert(
            rejects,
            [
                self._reject(each.line, each.column, each.value, explain(columns[each.column], each.code))
                for each in doubles
            ],
        )
        self.tally.accepted += rows.num_rows
        self.tally.rejected += len(doubles)
        self._complete()
        return rows if rows.num_rows else None

    def _complete(self) -> None:
        self.tally.check(self.source.name)
        self.tally.complete = True

    def _check(self, chunk: Chunk) -> None:
        """Make the table `checked`: line, cells c, typed values t and broken rules f of every column, and for each
        rule over the row g, whether it is broken."""
        self.connection.register("chunk", chunk.cells)
        each = [(column, index) for _, column, index in self.columns]
        texts = ", ".join(f"{cleaned(column, f'c{i}')} AS r{i}" for column, i in each)
        values = ", ".join(f"{typed(column, f'r{i}', self.source.decimal)} AS t{i}" for column, i in each)
        codes = ", ".join(f"{broken(column, f'r{i}', f't{i}')} AS f{i}" for column, i in each)
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE checked AS "
            + self._with_rules(
                f"(SELECT *, {codes} FROM (SELECT *, {values} FROM (SELECT *, {texts} FROM {self.cells})))"
            )
        )
        self.connection.unregister("chunk")

    def _with_rules(self, coded: str) -> str:
        """SQL of the rows of `coded`, with a column g for each rule over the row."""
        if not self.rules:
            return f"SELECT * FROM {coded}"
        # A rule speaks of the contract's names. None of these begins with an underscore, so the columns of ours
        # step aside behind one: a column of the data may be called c0 as well.
        indexes = [index for *_, index in self.columns]
        ours = ["line", *(f"{kind}{index}" for index in indexes for kind in "ctf")]
        aside = ", ".join(f"{name} AS _{name}" for name in ours)
        named = ", ".join(f"t{index} AS {quoted(name)}" for name, _, index in self.columns)
        back = ", ".join(f"_{name} AS {name}" for name in ours)
        broken_rules = ", ".join(f"{row_rules.breaks(rule)} AS g{index}" for index, rule in self.rules)
        return f"SELECT {back}, {broken_rules} FROM (SELECT {aside}, {named} FROM {coded})"

    @property
    def _good(self) -> str:
        keeps = [f"f{index} = 0" for *_, index in self.columns] + [f"NOT g{index}" for index, _ in self.rules]
        return "(" + " AND ".join(keeps) + ")"

    def _accepted(self, taken: Taken | None) -> pa.Table:
        """The rows accepted from the piece at hand, in the order of their lines, but for those held back."""
        rows, good = (taken.rows, taken.good) if taken else (None, np.ones(0, dtype=bool))
        if self.judged:
            judged = self._judged()
            if rows is not None and judged.num_rows:
                whole = [rows.filter(pa.array(good)), judged.select(rows.column_names)]
                rows = pa.concat_tables(whole).sort_by("line")
            elif rows is None:
                rows = judged
            if judged.num_rows:
                good = np.ones(rows.num_rows, dtype=bool)
        if rows is None or not good.any():
            return self.schema.empty_table()
        columns = {name: (rows.column(f"t{i}"), rows.column(f"h{i}")) for i, name in self.unique.items()}
        doubtful = self.values.doubtful(columns, good)
        if doubtful.any():
            self.values.hold_back(self._named(rows.filter(pa.array(doubtful))))
        good = good & ~doubtful
        table = self._named(rows if good.all() else rows.filter(pa.array(good)))
        self.tally.accepted += table.num_rows
        return table

    def _judged(self) -> pa.Table:
        """The rows of `checked` that break no rule."""
        values = ", ".join(f"t{index}" for *_, index in self.columns)
        hashes = "".join(
            f", CASE WHEN t{index} IS NOT NULL THEN hash(t{index}) END AS h{index}" for index in self.unique
        )
        query = f"SELECT {values}{hashes}, line FROM checked WHERE {self._good} ORDER BY line"
        return self.connection.sql(query).to_arrow_table()

    def _named(self, rows: pa.Table) -> pa.Table:
        """Rows as the table `raw` has them: with their origin, and under the contract's names."""
        line = rows.column("line")
        columns = {
            "_row": self._row_name(rows, line),
            "_file": pa.repeat(self.sha256[:16], rows.num_rows),
            "_line": line,
            **{name: rows.column(f"t{index}") for name, _, index in self.columns},
        }
        return pa.table(columns).cast(self.schema)

    def _row_name(self, found: pa.Table, line: pa.ChunkedArray) -> pa.ChunkedArray:
        if (name := self.project.id_column) is None:
            prefix = pa.scalar(f"{self.sha256[:12]}:")
            return pc.binary_join_element_wise(prefix, line.cast(pa.string()), "")
        index = next(index for column, _, index in self.columns if column == name)
        return self._as_text(found.column(f"t{index}"))

    def _as_text(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Values as DuckDB writes them: an id of a date or a number, too."""
        if pa.types.is_string(values.type):
            return values
        self.connection.register("ids", pa.table({"id": values}))
        text = self.connection.sql("SELECT CAST(id AS VARCHAR) AS id FROM ids").to_arrow_table().column("id")
        self.connection.unregister("ids")
        return text

    def _rejected(self, chunk: Chunk) -> Iterator[tuple[int, str, str, str]]:
        """Judge a chunk, and give its rejects: one for each broken rule of each rejected row."""
        for row in chunk.faults:
            assert row.fault is not None
            self.tally.rejected += 1
            yield self._reject(row.line, row.fault.column, row.fault.value, row.fault.reason)
        self.judged = chunk.values.num_rows > 0
        if not self.judged:
            return
        self._check(chunk)
        codes = ", ".join(f"f{index}, c{index}" for *_, index in self.columns)
        flags = "".join(f", g{index}" for index, _ in self.rules)
        found = self.connection.execute(f"SELECT line, {codes}{flags} FROM checked WHERE NOT {self._good}")
        split = 2 * len(self.columns)
        rejected = found.fetchall()
        # Most rows that are judged are rejected: where all are, none need be asked for again.
        self.judged = len(rejected) < chunk.values.num_rows
        for line, *cells in rejected:
            self.tally.rejected += 1
            yield from self._broken(line, cells[:split])
            yield from self._broken_rules(line, cells[1:split:2], cells[split:])

    def _broken(self, line: int, pairs: list[Any]) -> Iterator[tuple[int, str, str, str]]:
        for (name, column, _), code, value in zip(self.columns, pairs[::2], pairs[1::2], strict=True):
            if code == Broken.TYPE:
                self._note_type(name, value)
            if code:
                yield self._reject(line, name, value or "", explain(column, Broken(code)))

    def _note_type(self, name: str, value: str) -> None:
        rows, texts = self.mistyped.get(name, (0, {}))
        if len(texts) < MISTYPED_KEPT:
            texts[value[:SHOWN_VALUE].strip()] = None
        self.mistyped[name] = rows + 1, texts

    def _changed(self, name: str, rows: int, texts: dict[str, None]) -> ColumnChange:
        found = kind_of(self.connection, list(texts), self.source.decimal)
        return ColumnChange(name, self.project.columns[name].type, found, rows, list(texts)[:EXAMPLES])

    def _broken_rules(
        self, line: int, cells: list[Any], flags: list[Any]
    ) -> Iterator[tuple[int, str, str, str]]:
        texts = {name: cell for (name, *_), cell in zip(self.columns, cells, strict=True)}
        for (_, rule), is_broken in zip(self.rules, flags, strict=True):
            if is_broken:
                names = row_rules.reported_columns(rule, self.project)
                shown = ", ".join(texts[name] or "" for name in names)
                yield self._reject(line, ", ".join(names), shown, row_rules.reason(rule))

    def _reject(self, line: int, column: str, value: str, reason: str) -> tuple[int, str, str, str]:
        self.tally.note(line, column, reason)
        shown = value if len(value) <= SHOWN_VALUE else value[:SHOWN_VALUE] + "..."
        return line, harmless(column), harmless(shown), harmless(reason)
