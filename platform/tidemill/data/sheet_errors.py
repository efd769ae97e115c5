"""Where a sheet's cells hold errors (`#N/A`, `#DIV/0!`), read from the file itself: the reader gives them as empty.

Here belongs what each format of workbooks writes for such a cell: XML (.xlsx, .xlsm, .ods), the records of .xlsb,
and those of .xls within a compound file ([MS-XLSB], [MS-XLS], [MS-CFB], OpenDocument 1.3 part 3). Nothing else of a
sheet is read here. What becomes of such a row is `data/workbook.py`.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Iterator
from typing import IO
from xml.etree import ElementTree

from tidemill.data.compound import NotCompound, stream_of
from tidemill.data.packed import PIECE
from tidemill.data.source import Place
from tidemill.data.workbook_guard import BROKEN, MAX_CELLS, column_number

CELL = re.compile(rb"<(?:\w+:)?c\s([^<>]*)>")
REFERENCE = re.compile(rb'\br="([A-Z]+)(\d+)"')
ODS_ERROR = re.compile(rb"""value-type=["']error["']""")
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
CALCEXT = "{urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0}"
# Records of .xlsb: the head of a row, a cell of an error, a formula whose value is one, a sheet of the book.
BRT_ROW, BRT_CELL_ERROR, BRT_FORMULA_ERROR, BRT_BUNDLE_SHEET = 0, 3, 11, 156
# Records of .xls: the same, and how streams begin and end.
XLS_FORMULA, XLS_BOOL_ERROR, XLS_BOUND_SHEET, XLS_BEGIN, XLS_END = 0x0006, 0x0205, 0x0085, 0x0809, 0x000A
# A cell of a boolean or an error, or the value of a formula that is one: without these no record need be looked at.
XLS_ERROR = re.compile(rb"\x05\x02\x08\x00|\x02.{5}\xff\xff", re.DOTALL)

Errors = dict[int, int]
"""By row, from 1, the first column, from 1, whose cell holds an error."""


class CannotTell(Exception):
    """The file is not written in the way that its format asks for, so errors look like empty cells."""


def error_cells(place: Place, sheet: str, index: int, sheets: int) -> Errors:
    """Where the cells of a sheet hold errors; `index` is its place among the `sheets` sheets of the workbook.

    Raises CannotTell when the file does not say.
    """
    try:
        if not zipfile.is_zipfile(place.path):
            return _of_xls(place, index, sheets)
        with zipfile.ZipFile(place.path) as archive:
            names = set(archive.namelist())
            if "xl/workbook.bin" in names:
                return _of_xlsb(archive, index, sheets)
            if "content.xml" in names:
                return _of_ods(archive, index)
            return _of_xlsx(archive, sheet)
    except (NotCompound, struct.error, LookupError, ValueError, ElementTree.ParseError, *BROKEN) as error:
        raise CannotTell from error


def _note(found: Errors, row: int, column: int) -> None:
    """Add a cell, whose column counts from 0."""
    found[row] = min(found.get(row, column + 1), column + 1)


def _of_xlsx(archive: zipfile.ZipFile, sheet: str) -> Errors:
    found: Errors = {}
    for attributes in _cells_of(archive, _sheet_member(archive, sheet)):
        if b't="e"' in attributes and (found_at := REFERENCE.search(attributes)):
            _note(found, int(found_at[2]), column_number(found_at[1].decode()))
    return found


def _cells_of(archive: zipfile.ZipFile, member: str) -> Iterator[bytes]:
    """The attributes of every cell that may hold an error, streamed from the sheet's XML."""
    rest = b""
    with archive.open(member) as handle:
        while piece := handle.read(PIECE):
            piece = rest + piece
            if b't="e"' in piece:
                yield from CELL.findall(piece)
            rest = piece[piece.rfind(b"<") :]


def _sheet_member(archive: zipfile.ZipFile, sheet: str) -> str:
    """The archive member that holds `sheet` of an Office Open XML workbook."""
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    targets = _targets(archive, "xl/_rels/workbook.xml.rels")
    for element in book.iter():
        if element.tag.endswith("}sheet") and element.get("name") == sheet:
            link = next((value for key, value in element.attrib.items() if key.endswith("}id")), None)
            return targets[link or ""]
    raise CannotTell


def _targets(archive: zipfile.ZipFile, links: str) -> dict[str, str]:
    """The members that a workbook's parts are in, by the name of their link."""
    found = {}
    for link in ElementTree.fromstring(archive.read(links)):
        target = link.get("Target", "")
        found[link.get("Id", "")] = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    return found


def _of_ods(archive: zipfile.ZipFile, index: int) -> Errors:
    with archive.open("content.xml") as handle:
        rest, marked = b"", False
        while not marked and (piece := handle.read(PIECE)):
            marked = ODS_ERROR.search(rest + piece) is not None
            rest = piece[-32:]
    if not marked:
        return {}
    found: Errors = {}
    table, row, column, inside = -1, 1, 0, 0
    wrong: int | None = None
    with archive.open("content.xml") as handle:
        for event, element in ElementTree.iterparse(handle, ("start", "end")):
            if element.tag == f"{TABLE}table":
                # Sheets may hold tables of their own, of which the outermost is the sheet.
                inside += 1 if event == "start" else -1
                if event == "start" and inside == 1:
                    table, row = table + 1, 1
            elif table != index or inside != 1 or event == "start":
                continue
            elif element.tag in (f"{TABLE}table-cell", f"{TABLE}covered-table-cell"):
                times = int(element.get(f"{TABLE}number-columns-repeated", 1))
                if wrong is None and element.get(f"{CALCEXT}value-type") == "error":
                    wrong = column
                column += times
            elif element.tag == f"{TABLE}table-row":
                times = int(element.get(f"{TABLE}number-rows-repeated", 1))
                if wrong is not None:
                    # One row may be said to stand there any number of times.
                    if len(found) + times > MAX_CELLS:
                        raise CannotTell
                    for number in range(row, row + times):
                        _note(found, number, wrong)
                row, column, wrong = row + times, 0, None
                element.clear()
    return found


def _of_xlsb(archive: zipfile.ZipFile, index: int, sheets: int) -> Errors:
    with archive.open("xl/workbook.bin") as handle:
        links = []
        for kind, body in _xlsb_records(handle):
            if kind == BRT_BUNDLE_SHEET:
                (length,) = struct.unpack_from("<I", body, 8)
                links.append(body[12 : 12 + 2 * length].decode("utf-16-le"))
    if len(links) != sheets:
        raise CannotTell
    found: Errors = {}
    row = 0
    with archive.open(_targets(archive, "xl/_rels/workbook.bin.rels")[links[index]]) as handle:
        for kind, body in _xlsb_records(handle):
            if kind == BRT_ROW:
                row = struct.unpack_from("<I", body)[0] + 1
            elif kind in (BRT_CELL_ERROR, BRT_FORMULA_ERROR):
                _note(found, row, struct.unpack_from("<I", body)[0])
    return found


def _xlsb_records(handle: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The records of a part: a kind of one or two bytes, a length of up to four, each of seven bits."""
    data, at = handle.read(PIECE), 0
    while at < len(data):
        begin = at
        try:
            kind = data[at]
            at += 1
            if kind & 0x80:
                kind = (kind & 0x7F) | (data[at] << 7)
                at += 1
            size = shift = 0
            while True:
                byte = data[at]
                at += 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80 or shift == 28:
                    break
            whole = at + size <= len(data)
        except IndexError:
            whole = False
        if whole:
            yield kind, data[at : at + size]
            at += size
        if not whole or at == len(data):
            more = handle.read(PIECE)
            if not more and not whole:
                raise CannotTell
            data, at = data[at if whole else begin :] + more, 0


def _of_xls(place: Place, index: int, sheets: int) -> Errors:
    with place.path.open("rb") as handle:
        stream = stream_of(handle, ("Workbook", "Book"))
    if XLS_ERROR.search(stream) is None:
        return {}
    places = [
        struct.unpack_from("<I", stream, at)[0]
        for kind, at, _ in _xls_records(stream, 0)
        if kind == XLS_BOUND_SHEET
    ]
    if len(places) != sheets:
        raise CannotTell
    found: Errors = {}
    for kind, at, _ in _xls_records(stream, places[index]):
        if kind == XLS_BOOL_ERROR:
            row, column, _style, _value, is_error = struct.unpack_from("<HHHBB", stream, at)
        elif kind == XLS_FORMULA:
            row, column = struct.unpack_from("<HH", stream, at)
            is_error = stream[at + 6] == 2 and stream[at + 12 : at + 14] == b"\xff\xff"
        else:
            continue
        if is_error:
            _note(found, row + 1, column)
    return found


def _xls_records(stream: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """The records of the part that begins at `at`: kind, where the body begins, and its size. A chart within the
    part is passed over."""
    depth = 0
    while True:
        kind, size = struct.unpack_from("<HH", stream, at)
        at += 4
        depth += (kind & 0xF0FF) == 0x0009
        if kind == XLS_END:
            depth -= 1
            if not depth:
                return
        elif depth == 1:
            yield kind, at, size
        at += size
