"""Putting the rows of a file in the place of rows with the same id, in a table that never changes.

Files of the table in which no row is replaced stay as they are; the others are written anew without the replaced
rows. What is accepted at all was decided before (`data/accept.py`); publishing is `data/ingest.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from tidemill.data.casting import literal, quoted
from tidemill.errors import ContractViolation
from tidemill.store.tables import TableDraft

KEY = "_row"
ORIGIN = ("_file", "_line")  # a row that comes again with the same values has not changed
BATCH_ROWS = 50_000


@dataclass(frozen=True)
class Upsert:
    """What became of the rows of a file, and which of the files before it stay as they are."""

    added: int
    changed: int
    unchanged: int
    kept: list[str]

    @property
    def counts(self) -> dict[str, int]:
        return {"added": self.added, "changed": self.changed, "unchanged": self.unchanged}


def upsert(
    con: duckdb.DuckDBPyConnection, draft: TableDraft, old: Sequence[str], unique: Sequence[str]
) -> Upsert:
    """Let the last part of `draft`, the rows of a file, replace rows of the Parquet files `old` by their `_row`.

    Afterwards the table is the files `kept` and the parts of `draft`. Rows that came again unchanged stay where
    they were. Raises ContractViolation when a value of a column in `unique` would be there twice.
    """
    assert draft.schema is not None
    new = str(draft.folder / draft.parts[-1].path)
    _judge(con, old, new, [name for name in draft.schema.names if name not in (KEY, *ORIGIN)])
    counts = dict(con.execute("SELECT verdict, count(*) FROM verdicts GROUP BY 1").fetchall())
    kept = [path for path in old if not _is_touched(con, path)]
    written = len(draft.parts) - 1
    for path in old:
        if path not in kept:
            draft.write(_rows_without(con, path, "changed", draft.schema))
    if counts.get("unchanged"):
        draft.write(_rows_without(con, new, "unchanged", draft.schema))
        draft.remove(draft.parts[written])
    replaced = {Path(path) for path in old} - {Path(path) for path in kept}
    for part in [part for part in draft.parts if draft.folder / part.path in replaced]:
        draft.remove(part)
    _check_unique(con, {*kept, *(str(draft.folder / part.path) for part in draft.parts)}, unique)
    return Upsert(counts.get("added", 0), counts.get("changed", 0), counts.get("unchanged", 0), kept)


def _judge(con: duckdb.DuckDBPyConnection, old: Sequence[str], new: str, names: Sequence[str]) -> None:
    """Make the table `verdicts`: each row of the file is added, changed or unchanged."""
    same = " AND ".join(f"o.{quoted(name)} IS NOT DISTINCT FROM n.{quoted(name)}" for name in names) or "true"
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE verdicts AS SELECT n.{KEY}, CASE WHEN o.{KEY} IS NULL THEN 'added' "
        f"WHEN {same} THEN 'unchanged' ELSE 'changed' END AS verdict "
        f"FROM {_parquet([new])} AS n LEFT JOIN {_parquet(old)} AS o ON o.{KEY} = n.{KEY}"
    )


def _is_touched(con: duckdb.DuckDBPyConnection, path: str) -> bool:
    ((found,),) = con.execute(
        f"SELECT EXISTS (SELECT 1 FROM {_parquet([path])} SEMI JOIN "
        f"(SELECT {KEY} FROM verdicts WHERE verdict = 'changed') USING ({KEY}))"
    ).fetchall()
    return bool(found)


def _rows_without(
    con: duckdb.DuckDBPyConnection, path: str, verdict: str, schema: pa.Schema
) -> Iterator[pa.Table]:
    """The rows of a file in their order, without those of that verdict."""
    columns = ", ".join(quoted(name) for name in schema.names)
    found = con.sql(
        f"SELECT {columns} FROM read_parquet({literal(path)}, file_row_number = true, hive_partitioning = false) "
        f"ANTI JOIN (SELECT {KEY} FROM verdicts WHERE verdict = {literal(verdict)}) USING ({KEY}) "
        "ORDER BY file_row_number"
    )
    for batch in found.to_arrow_reader(BATCH_ROWS):
        if batch.num_rows:
            yield pa.Table.from_batches([batch]).cast(schema)


def _check_unique(con: duckdb.DuckDBPyConnection, paths: set[str], unique: Sequence[str]) -> None:
    for name in unique:
        value = quoted(name)
        found = con.execute(
            f"SELECT CAST({value} AS VARCHAR), count(*) FROM {_parquet(sorted(paths))} WHERE {value} IS NOT NULL "
            f"GROUP BY {value} HAVING count(*) > 1 ORDER BY {value} LIMIT 1"
        ).fetchall()
        if found:
            value, count = found[0]
            raise ContractViolation(
                "A value that may occur once only would be there twice",
                detail=f"column {name}: {value!r} would stand in {count} rows with different ids",
                remedy="Mend the file: give the value to one row only, and send every row that changes.",
            )


def _parquet(paths: Sequence[str]) -> str:
    listed = ", ".join(literal(path) for path in paths)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
