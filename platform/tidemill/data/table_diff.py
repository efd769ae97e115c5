"""What differs between two versions of a table: rows added, changed and removed, columns, and their numbers.

Rows are the same row when they have the same `_row`. Files that both versions hold are not read at all, so that
the difference after an append costs as much as what was appended. Which versions there are, and what is kept of
a difference, belongs to `data/versions.py`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb

from tidemill.data.casting import literal, quoted
from tidemill.errors import Corrupt, InvalidInput, NotReady
from tidemill.settings import load_settings
from tidemill.store.tables import Part, TableVersion

KEY = "_row"
EXAMPLES = 20
# Columns that say where a row came from; a row that came again with the same values has not changed.
ORIGIN = {"raw": {"_file", "_line"}, "labels": {"labelled_at", "raw_version"}}
SHOWN_VALUE = 200


@dataclass(frozen=True)
class VersionDiff:
    """What the version `new` has that `old` has not.

    `columns_changed` counts, per column, the changed rows that differ there. `examples` holds, for each of added,
    changed and removed, up to EXAMPLES rows, ordered by `_row`; a changed one maps column to [before, after].
    """

    table: str
    old: int
    new: int
    rows_before: int
    rows_after: int
    added: int
    changed: int
    removed: int
    columns_added: dict[str, str]
    columns_removed: dict[str, str]
    columns_retyped: dict[str, list[str]]
    columns_changed: dict[str, int]
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def unchanged(self) -> int:
        return self.rows_after - self.added - self.changed


def compare(old: TableVersion, new: TableVersion, *, examples: int = EXAMPLES) -> VersionDiff:
    """The difference from `old` to `new`, two versions of one table.

    Raises InvalidInput for a table whose rows have no `_row`, Corrupt when a file of it cannot be read, NotReady
    when memory and disk do not suffice.
    """
    for version in (old, new):
        if version.schema and KEY not in version.schema:
            raise InvalidInput(
                "Versions of this table cannot be compared",
                detail=f"{version.id} has no column {KEY} that tells which row is which",
                remedy="Compare raw, labels or features.",
            )
    with database(new) as con:
        return _Comparison(con, old, new).diff(examples)


@contextmanager
def database(version: TableVersion) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory, bounded by the settings; what does not fit spills beside the table."""
    # The name is that of a draft: what a killed process leaves is swept with the drafts.
    with (
        tempfile.TemporaryDirectory(prefix=".draft-diff-", dir=version.folder) as spill,
        duckdb.connect(config={"memory_limit": load_settings().duckdb_memory, "threads": 2}) as con,
    ):
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET temp_directory = ?", [spill])
        try:
            yield con
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise Corrupt(
                f"A file of {version.table} cannot be read",
                detail=str(error).splitlines()[0],
                remedy=f"Restore {version.folder} from a backup.",
            ) from error
        except duckdb.OutOfMemoryException as error:
            raise NotReady(
                "The versions are too large to compare within the memory limit",
                detail=str(error).splitlines()[0],
                remedy="Raise the setting duckdb_memory, or free space on the disk of the home.",
            ) from error


def rows_of(version: TableVersion, parts: Sequence[Part]) -> str:
    """SQL of the rows in some files of a version; of none, when there are none."""
    if parts:
        listed = ", ".join(literal(str(version.folder / part.path)) for part in parts)
        return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    columns = ", ".join(f"NULL::VARCHAR AS {quoted(name)}" for name in version.schema)
    return f"(SELECT {columns or 'NULL::VARCHAR AS ' + KEY} WHERE false)"


class _Comparison:
    """The queries over one pair of versions."""

    def __init__(self, con: duckdb.DuckDBPyConnection, old: TableVersion, new: TableVersion) -> None:
        self.con, self.old, self.new = con, old, new
        shared = {part.path for part in old.parts} & {part.path for part in new.parts}
        self.before = [part for part in old.parts if part.path not in shared]
        self.after = [part for part in new.parts if part.path not in shared]
        ignored = {KEY} | ORIGIN.get(new.table, set())
        self.compared = [name for name in new.schema if name in old.schema and name not in ignored]

    def diff(self, examples: int) -> VersionDiff:
        added, removed, changed, *each = self._counts()
        by_column = {name: count for name, count in zip(self.compared, each, strict=True) if count}
        shown = {
            "added": self._one_sided("after", added and examples),
            "changed": self._changed(list(by_column), changed and examples),
            "removed": self._one_sided("before", removed and examples),
        }
        was, now = self.old.schema, self.new.schema
        return VersionDiff(
            table=self.new.table,
            old=self.old.version,
            new=self.new.version,
            rows_before=self.old.rows,
            rows_after=self.new.rows,
            added=added,
            changed=changed,
            removed=removed,
            columns_added={name: kind for name, kind in now.items() if name not in was},
            columns_removed={name: kind for name, kind in was.items() if name not in now},
            columns_retyped={n: [was[n], kind] for n, kind in now.items() if n in was and was[n] != kind},
            columns_changed=by_column,
            examples=shown,
        )

    @property
    def _joined(self) -> str:
        before, after = rows_of(self.old, self.before), rows_of(self.new, self.after)
        return (
            f"(SELECT *, true AS here FROM {before}) AS b FULL JOIN (SELECT *, true AS here FROM {after}) AS a "
            f"ON CAST(b.{KEY} AS VARCHAR) = CAST(a.{KEY} AS VARCHAR)"
        )

    def _differs(self, name: str) -> str:
        b, a = f"b.{quoted(name)}", f"a.{quoted(name)}"
        if self.old.schema[name] != self.new.schema[name] or not (self.before and self.after):
            b, a = f"CAST({b} AS VARCHAR)", f"CAST({a} AS VARCHAR)"
        return f"(b.here AND a.here AND {b} IS DISTINCT FROM {a})"

    def _counts(self) -> list[int]:
        differs = [self._differs(name) for name in self.compared]
        counts = ["b.here IS NULL", "a.here IS NULL", " OR ".join(differs) or "false", *differs]
        listed = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in counts)
        (found,) = self.con.execute(f"SELECT {listed} FROM {self._joined}").fetchall()
        return [int(count) for count in found]

    def _one_sided(self, side: str, limit: int) -> list[dict[str, Any]]:
        if not limit:
            return []
        version, mine, other = (self.new, "a", "b") if side == "after" else (self.old, "b", "a")
        names = [name for name in version.schema if name not in ORIGIN.get(version.table, set())]
        listed = ", ".join(f"{mine}.{quoted(name)}" for name in names)
        found = self.con.execute(
            f"SELECT {listed} FROM {self._joined} WHERE {other}.here IS NULL ORDER BY {mine}.{KEY} LIMIT {limit}"
        )
        return [dict(zip(names, map(shown, row), strict=True)) for row in found.fetchall()]

    def _changed(self, names: list[str], limit: int) -> list[dict[str, Any]]:
        if not (limit and names):
            return []
        pairs = ", ".join(f"b.{quoted(n)}, a.{quoted(n)}, {self._differs(n)}" for n in names)
        found = self.con.execute(
            f"SELECT a.{KEY}, {pairs} FROM {self._joined} "
            f"WHERE {' OR '.join(map(self._differs, names))} ORDER BY a.{KEY} LIMIT {limit}"
        )
        rows = []
        for key, *cells in found.fetchall():
            triples = zip(names, cells[::3], cells[1::3], cells[2::3], strict=True)
            rows.append({KEY: key} | {n: [shown(b), shown(a)] for n, b, a, differs in triples if differs})
        return rows


def shown(value: Any) -> Any:
    """`plain` for an example: a cell may hold a megabyte of text."""
    found = plain(value)
    is_long = isinstance(found, str) and len(found) > SHOWN_VALUE
    return found[:SHOWN_VALUE] + "..." if is_long else found


def plain(value: Any) -> Any:
    """`value` as JSON has it: times as ISO 8601, numbers that JSON does not know as text."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
