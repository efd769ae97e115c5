"""Values that may occur once: doubles are found by 64-bit hashes, and judged by the values themselves.

Here belongs finding which accepted rows of a file repeat a value of an earlier row, or of the table so far. Eight
bytes a value are kept while rows stream by; rows whose hash was met before are held back, and only their values are
compared, so that a hash which two values share costs a look and no row. Values that rise from row to row, as many
numbers do, cannot repeat: hashes are sorted only where they do not rise.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.data.casting import Broken, literal, quoted

Hashes = npt.NDArray[np.uint64]
BATCH = 500_000
# Of values said to rise, so many need not: each is looked for among all that are near it.
FALLING_SHARE = 0.0005
FALLING = 8


@dataclass(frozen=True)
class Double:
    """A row whose value stands elsewhere already."""

    line: int
    column: str
    value: str
    code: Broken


class Unique:
    """Which of the rows that stream by may repeat a value of the unique columns `names`.

    `known` are the Parquet files of the table so far. What looks like a double is held back until all rows are
    written, and judged then.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, names: Sequence[str], known: Sequence[str] = ()
    ) -> None:
        self.connection = connection
        self.names = list(names)
        self.known = list(known)
        self._seen = {name: _Seen() for name in self.names}
        # Of the table so far only hashes are known, and not what is greater.
        self._rising = {} if self.known else {name: _Rising() for name in self.names}
        self._held: list[pa.Table] = []
        for name, seen in self._seen.items():
            for hashes in self._hashes_of(name):
                seen.add(hashes)

    def doubtful(
        self, columns: Mapping[str, tuple[pa.ChunkedArray, pa.ChunkedArray]], keep: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Which of the next rows may repeat a value, by the values of each unique column and their hashes.

        Rows that are not to `keep` are no rows of the table: their values are not noted.
        """
        found = np.zeros(len(keep), dtype=bool)
        for name in self.names:
            values, column = columns[name]
            there = keep & column.is_valid().to_numpy()
            hashes = np.asarray(column.fill_null(0).to_numpy(), dtype=np.uint64)[there]
            found[there] = found[there] | self._met(name, values.filter(pa.array(there)), hashes)
        return found

    def _met(self, name: str, values: pa.ChunkedArray, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the next values may be those of earlier rows, or earlier among them."""
        if (rising := self._rising.get(name)) is not None:
            if (met := rising.met(values, hashes)) is not None:
                return met
            for piece in self._rising.pop(name).pieces:
                self._seen[name].add(piece.hashes)
        return self._seen[name].met(hashes)

    def hold_back(self, rows: pa.Table) -> None:
        """Keep doubtful rows until all others are written."""
        self._held.append(rows)

    @property
    def has_held(self) -> bool:
        return bool(self._held)

    def judge(self, written: str | None) -> tuple[pa.Table, list[Double]]:
        """Of the rows held back those that are no doubles after all, and the doubles.

        `written` is the Parquet file of the rows that were not held back. The rows are judged in their order, as
        if they came one by one: one that is out leaves no value behind.
        """
        rows = pa.concat_tables(self._held).combine_chunks()
        taken = {name: self._taken(name, rows, written) for name in self.names}
        keep = np.ones(rows.num_rows, dtype=bool)
        doubles = []
        columns = [(name, rows.column(name).to_pylist(), self._texts(rows, name)) for name in self.names]
        for place, line in enumerate(rows.column("_line").to_pylist()):
            found = next(
                ((name, texts) for name, values, texts in columns if values[place] in taken[name]), None
            )
            if found is not None:
                name, texts = found
                code = Broken.TWICE if taken[name][rows.column(name)[place].as_py()] else Broken.KNOWN
                doubles.append(Double(line, name, texts[place], code))
                keep[place] = False
                continue
            for name, values, _ in columns:
                if values[place] is not None:
                    taken[name][values[place]] = True
        return rows.filter(pa.array(keep)), doubles

    def _texts(self, rows: pa.Table, name: str) -> list[str]:
        self.connection.register("held", rows.select([name]))
        found = self.connection.execute(f"SELECT CAST({quoted(name)} AS VARCHAR) FROM held").fetchall()
        self.connection.unregister("held")
        return [text for (text,) in found]

    def _taken(self, name: str, rows: pa.Table, written: str | None) -> dict[object, bool]:
        """The values among those of `rows` that are there already: True when they stand in this file."""
        self.connection.register("held", rows.select([name]))
        found: dict[object, bool] = {}
        for here, paths in ((False, self.known), (True, [written] if written else [])):
            if not paths:
                continue
            value = quoted(name)
            query = (
                f"SELECT DISTINCT {value} FROM {_parquet(paths)} WHERE {value} IN (SELECT {value} FROM held)"
            )
            found |= {value: here for (value,) in self.connection.execute(query).fetchall()}
        self.connection.unregister("held")
        return found

    def _hashes_of(self, name: str) -> Iterator[Hashes]:
        if not self.known:
            return
        query = (
            f"SELECT hash({quoted(name)}) AS h FROM {_parquet(self.known)} WHERE {quoted(name)} IS NOT NULL"
        )
        for batch in self.connection.sql(query).to_arrow_reader(BATCH):
            yield batch.column(0).to_numpy()


@dataclass(frozen=True)
class _Piece:
    """The hashes of values that lie between `least` and `greatest`."""

    least: Any
    greatest: Any
    hashes: Hashes


class _Rising:
    """Values of which nearly each is greater than all before it, and so was not among them."""

    def __init__(self) -> None:
        self.pieces: list[_Piece] = []

    def met(self, values: pa.ChunkedArray, hashes: Hashes) -> npt.NDArray[np.bool_] | None:
        """Which of `values` were there before, or earlier in them, as their `hashes` say. Then they are noted.

        None, and nothing is noted, when more than a few must be looked for.
        """
        found = np.zeros(len(values), dtype=bool)
        if not len(values):
            return found
        most = int(len(values) * FALLING_SHARE) + FALLING
        falls = np.flatnonzero(~pc.less(values[:-1], values[1:]).to_numpy())
        if len(falls) > most:
            return None
        edges = [0, *(falls + 1).tolist(), len(values)]
        greatest = max((piece.greatest for piece in self.pieces), default=None)
        suspects: list[int] = []
        for start, end in pairwise(edges):
            if greatest is not None:
                # Within such a run values rise: those that are not greater are its first.
                behind = bisect_right(values, greatest, start, end, key=lambda scalar: scalar.as_py())
                suspects += range(start, min(behind, start + most + 1))
            last = values[end - 1].as_py()
            greatest = last if greatest is None else max(greatest, last)
        if len(suspects) > most:
            return None
        for place in suspects:
            found[place] = self._was_there(values[place].as_py(), hashes[place], hashes[:place])
        least = min(values[start].as_py() for start in edges[:-1])
        self.pieces.append(_Piece(least, max(values[end - 1].as_py() for end in edges[1:]), hashes))
        return found

    def _was_there(self, value: Any, code: np.uint64, earlier: Hashes) -> bool:
        within = [piece.hashes for piece in self.pieces if piece.least <= value <= piece.greatest]
        return any(bool((hashes == code).any()) for hashes in (earlier, *within))


class _Seen:
    """Hashes met so far, in sorted runs of which each is at least twice as long as the next."""

    def __init__(self) -> None:
        self.runs: list[Hashes] = []

    def met(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of `hashes` were there before, or earlier in them. Then they are noted, too."""
        ordered = np.sort(hashes)
        there = np.zeros(len(ordered), dtype=bool)
        for run in self.runs:
            there |= run[np.minimum(np.searchsorted(run, ordered), len(run) - 1)] == ordered
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        before, twice = np.unique(ordered[there]), np.unique(twice)
        self._note(ordered)
        # Hashes met again are few: places are sought for those alone, as sorting places costs the most.
        found = _among(hashes, before)
        again = np.flatnonzero(_among(hashes, twice))
        _, first = np.unique(hashes[again], return_index=True)
        found[np.delete(again, first)] = True
        return found

    def add(self, hashes: Hashes) -> None:
        self._note(np.sort(hashes))

    def _note(self, ordered: Hashes) -> None:
        if len(ordered):
            self.runs.append(ordered)
        while len(self.runs) > 1 and len(self.runs[-2]) < 2 * len(self.runs[-1]):
            last = self.runs.pop()
            merged = np.concatenate((self.runs.pop(), last))
            merged.sort(kind="stable")  # runs that are sorted are merged
            self.runs.append(merged)


def _among(hashes: Hashes, few: Hashes) -> npt.NDArray[np.bool_]:
    """Which of `hashes` are some of a `few`, which are sorted."""
    if not len(few):
        return np.zeros(len(hashes), dtype=bool)
    found: npt.NDArray[np.bool_] = few[np.minimum(np.searchsorted(few, hashes), len(few) - 1)] == hashes
    return found


def _parquet(paths: Sequence[str]) -> str:
    listed = ", ".join(literal(path) for path in paths)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
