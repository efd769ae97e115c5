"""From a stream of rows to DuckDB: chunks of cells as Arrow strings, and the database that works on them.

Here belongs how rows travel, in bounded memory. What is asked of them is SQL of `data/casting.py`, put together
by `data/ingest.py` and `data/infer.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from heapq import merge
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from tidemill.data.cell_texts import texts_of
from tidemill.data.source import Row, SourceFile
from tidemill.settings import load_settings

CHUNK_ROWS = 20_000
CHUNK_CHARACTERS = 32_000_000


@dataclass(frozen=True)
class Chunk:
    """Rows that could be read, as `line` and the cells `c0`, `c1`, ...; and the rows that could not.

    The cells of a column in `values` are texts, or all of one type that says the same (`data/cell_texts.py`).
    """

    values: pa.Table
    faults: list[Row]

    @property
    def rows(self) -> int:
        return int(self.values.num_rows) + len(self.faults)

    @cached_property
    def cells(self) -> pa.Table:
        """The rows that could be read, every cell a text."""
        return as_texts(self.values)

    def in_order(self) -> Iterator[Row]:
        """The rows by their line, each with its cells or its fault."""
        columns = [column.to_pylist() for column in self.cells.columns]
        good = (Row(line, list(cells)) for line, *cells in zip(*columns, strict=True))
        return merge(good, sorted(self.faults, key=_line), key=_line)


def as_texts(values: pa.Table, only: Collection[str] | None = None) -> pa.Table:
    """The cells of rows as texts, in the columns `only` or in all; `line` stays a number."""
    for place, name in enumerate(values.column_names):
        column = values.column(place)
        if name != "line" and column.type != pa.string() and (only is None or name in only):
            values = values.set_column(place, name, texts_of(column.combine_chunks()))
    return values


def _line(row: Row) -> int:
    return row.line


class InPieces(Iterator[Row]):
    """The rows of a source that need not make a Python object of each cell. `pieces` and the rows are one stream:
    take either."""

    def __init__(self, pieces: Iterator[Chunk]) -> None:
        self.pieces = pieces
        self._rows = (row for piece in pieces for row in piece.in_order())

    def __next__(self) -> Row:
        return next(self._rows)


def chunks(source: SourceFile) -> Iterator[Chunk]:
    """The rows of a source in pieces small enough to hold."""
    if isinstance(source.rows, InPieces):
        yield from source.rows.pieces
        return
    width = len(source.columns)
    good: list[Row] = []
    faults: list[Row] = []
    size = 0
    for row in source.rows:
        if row.fault is None:
            good.append(row)
            size += sum(len(cell) for cell in row.cells if cell is not None)
        else:
            faults.append(row)
        if len(good) + len(faults) >= CHUNK_ROWS or size >= CHUNK_CHARACTERS:
            yield Chunk(_table(good, width), faults)
            good, faults, size = [], [], 0
    if good or faults:
        yield Chunk(_table(good, width), faults)


def _table(rows: list[Row], width: int) -> pa.Table:
    columns = list(zip(*(row.cells for row in rows), strict=True)) if rows else [()] * width
    arrays = [pa.array([row.line for row in rows], pa.int64())]
    arrays += [pa.array(column, pa.string()) for column in columns]
    return pa.table(arrays, names=["line", *(f"c{index}" for index in range(width))])


@contextmanager
def workbench(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory, with the memory limit of the settings; what does not fit spills under `scratch`."""
    scratch.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix=".duckdb-", dir=scratch) as spill,
        duckdb.connect(config={"memory_limit": load_settings().duckdb_memory}) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET threads = 2")
        # Rows keep their order as long as nothing is joined, and an IN of some words would be.
        connection.execute("SET disabled_optimizers = 'in_clause'")
        connection.execute("SET temp_directory = ?", [spill])
        yield connection
