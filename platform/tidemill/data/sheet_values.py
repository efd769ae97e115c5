"""What the cells of a sheet mean, as text: numbers, dates, booleans and shared texts, column by column.

Here belongs how values of the common forms become Arrow strings without a Python object for each. The general
reader's word is law: it tells which styles are dates, and it is asked, through a small workbook made for it
(`Oracle`), about every value of another form. So both ways of reading a workbook give the same cells.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from python_calamine import CalamineSheet, CalamineWorkbook

from tidemill.data.sheet_cells import Block, Numbers, Unusual, number_before, texts, whole_numbers

# Numbers that are written as they would be shown again: at most 15 digits, no exponent, no needless zero.
PLAIN = r"^(?:-?[1-9][0-9]{0,14}|0|-?[1-9][0-9]*\.[0-9]*[1-9]|-?0\.0{0,3}[1-9](?:[0-9]*[1-9])?)$"
PLAIN_LENGTH = 16
NUMBER = r"^-?[0-9]{1,20}(?:\.[0-9]{1,25})?(?:[eE][+-]?[0-9]{1,3})?$"
# Texts that a reader of XML changes: entities, line ends, escapes of Excel's, blanks at the ends.
CHANGED = r"(?:&|\r|_x|^\s|\s$|\x00)"
ONE_TEXT = re.compile(rb'<si><t(?: xml:space="preserve")?>([^<]*)</t></si>')
ANY_TEXT = re.compile(rb"<si>.*?</si>", re.DOTALL)
# After the 29th of February 1900 that never was, and long before the year 10000.
FIRST_DAY, LAST_DAY = 61.0, 2_900_000.0
EPOCH = {False: np.datetime64("1899-12-30", "s"), True: np.datetime64("1904-01-01", "s")}
DAY_SECONDS = 86_400
NO_SECOND = 1e-5
TEXTS = ("s", "str", "inlineStr")
# Beyond this a double no longer holds every integer.
EXACT_INTEGERS = 2**53
XML = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
STRINGS = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
RELATIONS = (
    XML + b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    b'<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
    b'Target="worksheets/sheet1.xml"/><Relationship Id="rId2" '
    b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/>'
    b'<Relationship Id="rId3" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
    b'sharedStrings" Target="sharedStrings.xml"/></Relationships>'
)
ROOT = (
    XML + b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    b'<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
    b'officeDocument" Target="xl/workbook.xml"/></Relationships>'
)
BOOK = (
    XML + b'<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
    b'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">%s<sheets>'
    b'<sheet name="s" sheetId="1" r:id="rId1"/></sheets></workbook>'
)


def text_of(value: Any) -> str | None:
    """A cell as text: what a person would have typed into a CSV, with dates in ISO 8601."""
    match value:
        case None | "":
            return None
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < EXACT_INTEGERS:
            return str(int(value))
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime():
            return value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case _:
            return repr(value)


def rows_of(sheet: CalamineSheet) -> Iterator[list[Any] | None]:
    """The rows of a sheet as the reader gives them; None for one with a date or duration beyond any calendar."""
    rows = sheet.iter_rows()
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except OverflowError:
            yield None
        except BaseException as error:
            # The reader's own way to fail at such cells; it is no Exception, and would end the whole run.
            if type(error).__name__ != "PanicException":
                raise
            yield None


class Oracle:
    """The general reader, asked about single cells of a workbook with these styles."""

    def __init__(self, styles: bytes | None, from_1904: bool) -> None:
        self.styles = styles
        self.from_1904 = from_1904
        self.known: dict[int, str] = {}

    def values(self, cells: Sequence[bytes], strings: Sequence[bytes] = ()) -> list[Any]:
        """What each cell holds. A cell is its XML from the end of its place on: ` t="b"><v>1</v></c>`."""
        rows = b"".join(
            b'<row r="%d"><c r="A%d"%s</row>' % (n, n, cell) for n, cell in enumerate(cells, start=1)
        )
        # A last cell holds the rectangle open to its end, whatever the others are.
        rows += b'<row r="%d"><c r="A%d"><v>1</v></c></row>' % (len(cells) + 1, len(cells) + 1)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            properties = b'<workbookPr date1904="1"/>' if self.from_1904 else b""
            archive.writestr("_rels/.rels", ROOT)
            archive.writestr("xl/workbook.xml", BOOK % properties)
            archive.writestr("xl/_rels/workbook.xml.rels", RELATIONS)
            archive.writestr("xl/worksheets/sheet1.xml", XML + SHEET + rows + b"</sheetData></worksheet>")
            archive.writestr("xl/sharedStrings.xml", XML + STRINGS + b"".join(strings) + b"</sst>")
            if self.styles is not None:
                archive.writestr("xl/styles.xml", self.styles)
        packed.seek(0)
        sheet = CalamineWorkbook.from_filelike(packed).get_sheet_by_index(0)
        found = list(rows_of(sheet))
        if None in found:
            raise Unusual
        return [row[0] for row in found if row is not None][: len(cells)]

    def texts(self, cells: Sequence[bytes], strings: Sequence[bytes] = ()) -> list[str | None]:
        found = [text_of(value) for value in self.values(cells, strings)]
        if any(text is not None and "\0" in text for text in found):
            raise Unusual
        return found

    def style(self, number: int) -> str:
        """What numbers of this style are: `number`, `date`, or `other`."""
        if number not in self.known:
            value = self.values([b' s="%d"><v>45000.5</v></c>' % number])[0]
            is_date = isinstance(value, date | datetime | time)
            self.known[number] = "number" if isinstance(value, float) else "date" if is_date else "other"
        return self.known[number]


def shared_texts(xml: bytes | None, oracle: Oracle) -> pa.StringArray:
    """The texts that cells share, by number. Raises Unusual when the part is written in another form."""
    if xml is None:
        return pa.array([], pa.string())
    count = xml.count(b"<si>")
    if count != xml.count(b"<si") or count != xml.count(b"</si>"):
        raise Unusual
    items = ONE_TEXT.findall(xml)
    if len(items) != count:
        # Texts of several formats, or with a pronunciation: the reader is asked for these.
        found = [ONE_TEXT.fullmatch(item) for item in ANY_TEXT.findall(xml)]
        items = [plain[1] if plain else b"&" for plain in found]
        if len(items) != count:
            raise Unusual

    def ask(which: list[int]) -> list[str | None]:
        every = ANY_TEXT.findall(xml)
        cells = [b' t="s"><v>%d</v></c>' % number for number in range(len(which))]
        return oracle.texts(cells, [every[each] for each in which])

    return _as_text(pa.array(items, pa.binary()), ask)


def _as_text(found: pa.Array, ask: Callable[[list[int]], list[str | None]]) -> pa.StringArray:
    """Bytes as text, those that a reader of XML changes as `ask` says; an empty one is no text."""
    try:
        text = found.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise Unusual from error
    text = pc.if_else(pc.equal(pc.binary_length(text), 0), pa.scalar(None, pa.string()), text)
    changed = pc.fill_null(pc.match_substring_regex(text, CHANGED), False)
    odd = np.flatnonzero(changed.to_numpy(zero_copy_only=False))
    return _replaced(text, odd, ask(odd.tolist())) if len(odd) else text


def _replaced(text: pa.StringArray, at: Numbers, values: list[str | None]) -> pa.StringArray:
    mask = np.zeros(len(text), bool)
    mask[at] = True
    return pc.replace_with_mask(text, pa.array(mask), pa.array(values, pa.string()))


def column_texts(
    block: Block, which: Numbers, shared: pa.StringArray, oracle: Oracle
) -> list[tuple[Numbers, pa.Array]]:
    """The texts of these cells, all of one column, in parts: (which of them, their texts). Errors are left out."""
    parts = []
    for kind in np.unique(block.kind[which]):
        style, form = block.kinds[kind]
        those = which[(block.kind[which] == kind) & (block.begin[which] >= 0)]
        if len(those) and form != "e":
            found = _texts(block, those, style, form, shared, oracle)
            # To the reader an empty text is a cell, which may widen the table; a number of no digits is none.
            if form in TEXTS or found.null_count < len(found):
                parts.append((those, found))
    return parts


def _texts(
    block: Block, which: Numbers, style: int, form: str, shared: pa.StringArray, oracle: Oracle
) -> pa.StringArray:
    def ask(odd: list[int]) -> list[str | None]:
        return oracle.texts([_cell(block, which[each]) for each in odd])

    if form == "s":
        digits = block.end[which] - block.begin[which]
        number = number_before(block.xml, block.end[which], digits)
        if (number < 0).any() or (number >= len(shared)).any():
            raise Unusual
        return shared.take(pa.array(number))
    offsets, content = texts(block, which)
    raw = pa.Array.from_buffers(
        pa.binary(), len(which), [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(content)]
    )
    if form in ("str", "inlineStr"):
        return _as_text(raw, ask)
    try:
        written = raw.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise Unusual from error
    if form == "b":
        return _booleans(written, ask)
    if form == "n" and oracle.style(style) == "number":
        return _numbers(written, np.flatnonzero(~whole_numbers(block, which)), ask)
    if form == "n" and oracle.style(style) == "date":
        return _moments(written, ask, oracle.from_1904)
    return pa.array(ask(list(range(len(which)))), pa.string())


def _cell(block: Block, which: int) -> bytes:
    """The XML of a cell from the end of its place on."""
    text = block.xml[block.start[which] : block.stop[which]].tobytes()
    return text[text.index(b'"', 6) + 1 :]


def _booleans(written: pa.StringArray, ask: Callable[[list[int]], list[str | None]]) -> pa.StringArray:
    yes = pc.equal(written, "1")
    text = pc.if_else(yes, "true", "false")
    odd = np.flatnonzero(pc.invert(pc.or_(yes, pc.equal(written, "0"))).to_numpy(zero_copy_only=False))
    return _replaced(text, odd, ask(odd.tolist())) if len(odd) else text


def _numbers(
    written: pa.StringArray, unlike: Numbers, ask: Callable[[list[int]], list[str | None]]
) -> pa.StringArray:
    """Numbers as they are shown; `unlike` are those not yet known to be written so."""
    some = written.take(pa.array(unlike))
    short = pc.less_equal(pc.binary_length(some), PLAIN_LENGTH)
    plain = pc.and_(short, pc.match_substring_regex(some, PLAIN))
    other = unlike[np.flatnonzero(pc.invert(plain).to_numpy(zero_copy_only=False))]
    if not len(other):
        return written
    rest = written.take(pa.array(other))
    is_number = pc.match_substring_regex(rest, NUMBER)
    # Long ones are shown as briefly as they can be told apart; Arrow and Python differ only in exponents and zeros.
    shown = pc.if_else(is_number, rest, "1e99").cast(pa.float64()).cast(pa.string())
    odd = np.flatnonzero(
        pc.match_substring_regex(shown, r"[einEN]|^-0$|\.0$|^-?0\.0000").to_numpy(zero_copy_only=False)
    )
    if len(odd):
        shown = _replaced(shown, odd, ask(other[odd].tolist()))
    mask = np.zeros(len(written), bool)
    mask[other] = True
    return pc.replace_with_mask(written, pa.array(mask), shown)


def _moments(
    written: pa.StringArray, ask: Callable[[list[int]], list[str | None]], from_1904: bool
) -> pa.StringArray:
    is_number = pc.match_substring_regex(written, NUMBER)
    serial = pc.if_else(is_number, written, "-1").cast(pa.float64()).to_numpy(zero_copy_only=False)
    exact = np.where((serial >= FIRST_DAY) & (serial < LAST_DAY), serial, 0.0) * DAY_SECONDS
    seconds = np.round(exact)
    # What lies between two seconds is rounded by the reader.
    usual = (seconds > 0) & (np.abs(exact - seconds) < NO_SECOND)
    moment = EPOCH[from_1904] + seconds.astype("timedelta64[s]")
    text = pa.array(moment).cast(pa.string())
    days = pc.utf8_slice_codeunits(text, 0, 10)
    whole = seconds % DAY_SECONDS == 0
    if whole.all():
        text = days
    elif whole.any():
        text = pc.if_else(pa.array(whole), days, text)
    odd = np.flatnonzero(~usual)
    return _replaced(text, odd, ask(odd.tolist())) if len(odd) else text
