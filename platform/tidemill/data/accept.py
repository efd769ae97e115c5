"""The gate between a file and the table: each row is accepted, typed by the contract, or rejected with reasons.

Here belongs the decision over rows of one file. It neither publishes nor moves anything: that is
`data/ingest.py`. Whatever happens, accepted + rejected = rows read, and this is checked, not hoped for.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tidemill.data import row_rules
from tidemill.data.casting import (
    ARROW_TYPES,
    SQL_TYPES,
    Broken,
    broken,
    cleaned,
    explain,
    literal,
    quoted,
    typed,
)
from tidemill.data.contract import EXAMPLES, ColumnChange, kind_of, missing_columns, renamed_columns
from tidemill.data.formula import harmless
from tidemill.data.source import SourceFile
from tidemill.data.staging import Chunk, chunks
from tidemill.errors import ContractChanged, ContractViolation, Corrupt
from tidemill.project import Project, Rejects
from tidemill.store.durable import disk_full_is_an_error

OWN_COLUMNS = {"_row": "string", "_file": "string", "_line": "int64"}
SHOWN_VALUE = 200
MISTYPED_KEPT = 50
REJECT_HEADER = ("line", "column", "value", "reason")


@dataclass
class Tally:
    """What became of the rows so far, of all when `complete`.

    `reasons` counts (column, reason); `first_line` keeps where each was met first; `changed` holds the columns with
    cells of another type.
    """

    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    complete: bool = False
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    first_line: dict[tuple[str, str], int] = field(default_factory=dict)
    changed: list[ColumnChange] = field(default_factory=list)

    def note(self, line: int, column: str, reason: str) -> None:
        self.reasons[column, reason] += 1
        self.first_line.setdefault((column, reason), line)

    def check(self, name: str) -> None:
        """Raise Corrupt unless every row read is accounted for."""
        if self.accepted + self.rejected != self.rows:
            raise Corrupt(
                "Rows were lost while a file was taken in",
                detail=f"{name}: {self.rows} rows read, {self.accepted} accepted, {self.rejected} rejected",
                remedy="Nothing was published. Please report this, with the file if you may share it.",
            )


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


def check_columns(source: SourceFile, project: Project) -> None:
    """Raise ContractChanged, with the difference, unless the file has exactly the contract's columns.

    Their order does not matter, and optional ones may be absent.
    """
    missing = missing_columns(source.columns, project)
    added = [name for name in source.columns if name not in project.columns]
    if not missing and not added:
        return
    renamed = renamed_columns(missing, added)
    parts = [
        f"missing: {', '.join(missing)}" if missing else "",
        f"not in the contract: {', '.join(added)}" if added else "",
        *(f"{each['found']!r} may be {each['expected']!r}" for each in renamed),
    ]
    raise ContractChanged(
        "The file's columns are not the contract's",
        detail=f"{source.name}: {'; '.join(part for part in parts if part)}",
        remedy="Mend the header and send the file again; if the data changed, `./tidemill contract suggest "
        f"{project.name} FILE` shows a contract that takes it.",
        diff={"missing": missing, "added": added, "renamed": renamed},
    )


def check_share(tally: Tally, name: str, limits: Rejects) -> None:
    """Raise ContractViolation when a file has no rows, or too many of them were rejected, by share or by count."""
    most = limits.max_share * tally.rows
    if limits.max_rows is not None:
        most = min(most, limits.max_rows)
    if not tally.rows:
        raise ContractViolation(
            "The file has no rows",
            detail=f"{name} has a header and nothing below it",
            remedy="Send a file with at least one row.",
        )
    if tally.accepted and tally.rejected <= most:
        return
    if others := [change for change in tally.changed if change.rows > limits.max_share * tally.rows]:
        raise _other_types(others, tally, name)
    faults = [
        f"{column or 'the row'}: {reason} ({count} rows, first in line {tally.first_line[column, reason]})"
        for (column, reason), count in tally.reasons.most_common(5)
    ]
    raise ContractViolation(
        "Too many rows break the contract",
        detail=f"{name}: {tally.rejected} of {tally.rows} rows, {_limit(limits)}\n" + "\n".join(faults),
        remedy="Mend the file, or the rules in project.yaml if the data is right, and send the file again. "
        "The list of rejected rows names each line and reason.",
        diff={
            "rejected": [
                {
                    "column": column,
                    "reason": reason,
                    "rows": count,
                    "first_line": tally.first_line[column, reason],
                }
                for (column, reason), count in tally.reasons.most_common(50)
            ]
        },
    )


def _limit(limits: Rejects) -> str:
    if limits.max_rows is None:
        return f"at most {limits.max_share:.3g} of them may be rejected"
    return f"at most {limits.max_share:.3g} of them and at most {limits.max_rows} may be rejected"


def _other_types(changed: list[ColumnChange], tally: Tally, name: str) -> ContractChanged:
    found = [
        f"{each.column}: {each.rows} of {tally.rows} cells are not of type {each.expected} but seem to be "
        f"{each.found}, such as {', '.join(map(repr, each.examples))}"
        for each in changed
    ]
    return ContractChanged(
        "Columns are of another type than the contract's",
        detail=f"{name}: " + "\n".join(found),
        remedy="Mend those columns and send the file again; if the data changed, `./tidemill contract suggest` "
        "shows a contract that takes it. The list of rejected rows names each line.",
        diff={"changed": [asdict(each) for each in changed]},
    )


class Acceptor:
    """Takes the rows of one file apart: `remember`, iterate over `tables`, then look at `tally`."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, source: SourceFile, project: Project, sha256: str
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
        self.unique = [
            (name, index) for name, column, index in self.columns if column.role == "id" or column.unique
        ]
        self.rules = list(enumerate(project.rules))
        self.mistyped: dict[str, tuple[int, dict[str, None]]] = {}

    def tables(self, rejects: Path, on_progress: Callable[[int], None] | None = None) -> Iterator[pa.Table]:
        """The accepted rows, chunk by chunk, while the rejected ones are written to `rejects`."""
        with disk_full_is_an_error(rejects), rejects.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(REJECT_HEADER)
            for chunk in chunks(self.source):
                self.tally.rows += chunk.rows
                self._check(chunk)
                writer.writerows(sorted(self._rejected(chunk)))
                yield self._accepted()
                if on_progress is not None:
                    on_progress(self.tally.rows)
            handle.flush()
            os.fsync(handle.fileno())
        self.tally.check(self.source.name)
        self.tally.changed = [self._changed(name, *found) for name, found in self.mistyped.items()]
        self.tally.complete = True

    def remember(self, known: Sequence[str]) -> None:
        """Note the values that may not occur again in id and unique columns: those of the Parquet files `known`."""
        for name, index in self.unique:
            kind = SQL_TYPES[self.project.columns[name].type]
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE seen{index} (value {kind}, here BOOLEAN)")
            if known:
                paths = ", ".join(literal(path) for path in known)
                self.connection.execute(
                    f"INSERT INTO seen{index} SELECT {quoted(name)}, false FROM read_parquet([{paths}]) "
                    f"WHERE {quoted(name)} IS NOT NULL"
                )

    def _check(self, chunk: Chunk) -> None:
        """Make the table `checked`: line, cells c, typed values t and broken rules f of every column, and for each
        rule over the row g, whether it is broken."""
        self.connection.register("chunk", chunk.cells)
        each = [(column, index) for _, column, index in self.columns]
        texts = ", ".join(f"{cleaned(column, f'c{i}')} AS r{i}" for column, i in each)
        values = ", ".join(f"{typed(column, f'r{i}', self.source.decimal)} AS t{i}" for column, i in each)
        codes = ", ".join(f"{broken(column, f'r{i}', f't{i}')} AS f{i}" for column, i in each)
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE checked AS "
            f"WITH texts AS (SELECT *, {texts} FROM {self.cells}), typed AS (SELECT *, {values} FROM texts), "
            f"coded AS (SELECT *, {codes} FROM typed) {self._with_rules()}"
        )
        self.connection.unregister("chunk")
        for _, index in self.unique:
            self._check_unique(index)

    def _with_rules(self) -> str:
        """SQL of the rows of `coded`, with a column g for each rule over the row."""
        if not self.rules:
            return "SELECT * FROM coded"
        # A rule speaks of the contract's names. None of these begins with an underscore, so the columns of ours
        # step aside behind one: a column of the data may be called c0 as well.
        indexes = [index for *_, index in self.columns]
        ours = ["line", *(f"{kind}{index}" for index in indexes for kind in "ctf")]
        aside = ", ".join(f"{name} AS _{name}" for name in ours)
        named = ", ".join(f"t{index} AS {quoted(name)}" for name, _, index in self.columns)
        back = ", ".join(f"_{name} AS {name}" for name in ours)
        broken_rules = ", ".join(f"{row_rules.breaks(rule)} AS g{index}" for index, rule in self.rules)
        return f"SELECT {back}, {broken_rules} FROM (SELECT {aside}, {named} FROM coded)"

    def _check_unique(self, i: int) -> None:
        good = self._good
        self.connection.execute(
            f"UPDATE checked SET f{i} = CASE WHEN seen.here THEN {int(Broken.TWICE)} ELSE {int(Broken.KNOWN)} END "
            f"FROM seen{i} AS seen WHERE {good} AND t{i} = seen.value"
        )
        self.connection.execute(
            f"UPDATE checked SET f{i} = {int(Broken.TWICE)} WHERE {good} AND t{i} IS NOT NULL AND line NOT IN "
            f"(SELECT min(line) FROM checked WHERE {good} AND t{i} IS NOT NULL GROUP BY t{i})"
        )

    @property
    def _good(self) -> str:
        keeps = [f"f{index} = 0" for *_, index in self.columns] + [f"NOT g{index}" for index, _ in self.rules]
        return "(" + " AND ".join(keeps) + ")"

    def _accepted(self) -> pa.Table:
        for _, index in self.unique:
            self.connection.execute(
                f"INSERT INTO seen{index} SELECT t{index}, true FROM checked "
                f"WHERE {self._good} AND t{index} IS NOT NULL"
            )
        names = ", ".join(f"t{index} AS {quoted(name)}" for name, _, index in self.columns)
        found = self.connection.sql(
            f"SELECT {self._row_name()} AS _row, {literal(self.sha256[:16])} AS _file, line AS _line, {names} "
            f"FROM checked WHERE {self._good} ORDER BY line"
        )
        table: pa.Table = found.to_arrow_table().cast(self.schema)
        self.tally.accepted += table.num_rows
        return table

    def _row_name(self) -> str:
        if (name := self.project.id_column) is None:
            return f"{literal(self.sha256[:12] + ':')} || line"
        index = next(index for column, _, index in self.columns if column == name)
        return f"CAST(t{index} AS VARCHAR)"

    def _rejected(self, chunk: Chunk) -> Iterator[tuple[int, str, str, str]]:
        """The rejects of the chunk at hand: one for each broken rule of each rejected row."""
        for row in chunk.faults:
            assert row.fault is not None
            self.tally.rejected += 1
            yield self._reject(row.line, row.fault.column, row.fault.value, row.fault.reason)
        codes = ", ".join(f"f{index}, c{index}" for *_, index in self.columns)
        flags = "".join(f", g{index}" for index, _ in self.rules)
        found = self.connection.execute(f"SELECT line, {codes}{flags} FROM checked WHERE NOT {self._good}")
        split = 2 * len(self.columns)
        for line, *cells in found.fetchall():
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
