"""Rejected rows as files for people: why each was rejected, and the rows themselves, to be mended and sent again.

Here belong the two downloads of a file, made on demand from its list of rejects and its kept original, and which
files still lack rows. How a repair file is read when it comes back is `data/header.py`: its columns of ours are
passed over, and a cell that was guarded against spreadsheets is as it was.

In a repair file cells stand as in the original, with its delimiter and in the project's encoding, so that it is
read as the original was. It holds the rejected rows; all rows where the table holds none of the others, because
the file was refused or the next file replaces the table.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from tidemill.data.accept import REJECT_HEADER
from tidemill.data.formula import guarded, harmless
from tidemill.data.header import REPAIR_COLUMNS
from tidemill.data.ingest import safe_name
from tidemill.data.ledger import rejects_file
from tidemill.data.read import open_source
from tidemill.data.source import Row, SourceFile
from tidemill.errors import Conflict, Corrupt, NotFound
from tidemill.home import Home
from tidemill.project import NUMERIC, Project

PIECE = 1 << 16
POINT = re.compile(r"[+-]?[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?")

# How a reader of workbooks names the cell that holds an error, and how it is shown.
ERROR_PLACE = re.compile(r"([A-Z]{1,3})[0-9]+")
ERROR = "#ERROR"

Record = Mapping[str, Any]


def rejects_list(home: Home, project: str, record: Record) -> Iterator[bytes]:
    """The rejects of a file as CSV in UTF-8: file, line, column, value, reason; only a head when there are none."""
    found = rejects_file(home, project, record["id"])
    rows = _reasons(found) if found.is_file() else iter([])
    name = harmless(record["name"])
    return _encoded([["file", *REJECT_HEADER]], ([name, *row] for row in rows), "utf-8", ",")


def repair_name(record: Record) -> str:
    """The name that a repair file goes by."""
    return f"{Path(safe_name(record['name'])).stem}-rejected-rows.csv"


def rejected_rows(home: Home, project: Project, record: Record) -> Iterator[bytes]:
    """The rows of a file that are to be mended, as a CSV that can be sent again.

    Before the file's own columns stand `_file`, `_line` (where the row begins in the original) and `_reason`, which
    is empty for rows that nothing is wrong with. A row that could not be split into cells is split at every
    delimiter. Raises Conflict when the rows of the file were not looked at one by one, NotFound when its original
    is gone. The original is read while the result is.
    """
    listed = rejects_file(home, project.name, record["id"])
    if record["status"] == "received" or not listed.is_file():
        raise Conflict(
            "The rows of this file were not looked at one by one",
            detail=f"{record['name']} is {record['status']}",
            remedy="Wait until it is taken in; if it was refused as a whole, its record says why: mend the "
            "file itself.",
        )
    path = next(home.files(project.name).glob(f"{record['id']}-*"), None)
    if path is None:
        raise NotFound(
            "The original of this file is gone",
            detail=f"{record['name']} is no longer in {home.files(project.name)}",
            remedy="Mend the file that was sent; the list of rejects names each line and reason.",
        )
    reading = project.how_to_read
    source = open_source(path, reading=reading, name=record["name"])
    is_whole = record["status"] == "refused" or project.ingestion.mode == "replace"
    label = f"{record['id']}-{safe_name(record['name'])}"
    swap = _pointed(source, project) if source.format != "csv" and reading.decimal == "," else set()
    rows = (
        [label, str(row.line), reason, *_cells(row, source, swap)]
        for row, reason in _joined(source.rows, _why(listed), record["name"])
        if reason or is_whole
    )
    preface = [
        [f"Rejected rows of {' '.join(record['name'].split())}: mend them below, leave this line"],
        *[[f"(line {number})"] for number in range(2, reading.header_row)],
    ]
    head = [*preface[: reading.header_row - 1], [*REPAIR_COLUMNS, *map(guarded, source.columns)]]
    encoding = reading.encoding if reading.encoding not in (None, "utf-8") else "utf-8-sig"
    return _encoded(head, rows, encoding, source.delimiter or reading.delimiter or ",")


def outstanding(files: Sequence[Record], sources: Sequence[Record]) -> list[Record]:
    """The records of files that were refused or had rows rejected, and nothing accepted since makes up for it.

    That is a repair of the file, by what `sources` (those of the table) say of it, or a file of the same name.
    """
    repaired = {source["found"].get("repairs") for source in sources if source.get("found")}
    renewed: dict[str, str] = {}
    for record in files:
        if record["status"] == "accepted":
            at = str(record["finished_at"])
            renewed[record["name"]] = max(at, renewed.get(record["name"], at))
    return [
        record
        for record in files
        if (record["status"] == "refused" or record["rejected"])
        and record["id"] not in repaired
        and renewed.get(record["name"], "") <= str(record["finished_at"])
    ]


def _reasons(listed: Path) -> Iterator[list[str]]:
    with listed.open(encoding="utf-8", newline="") as handle:
        rows = csv.reader(handle)
        next(rows, None)
        yield from rows


def _why(listed: Path) -> Iterator[tuple[int, str]]:
    """(line, reasons) of each rejected row, in the list's order, which is that of the file."""
    for line, rows in groupby(_reasons(listed), key=itemgetter(0)):
        yield int(line), "; ".join(f"{row[1]}: {row[3]}" if row[1] else row[3] for row in rows)


def _joined(rows: Iterator[Row], reasons: Iterator[tuple[int, str]], name: str) -> Iterator[tuple[Row, str]]:
    """Each row with why it was rejected, "" when it was not."""
    waiting = next(reasons, None)
    for row in rows:
        if waiting is not None and waiting[0] == row.line:
            yield row, waiting[1]
            waiting = next(reasons, None)
        else:
            yield row, ""
    if waiting is not None:
        raise Corrupt(
            "The list of rejects does not fit the file",
            detail=f"{name}: line {waiting[0]} is listed as rejected, and no row begins there",
            remedy="If reading changed in project.yaml since, send the original again; else please report this.",
        )


def _cells(row: Row, source: SourceFile, swap: set[int]) -> list[str]:
    """The cells of a row as they are to be mended."""
    cells: Sequence[str | None] = row.cells
    if row.fault is not None and (place := ERROR_PLACE.fullmatch(row.fault.value)) and row.fault.cells:
        cells = _with_error(row.fault.cells, place[1])
    elif row.fault is not None:
        raw = (
            row.fault.value.split(source.delimiter or "\0") if row.fault.value else [""] * len(source.columns)
        )
        # A NUL would make the file look binary; it is shown as the list of rejects shows it.
        cells = [cell and cell.replace("\0", "\\0") for cell in row.fault.cells or raw]
    shown = [cell or "" for cell in cells]
    return [
        guarded(cell.replace(".", ",") if index in swap and POINT.fullmatch(cell) else cell)
        for index, cell in enumerate(shown)
    ]


def _with_error(cells: Sequence[str | None], letters: str) -> list[str | None]:
    """The cells of a row of a workbook, marked where a formula failed: left empty it would come back as missing."""
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - ord("A") + 1
    place = index - 1
    if place < len(cells) and cells[place] is None:
        return [*cells[:place], ERROR, *cells[place + 1 :]]
    # The table does not begin in column A: one of the empty cells it is.
    return [ERROR if cell is None else cell for cell in cells]


def _pointed(source: SourceFile, project: Project) -> set[int]:
    """The columns of numbers of a workbook, which a CSV of this project has with a decimal comma."""
    types = {name: column.type for name, column in project.columns.items()}
    return {index for index, name in enumerate(source.columns) if types.get(name) in NUMERIC}


def _encoded(
    head: Iterable[Sequence[str]], rows: Iterable[Sequence[str]], encoding: str, delimiter: str
) -> Iterator[bytes]:
    # What an old encoding cannot hold, such as a name in our own reasons, is spelt out rather than lost.
    encoder = codecs.getincrementalencoder(encoding)("backslashreplace")
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows(head)
    for row in rows:
        writer.writerow(row)
        if text.tell() >= PIECE:
            yield encoder.encode(text.getvalue())
            text.seek(0)
            text.truncate()
    yield encoder.encode(text.getvalue(), final=True)
