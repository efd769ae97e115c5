"""Values that may occur once: doubles are found by 64-bit hashes, and judged by the values themselves.

Here belongs finding which accepted rows of a file repeat a value of an earlier row, or of the table so far. Eight
bytes a value are kept while rows stream by; only where two hashes are alike are values compared, so that a hash
that two values share costs a look and no row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidemill.data.casting import Broken, literal, quoted

Hashes = npt.NDArray[np.uint64]
BATCH = 500_000


@dataclass(frozen=True)
class Double:
    """A row whose value stands elsewhere already: `place` is its number in the file of accepted rows, from 0."""

    place: int
    line: int
    column: str
    value: str
    code: Broken


class Unique:
    """The hashes of the unique columns `names` of the rows written so far, in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._hashes: dict[str, list[Hashes]] = {name: [] for name in names}

    def add(self, name: str, hashes: pa.ChunkedArray) -> None:
        """Note the hashes (uint64) of the next rows of one column; NULL where the value is missing."""
        self._hashes[name].append(np.asarray(hashes.fill_null(0).to_numpy(), dtype=np.uint64))

    def doubles(
        self, connection: duckdb.DuckDBPyConnection, written: str, known: Sequence[str]
    ) -> list[Double]:
        """The rows of the Parquet file `written` that repeat a value of an earlier row or of the files `known`.

        In the order of the rows, for each the first of its columns: as if rows came one by one, and a row that is
        out leaves no value behind.
        """
        suspects = {name: self._suspects(connection, name, known) for name in self.names}
        if not any(len(found) for found in suspects.values()):
            return []
        for index, found in enumerate(suspects.values()):
            connection.register(f"suspects{index}", pa.table({"h": found}))
        try:
            return self._judged(connection, written, known)
        finally:
            for index in range(len(suspects)):
                connection.unregister(f"suspects{index}")

    def _suspects(self, connection: duckdb.DuckDBPyConnection, name: str, known: Sequence[str]) -> Hashes:
        """The hashes that occur twice, here or in the files `known`."""
        parts = self._hashes[name]
        ordered = np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.uint64)
        twice = [ordered[1:][ordered[1:] == ordered[:-1]]]
        for hashes in self._hashes_of(connection, name, known) if len(ordered) else ():
            hashes.sort()
            places = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
            twice.append(hashes[ordered[places] == hashes])
        found: Hashes = np.unique(np.concatenate(twice))
        suspects: Hashes = found[found != 0]
        return suspects

    def _hashes_of(
        self, connection: duckdb.DuckDBPyConnection, name: str, known: Sequence[str]
    ) -> Iterator[Hashes]:
        if not known:
            return
        query = f"SELECT hash({quoted(name)}) AS h FROM {_parquet(known)} WHERE {quoted(name)} IS NOT NULL"
        for batch in connection.sql(query).to_arrow_reader(BATCH):
            yield batch.column(0).to_numpy().copy()

    def _judged(
        self, connection: duckdb.DuckDBPyConnection, written: str, known: Sequence[str]
    ) -> list[Double]:
        held = {name: self._held(connection, name, index, known) for index, name in enumerate(self.names)}
        seen: dict[str, set[object]] = {name: set() for name in self.names}
        hit = " OR ".join(
            f"hash({quoted(name)}) IN (SELECT h FROM suspects{index})"
            for index, name in enumerate(self.names)
        )
        values = ", ".join(f"{quoted(name)}, CAST({quoted(name)} AS VARCHAR)" for name in self.names)
        cursor = connection.execute(
            f"SELECT file_row_number, _line, {values} FROM "
            f"read_parquet({literal(written)}, file_row_number = true, hive_partitioning = false) "
            f"WHERE {hit} ORDER BY file_row_number"
        )
        found = []
        while rows := cursor.fetchmany(BATCH):
            for place, line, *pairs in rows:
                own = {
                    name: (value, text)
                    for name, value, text in zip(self.names, pairs[::2], pairs[1::2], strict=True)
                    if value is not None
                }
                double = next(
                    (
                        Double(place, line, name, text, Broken.TWICE if value in seen[name] else Broken.KNOWN)
                        for name, (value, text) in own.items()
                        if value in seen[name] or value in held[name]
                    ),
                    None,
                )
                if double is not None:
                    found.append(double)
                    continue
                for name, (value, _) in own.items():
                    seen[name].add(value)
        return found

    def _held(
        self, connection: duckdb.DuckDBPyConnection, name: str, index: int, known: Sequence[str]
    ) -> set[object]:
        """The values of the files `known` whose hashes are under suspicion."""
        if not known:
            return set()
        found = connection.execute(
            f"SELECT DISTINCT {quoted(name)} FROM {_parquet(known)} "
            f"WHERE hash({quoted(name)}) IN (SELECT h FROM suspects{index})"
        )
        return {value for (value,) in found.fetchall()}


def _parquet(paths: Sequence[str]) -> str:
    listed = ", ".join(literal(path) for path in paths)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
