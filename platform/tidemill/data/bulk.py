"""The bulk of a CSV at DuckDB's speed: stretches in which every line is one row, most of them plainly right.

DuckDB takes a stretch apart, types its cells and tells which rows are plainly right (`data/plain.py`). All others,
and every line that it could not take apart, are given back as they stand, to be read and judged with care: what
becomes of a row is the same either way. A stretch in which lines and rows do not add up is not taken at all, as
one stray quote can swallow a thousand lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.data.casting import literal
from tidemill.data.delimited import MAX_RECORD_LINES, Delimited
from tidemill.data.plain import LONGEST, Marks
from tidemill.data.sieve import Lines, Sieve, Taken
from tidemill.data.source import Row
from tidemill.data.stretches import Mask, Stretch, Stretches
from tidemill.project import CATEGORICAL
from tidemill.store.durable import disk_full_is_an_error

# At so many rows of a stretch it is looked whether lines and rows are still side by side.
LOOKS = 16
TEXTS = CATEGORICAL | {"text"}


class Record(NamedTuple):
    """A record read with care: it begins in line `begin` and ends before line `end`."""

    row: Row | None
    begin: int
    end: int


class Bulk:
    """Takes the stretches of one CSV apart."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        source: Delimited,
        sieve: Sieve,
        scratch: Path,
    ) -> None:
        self.connection = connection
        self.source = source
        self.sieve = sieve
        self.file = scratch / "stretch.csv"

    def take(self, stretch: Stretch, stretches: Stretches) -> Taken | Stretch:
        """The rows of a stretch, the newest of `stretches`; the stretch when DuckDB may not be trusted with it.

        A record that may not end in it is given back to `stretches`, with what follows.
        """
        dialect = self.source.dialect
        if not stretch.is_uniform or (dialect.quoted and stretch.has_space_before_quote(dialect.delimiter)):
            return stretch
        over, begun = self._over_lines(stretch) if dialect.quoted else ([], None)
        if begun is not None and not stretches.is_last:
            if begun == stretch.first_line:
                return stretch
            stretch = stretches.give_back(stretch, begun)
            over = [each for each in over if each.begin < begun]
        lines = self._write(stretch, over)
        try:
            rows = self.sieve.sift(self._cells(stretch), Marks.of(stretch))
            rejected = self._rejected()
        except (duckdb.InvalidInputException, duckdb.ConversionException):
            return stretch  # what it does not take, the careful reader does
        finally:
            self.connection.execute("DROP TABLE IF EXISTS reject_errors")
            self.connection.execute("DROP TABLE IF EXISTS reject_scans")
            self.file.unlink()
        if rows.num_rows + len(rejected) != len(lines):
            return stretch
        odd = [int(lines[line - 1]) for line in rejected]
        lines = np.delete(lines, np.array(rejected, dtype=np.int64) - 1)
        if not self._are_those(rows, stretch, lines):
            return stretch
        return self._sorted_out(stretch, rows, lines, odd, [each.row for each in over if each.row])

    def _over_lines(self, stretch: Stretch) -> tuple[list[Record], int | None]:
        """The records that begin in lines with an odd number of quotes, and where one begins that may go on."""
        found: list[Record] = []
        behind = stretch.first_line
        for line in stretch.with_odd_quotes():
            if line < behind:
                continue
            row, behind = self.source.record(stretch, line)
            found.append(Record(row, line, behind))
        last = stretch.first_line + stretch.lines
        # What looks broken at the end of the stretch may be whole with the lines that follow.
        begun = next((each.begin for each in found if last - each.begin < MAX_RECORD_LINES), None)
        return found, begun

    def _write(self, stretch: Stretch, without: Sequence[Record]) -> Lines:
        """Write the lines that are not those of some records where DuckDB finds them, and give their numbers."""
        keep = np.ones(stretch.lines, dtype=bool)
        with disk_full_is_an_error(self.file), self.file.open("wb") as handle:
            written = stretch.first_line
            for record in without:
                keep[record.begin - stretch.first_line : record.end - stretch.first_line] = False
                handle.write(stretch.content[stretch.start(written) : stretch.start(record.begin)])
                written = record.end
            handle.write(stretch.content[stretch.start(written) :])
        return np.flatnonzero(keep) + stretch.first_line

    def _cells(self, stretch: Stretch) -> str:
        dialect = self.source.dialect
        names = ", ".join(f"'_c{i}': 'VARCHAR'" for i in range(self.source.width))
        quote = literal('"' if dialect.quoted else "")
        read = (
            f"read_csv({literal(str(self.file))}, columns = {{{names}}}, auto_detect = false, header = false, "
            f"delim = {literal(dialect.delimiter)}, quote = {quote}, escape = {quote}, "
            f"new_line = '{stretch.newline}', store_rejects = true)"
        )
        return f"(SELECT *{self.sieve.absent()} FROM {read})"

    def _rejected(self) -> list[int]:
        """The lines of the stretch that DuckDB could not take apart, from 1."""
        found = self.connection.execute("SELECT DISTINCT line FROM reject_errors ORDER BY line").fetchall()
        return [int(line) for (line,) in found]

    def _are_those(self, rows: pa.Table, stretch: Stretch, lines: Lines) -> bool:
        """Whether the rows are those of `lines`, in their order, wherever one looks.

        They are as long as the query only maps rows to rows; a plan that joins would shuffle them, and each row
        would pass for another line.
        """
        texts = [i for _, column, i in self.sieve.columns if i < self.source.width and column.type in TEXTS]
        for place in np.linspace(0, max(len(lines) - 1, 0), min(LOOKS, len(lines)), dtype=np.int64).tolist():
            row = next(self.source.line(int(lines[place]), stretch.line(int(lines[place]))), None)
            if row is None or row.fault is not None:
                continue
            found = [rows.column(f"t{i}")[place].as_py() for i in texts]
            if any(text is not None and text != row.cells[i] for i, text in zip(texts, found, strict=True)):
                return False
        return True

    def _sorted_out(
        self, stretch: Stretch, rows: pa.Table, lines: Lines, odd: list[int], read: list[Row]
    ) -> Taken:
        """What DuckDB made of `lines`, beside the `odd` ones that it left and rows that were `read` with care."""
        cells = rows.column("cells").combine_chunks()
        rows = rows.drop_columns(["cells"]).append_column("line", pa.array(lines))
        good = pc.is_null(cells).to_numpy(zero_copy_only=False)
        closed = self._closed_too_far(stretch, rows, lines, good)
        if not odd and not closed and not read and good.all():
            return Taken(rows, good, self.sieve.no_cells(), [])
        doubtful = self.sieve.apart(cells.filter(pa.array(~good)), lines[~good])
        odd = sorted({*odd, *closed, *_too_long_or_blank(doubtful)})
        doubtful = doubtful.filter(pc.invert(pc.is_in(doubtful.column("line"), pa.array(odd, pa.int64()))))
        read = read + [row for number in odd for row in self.source.line(number, stretch.line(number))]
        whole = self._as_cells([row for row in read if row.fault is None])
        good &= ~np.isin(lines, odd)
        return Taken(
            rows,
            good,
            pa.concat_tables([doubtful, whole]),
            [row for row in read if row.fault is not None],
        )

    def _closed_too_far(self, stretch: Stretch, rows: pa.Table, lines: Lines, good: Mask) -> list[int]:
        """The lines that end in a delimiter too many, behind which DuckDB sees no cell and other readers do."""
        delimiter, width = self.source.dialect.delimiter, self.source.width
        once, twice = (ends[lines - stretch.first_line] for ends in stretch.closed_by(delimiter))
        if not once.any():
            return []
        # One is right where the last cell is empty, two where the one before is as well: those are counted.
        last = next((i for *_, i in self.sieve.columns if i == width - 1), None)
        filled = rows.column(f"t{last}").is_valid().to_numpy() if last is not None else True
        suspects = lines[twice | (once & (filled | ~good))].tolist()
        return [line for line in suspects if stretch.count(delimiter, line) != width - 1]

    def _as_cells(self, rows: list[Row]) -> pa.Table:
        if not rows:
            return self.sieve.no_cells()
        columns = zip(*(row.cells for row in rows), strict=True)
        lines = pa.array([row.line for row in rows], pa.int64())
        return pa.table([lines, *(pa.array(cells, pa.string()) for cells in columns)], names=self.sieve.names)


def _too_long_or_blank(table: pa.Table) -> list[int]:
    """The lines of rows with a cell that the reader of records may not take, or with nothing in any."""
    longest = np.zeros(table.num_rows, dtype=np.int64)
    for name in table.column_names[1:]:
        lengths = pc.fill_null(pc.utf8_length(table.column(name)), 0)
        longest = np.maximum(longest, lengths.to_numpy())
    found = table.column("line").filter(pa.array((longest >= LONGEST) | (longest == 0)))
    return [int(line) for line in found.to_pylist()]
