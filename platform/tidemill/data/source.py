"""What an open source file is: a stream of rows, each as cells or as a fault, whatever the format.

The shapes that both readers give. Choosing a reader is `data/read.py`; the readers are `data/delimited.py` and
`data/workbook.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tidemill.errors import InvalidInput

if TYPE_CHECKING:
    from tidemill.data.delimited import Delimited


class Fault(NamedTuple):
    """Why a row cannot be read: `column` is "" when the row as a whole is at fault.

    `cells` are those that the row could be split into, though they are too many or otherwise wrong; none when it
    could not be split.
    """

    column: str
    value: str
    reason: str
    cells: Sequence[str | None] = ()


BLANK_ROW = Fault("", "", "every cell of the row is empty")


class Row(NamedTuple):
    """One row of a file: `line` is where it starts, counted from 1. With a fault, `cells` is empty.

    An empty cell is None; any other cell is its text, as written in a CSV, or as `data/workbook.py` says.
    """

    line: int
    cells: list[str | None]
    fault: Fault | None = None


class Place(NamedTuple):
    """Where a file lies, and what people call it."""

    path: Path
    name: str


@dataclass(frozen=True)
class SourceFile:
    """An open source file. `rows` streams it once; each row has as many cells as there are columns.

    `name` is what people call the file, `decimal` the mark in its numbers, `.` or `,`. `encoding` and
    `delimiter` are those of a CSV, `sheet` that of a workbook; `merged` counts the merged ranges of that sheet,
    of which the first cell alone holds the value; `errors_unseen` says that its cells of errors (`#N/A`) could not
    be told from empty ones. `delimited` gives the rows of a CSV in stretches. `head` are the cells of the header as
    they stand; `repairs` is the id of the file whose rejected rows this one brings again.

    `as_it_stands` is False when `rows` differ from the records below the header line: who reads those past `rows`
    gets something else.
    """

    name: str
    columns: list[str]
    format: str
    rows: Iterator[Row]
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    decimal: str = "."
    header_row: int = 1
    merged: int = 0
    errors_unseen: bool = False
    head: Sequence[str | None] = ()
    repairs: str | None = None
    as_it_stands: bool = True
    delimited: Delimited | None = None

    @property
    def found(self) -> dict[str, str | int]:
        """How the file is written, as people may want to see it."""
        known = {
            "format": self.format,
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "decimal": self.decimal if self.format == "csv" else None,
            "sheet": self.sheet,
            "header_row": self.header_row if self.header_row > 1 else None,
            "merged_ranges": self.merged or None,
            "error_cells": "read as empty" if self.errors_unseen else None,
            "repairs": self.repairs,
        }
        return {name: value for name, value in known.items() if value is not None}


def empty_file(name: str) -> InvalidInput:
    return InvalidInput(
        "The file is empty",
        detail=f"{name} holds no header and no rows",
        remedy="Send a file whose first line names the columns.",
    )
