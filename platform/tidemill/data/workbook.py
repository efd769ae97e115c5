"""Reading workbooks: one sheet becomes rows of text, with the sheet's own row numbers.

Numbers without a fraction lose their `.0`, dates become ISO 8601, booleans `true` and `false`. Cells that hold
an error (`#N/A`, `#DIV/0!`) make their row a fault. Which values a column may hold is checked elsewhere.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, PasswordError

from tidemill.data import workbook_guard
from tidemill.data.cell_texts import text_of
from tidemill.data.sheet import Archive, Sheet, SheetReader, TooWide, letters_of
from tidemill.data.sheet_cells import Unusual
from tidemill.data.sheet_errors import CannotTell, Errors, error_cells
from tidemill.data.sheet_values import rows_of
from tidemill.data.source import Fault, Place, Row, SourceFile, empty_file
from tidemill.data.workbook_guard import (
    BROKEN,
    check_memory,
    check_size,
    too_many_cells,
)
from tidemill.errors import InvalidInput
from tidemill.project import Reading

FAST = frozenset({".xlsx", ".xlsm"})


def open_workbook(place: Place, reading: Reading) -> SourceFile:
    """Open the sheet of a workbook that `reading` names, or its first sheet that holds anything."""
    rows: Iterator[Row]
    errors_unseen = False
    if (fast := _read_fast(place, reading)) is not None:
        name, merged = fast.name, fast.merged
        header, rows = fast.split(reading.header_row)
    else:
        check_size(place)
        if place.path.suffix.lower() not in FAST:
            check_memory(place, reading.sheet)
        sheet, sheets = _read_any(place, reading)
        name, merged = sheet.name, len(sheet.merged_cell_ranges or ())
        errors: Errors = {}
        try:
            errors = error_cells(place, name, sheets.index(name), len(sheets))
        except CannotTell:
            errors_unseen = True
        rows = _rows(sheet, errors)
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
        errors_unseen=errors_unseen,
    )


def _read_fast(place: Place, reading: Reading) -> Sheet | None:
    """The sheet, if the workbook is in the form that most programs write."""
    if place.path.suffix.lower() not in FAST or not zipfile.is_zipfile(place.path):
        return None
    try:
        with zipfile.ZipFile(place.path) as archive:
            return SheetReader(
                Archive(place, archive, workbook_guard.MAX_UNPACKED), workbook_guard.MAX_CELLS
            ).read(reading.sheet, reading.header_row)
    except TooWide as error:
        raise too_many_cells(place, error.rows, error.columns) from error
    except (Unusual, CalamineError, ElementTree.ParseError, *BROKEN):
        # The general reader takes what it can of these, and says what is wrong with the others.
        return None


def _read_any(place: Place, reading: Reading) -> tuple[CalamineSheet, list[str]]:
    """The sheet, and the names of all sheets in their order."""
    try:
        book = CalamineWorkbook.from_path(str(place.path))
        return _choose(book, place, reading.sheet), book.sheet_names
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


def _rows(sheet: CalamineSheet, errors: Errors) -> Iterator[Row]:
    """The rows that hold anything, header included; blank rows between or after them are no rows."""
    for number, values in enumerate(rows_of(sheet), start=1):
        if values is None:
            yield Row(number, [], Fault("", "", "a cell of the row holds a date beyond any calendar"))
            continue
        cells = [text_of(value) for value in values]
        if number in errors:
            where = f"{letters_of(errors[number])}{number}"
            yield Row(number, [], Fault("", where, "a cell of the row holds an error", cells))
        elif any(cell is not None and "\0" in cell for cell in cells):
            yield Row(number, [], Fault("", "", "the row holds a NUL byte"))
        elif any(cell is not None for cell in cells):
            yield Row(number, cells)
