"""The bulk of a CSV at Arrow's speed: stretches in which every line is one row.

pyarrow's reader takes lines apart into texts where the bytes show that it reads them as `data/delimited.py` does:
quotes enclose whole cells, and no cell goes over lines. Every other line, and every row of another width, is read
with care. What the texts mean is told by `data/sieve.py`: what becomes of a row is
the same either way. A stretch whose lines and rows do not add up is not taken at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from tidemill.data.delimited import MAX_RECORD_LINES, Delimited
from tidemill.data.sieve import Lines, Sieve, Taken
from tidemill.data.source import Row
from tidemill.data.stretches import Mask, Stretch, Stretches

# Where more than one line in so many needs care, care is no slower for all of them.
WORTH = 8
# The reader takes a block at a time, which must hold the longest line; blocks of 32 MB cost twice as much.
BLOCK = 4 << 20


class Record(NamedTuple):
    """A record read with care: it begins in line `begin` and ends before line `end`."""

    row: Row | None
    begin: int
    end: int


class Bulk:
    """Takes the stretches of one CSV apart."""

    def __init__(self, source: Delimited, sieve: Sieve) -> None:
        self.source = source
        self.sieve = sieve
        self.names = sieve.names[1:]

    def take(self, stretch: Stretch, stretches: Stretches) -> Taken | Stretch:
        """The rows of a stretch, the newest of `stretches`; the stretch when Arrow may not be trusted with it.

        A record that may not end in it is given back to `stretches`, with what follows.
        """
        dialect = self.source.dialect
        if not stretch.is_uniform or len(dialect.delimiter.encode()) > 1:
            return stretch
        doubtful = stretch.doubtful_lines(dialect.delimiter if dialect.quoted else None)
        if len(doubtful) > stretch.lines // WORTH + WORTH:
            return stretch
        over, begun = self._over_lines(stretch, doubtful)
        if begun is not None and not stretches.is_last:
            if begun == stretch.first_line:
                return stretch
            stretch = stretches.give_back(stretch, begun)
            over = [each for each in over if each.begin < begun]
        lines = self._lines(stretch, over)
        with stretch.blanked([(each.begin, each.end) for each in over]):
            cells, wrong = self._texts(stretch.content) if len(lines) else self._no_texts()
        if cells.num_rows + len(wrong) != len(lines):
            return stretch
        odd = lines[wrong]
        cells = cells.add_column(0, "line", pa.array(np.delete(lines, wrong)))
        if (blank := _blank(cells)).any():
            odd = np.sort(np.append(odd, cells.column("line").to_numpy()[blank]))
            cells = cells.filter(pa.array(~blank))
        again = [row for number in odd.tolist() for row in self.source.line(number, stretch.line(number))]
        return self._sifted(cells, [each.row for each in over if each.row] + again)

    def _over_lines(self, stretch: Stretch, doubtful: Sequence[int]) -> tuple[list[Record], int | None]:
        """The records that begin in `doubtful` lines, and where one begins that may go on."""
        found: list[Record] = []
        behind = stretch.first_line
        for line in doubtful:
            if line < behind:
                continue
            row, behind = self.source.record(stretch, line)
            found.append(Record(row, line, behind))
        last = stretch.first_line + stretch.lines
        # What looks broken at the end of the stretch may be whole with the lines that follow.
        begun = next((each.begin for each in found if last - each.begin < MAX_RECORD_LINES), None)
        return found, begun

    def _lines(self, stretch: Stretch, without: Sequence[Record]) -> Lines:
        """The numbers of the lines that are neither blank nor those of some records."""
        keep = ~stretch.blank_lines
        for record in without:
            keep[record.begin - stretch.first_line : record.end - stretch.first_line] = False
        return np.flatnonzero(keep) + stretch.first_line

    def _texts(self, text: memoryview) -> tuple[pa.Table, Lines]:
        """The rows of lines that are plainly one record each, NULL where a cell is empty; and which of the lines
        that are not blank, from 0, have another width than the header."""
        wrong: list[int] = []

        def note(row: arrow_csv.InvalidRow) -> str:
            wrong.append(row.number - 1)
            return "skip"

        dialect = self.source.dialect
        cells = arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(text)),
            # One thread, as rows have no number with more.
            arrow_csv.ReadOptions(column_names=self.names, use_threads=False, block_size=BLOCK),
            arrow_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char='"' if dialect.quoted else False,
                invalid_row_handler=note,
            ),
            # The text is UTF-8 by now: it was decoded once.
            arrow_csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(self.names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        return cells, np.array(wrong, dtype=np.int64)

    def _no_texts(self) -> tuple[pa.Table, Lines]:
        return self.sieve.no_cells().drop_columns("line"), np.zeros(0, dtype=np.int64)

    def _sifted(self, cells: pa.Table, read: Sequence[Row]) -> Taken:
        """What becomes of `cells`, beside rows that were `read` with care."""
        taken = self.sieve.take(cells)
        if not read:
            return taken
        whole = self._as_cells([row for row in read if row.fault is None])
        return Taken(
            taken.rows,
            taken.good,
            pa.concat_tables([taken.doubtful, whole]),
            [row for row in read if row.fault is not None],
        )

    def _as_cells(self, rows: list[Row]) -> pa.Table:
        if not rows:
            return self.sieve.no_cells()
        columns = zip(*(row.cells for row in rows), strict=True)
        lines = pa.array([row.line for row in rows], pa.int64())
        return pa.table([lines, *(pa.array(cells, pa.string()) for cells in columns)], names=self.sieve.names)


def _blank(cells: pa.Table) -> Mask:
    """Which rows have nothing in any cell."""
    blank = np.ones(cells.num_rows, dtype=bool)
    for column in sorted(cells.columns[1:], key=lambda column: column.null_count):
        if not column.null_count:
            return np.zeros(cells.num_rows, dtype=bool)
        blank &= pc.is_null(column).to_numpy()
    return blank
