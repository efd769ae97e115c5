"""Reading workbooks: one sheet becomes rows of text, with the sheet's own row numbers.

Numbers without a fraction lose their `.0`, dates become ISO 8601, booleans `true` and `false`. Cells that hold
an error (`#N/A`, `#DIV/0!`) make their row a fault. Which values a column may hold is checked elsewhere.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, PasswordError

from tidemill.data import workbook_guard
from tidemill.data.packed import PIECE
from tidemill.data.sheet import Archive, Sheet, SheetReader, TooWide
from tidemill.data.sheet_cells import Unusual
from tidemill.data.sheet_values import rows_of, text_of
from tidemill.data.source import Fault, Place, Row, SourceFile, empty_file
from tidemill.data.workbook_guard import (
    BROKEN,
    check_memory,
    check_size,
    column_number,
    too_many_cells,
)
from tidemill.errors import InvalidInput
from tidemill.project import Reading

FAST = frozenset({".xlsx", ".xlsm"})
CELL = re.compile(rb"<(?:\w+:)?c\s([^<>]*)>")
REFERENCE = re.compile(rb'\br="([A-Z]+)(\d+)"')


def open_workbook(place: Place, reading: Reading) -> SourceFile:
    """Open the sheet of a workbook that `reading` names, or its first sheet that holds anything."""
    rows: Iterator[Row]
    if (fast := _read_fast(place, reading)) is not None:
        name, merged = fast.name, fast.merged
        header, rows = fast.split(reading.header_row)
    else:
        check_size(place)
        if place.path.suffix.lower() not in FAST:
            check_memory(place, reading.sheet)
        sheet = _read_any(place, reading)
        name, merged = sheet.name, len(sheet.merged_cell_ranges or ())
        rows = _rows(sheet, _error_cells(place, name))
        header = next((row for row in rows if row.line >= reading.header_row), None)
    if header is None:
        raise empty_file(place.name)
    if header.fault is not None:
        raise InvalidInput(
            "The header cannot be read",
            detail=f"{place.name}, row {header.line}: {header.fault.reason}",
            remedy="Mend the first row of the sheet; it names the columns.",
        )
    return SourceFile(
        place.name,
        [(cell or "").strip() for cell in header.cells],
        "excel",
        rows,
        sheet=name,
        header_row=header.line,
        head=header.cells,
        merged=merged,
    )


def _read_fast(place: Place, reading: Reading) -> Sheet | None:
    """The sheet, if the workbook is in the form that most programs write."""
    if place.path.suffix.lower() not in FAST or not zipfile.is_zipfile(place.path):
        return None
    try:
        with zipfile.ZipFile(place.path) as archive:
            return SheetReader(
                Archive(place, archive, workbook_guard.MAX_UNPACKED), workbook_guard.MAX_CELLS
            ).read(reading.sheet)
    except TooWide as error:
        raise too_many_cells(place, error.rows, error.columns) from error
    except (Unusual, CalamineError, ElementTree.ParseError, *BROKEN):
        # The general reader takes what it can of these, and says what is wrong with the others.
        return None


def _read_any(place: Place, reading: Reading) -> CalamineSheet:
    try:
        return _choose(CalamineWorkbook.from_path(str(place.path)), place, reading.sheet)
    except PasswordError as error:
        raise InvalidInput(
            "The workbook is locked with a password",
            detail=place.name,
            remedy="Save a copy without a password and send that.",
        ) from error
    except (CalamineError, OSError) as error:
        raise InvalidInput(
            "The workbook cannot be read",
            detail=f"{place.name}: {error}",
            remedy="Open it in a spreadsheet program, save it as .xlsx or CSV, and send that.",
        ) from error


def _choose(book: CalamineWorkbook, place: Place, sheet: str | None) -> CalamineSheet:
    if sheet is not None and sheet not in book.sheet_names:
        raise InvalidInput(
            "There is no such sheet",
            detail=f"{place.name} has no sheet {sheet!r}",
            remedy=f"Choose one of {', '.join(book.sheet_names)}.",
        )
    if sheet is not None:
        return book.get_sheet_by_name(sheet)
    for name in book.sheet_names:
        # The reader counts the rows above the last one, so a sheet of a title alone is passed over.
        found = book.get_sheet_by_name(name)
        if found.total_height:
            return found
    raise empty_file(place.name)


def _rows(sheet: CalamineSheet, errors: dict[tuple[int, int], str]) -> Iterator[Row]:
    """The rows that hold anything, header included; blank rows between or after them are no rows."""
    first_column = sheet.start[1] if sheet.start else 0
    for number, values in enumerate(rows_of(sheet), start=1):
        if values is None:
            yield Row(number, [], Fault("", "", "a cell of the row holds a date beyond any calendar"))
            continue
        cells = [text_of(value) for value in values]
        wrong = [(number, first_column + index) for index in range(len(cells))] if errors else []
        error = next((errors[place] for place in wrong if place in errors), None)
        if error is not None:
            yield Row(number, [], Fault("", error, "a cell of the row holds an error", cells))
        elif any(cell is not None and "\0" in cell for cell in cells):
            yield Row(number, [], Fault("", "", "the row holds a NUL byte"))
        elif any(cell is not None for cell in cells):
            yield Row(number, cells)


def _error_cells(place: Place, sheet: str) -> dict[tuple[int, int], str]:
    """Place (row from 1, column from 0) -> shown place, of each cell that holds an error.

    The reader gives such cells as empty, which would make a missing value of a broken formula. Their type is
    read from the sheet's XML; the older formats (.xls, .xlsb, .ods) do not show it this way.
    """
    if not zipfile.is_zipfile(place.path):
        return {}
    found = {}
    with zipfile.ZipFile(place.path) as archive:
        member = _sheet_member(archive, sheet)
        for attributes in _cells_of(archive, member) if member else ():
            if b't="e"' in attributes and (found_at := REFERENCE.search(attributes)):
                letters, row = found_at[1].decode(), int(found_at[2])
                found[row, column_number(letters)] = f"{letters}{row}"
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


def _sheet_member(archive: zipfile.ZipFile, sheet: str) -> str | None:
    """The archive member that holds `sheet` of an Office Open XML workbook, or None."""
    try:
        book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
        links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    except (KeyError, ElementTree.ParseError):
        return None
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    for element in book.iter():
        if element.tag.endswith("}sheet") and element.get("name") == sheet:
            link = next((value for key, value in element.attrib.items() if key.endswith("}id")), None)
            target = targets.get(link, "")
            member = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
            return member if member in archive.namelist() else None
    return None
