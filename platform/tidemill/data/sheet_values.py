"""What the cells of a sheet mean: numbers, dates, booleans and shared texts, column by column.

Here belongs how values of the common forms become Arrow arrays without a Python object for each: of their own type
where all cells of a column are alike, and of texts where they are not. The general
reader's word is law: it tells which styles are dates, and it is asked, through a small workbook made for it
(`Oracle`), about every value of another form. So both ways of reading a workbook give the same cells.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from python_calamine import CalamineSheet, CalamineWorkbook

from tidemill.data.cell_texts import MOMENT, text_of, texts_of
from tidemill.data.sheet_cells import Block, Numbers, Unusual, number_before

# Numbers that are written as they would be shown again: at most 15 digits, no exponent, no needless zero.
PLAIN = r"^(?:-?[1-9][0-9]{0,14}|0|-?[1-9][0-9]*\.[0-9]*[1-9]|-?0\.0{0,3}[1-9](?:[0-9]*[1-9])?)$"
PLAIN_LENGTH = 16
# Texts that a reader of XML changes: entities, line ends, escapes of Excel's, blanks at the ends.
CHANGED = r"(?:&|\r|_x|^\s|\s$|\x00)"
ONE_TEXT = re.compile(rb'<si><t(?: xml:space="preserve")?>([^<]*)</t></si>')
ANY_TEXT = re.compile(rb"<si>.*?</si>", re.DOTALL)
# After the 29th of February 1900 that never was, and long before the year 10000.
FIRST_DAY, LAST_DAY = 61, 2_900_000
EPOCH = {False: np.datetime64("1899-12-30"), True: np.datetime64("1904-01-01")}
DAY_SECONDS = 86_400
NO_SECOND = 1e-5
# So few values tell most columns of other numbers from those of whole ones.
LOOK = 50
TEXTS = ("s", "str", "inlineStr")
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


def column_values(
    block: Block, which: Numbers, shared: pa.StringArray, oracle: Oracle
) -> list[tuple[Numbers, pa.Array]]:
    """What these cells hold, all of one column, in parts: (which of them, their values). Errors are left out.

    The values of a part are integers, doubles, booleans, dates or moments if they all are; otherwise their texts.
    """
    parts = []
    kinds = block.kind[which]
    for kind in np.flatnonzero(np.bincount(kinds)):
        style, form = block.kinds[kind]
        those = which[(kinds == kind) & (block.begin[which] >= 0)]
        if len(those) and form != "e":
            found = _Cells(block, those, oracle).values(style, form, shared)
            # To the reader an empty text is a cell, which may widen the table; a number of no digits is none.
            if form in TEXTS or found.null_count < len(found):
                parts.append((those, found))
    return parts


@dataclass(frozen=True)
class _Cells:
    """Some cells of a block, in their order, all of one style and form."""

    block: Block
    which: Numbers
    oracle: Oracle

    def values(self, style: int, form: str, shared: pa.StringArray) -> pa.Array:
        if form == "s":
            number = self._whole()
            if (number < 0).any() or (number >= len(shared)).any():
                raise Unusual
            return shared.take(pa.array(number))
        if form in ("str", "inlineStr"):
            return _as_text(self._written().cast(pa.binary()), self.ask)
        if form == "b":
            return self._booleans()
        if form == "n" and self.oracle.style(style) == "number":
            return self._numbers()
        if form == "n" and self.oracle.style(style) == "date":
            return self._moments()
        return pa.array(self.ask(list(range(len(self.which)))), pa.string())

    def ask(self, odd: list[int]) -> list[str | None]:
        return self.oracle.texts([_cell(self.block, self.which[each]) for each in odd])

    def _whole(self) -> Numbers:
        """The values of at most 8 digits as numbers, -1 for others."""
        begin, end = self.block.begin[self.which], self.block.end[self.which]
        return number_before(self.block.xml, end, end - begin)

    def _all_whole(self) -> Numbers | None:
        """The values as numbers of at most 8 digits; None unless all are."""
        first = self.which[:LOOK]
        if (
            number_before(
                self.block.xml, self.block.end[first], self.block.end[first] - self.block.begin[first]
            )
            < 0
        ).any():
            return None
        found = self._whole()
        return found if (found >= 0).all() else None

    def _between(self) -> pa.StringArray:
        """The values where they stand in the XML, and between any two of them a null for what stands there.

        They are not looked at, and may be no UTF-8.
        """
        count = 2 * len(self.which) - 1
        places = np.empty(count + 1, np.int32)
        places[::2] = self.block.begin[self.which]
        places[1::2] = self.block.end[self.which]
        every_other = np.full((count + 7) // 8, 0b01010101, np.uint8)
        buffers = [pa.py_buffer(array) for array in (every_other, places, self.block.xml)]
        return pa.Array.from_buffers(pa.string(), count, buffers)

    def _written(self) -> pa.StringArray:
        """The values as they are written."""
        texts = self._between().take(pa.array(np.arange(0, 2 * len(self.which), 2)))
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise Unusual from error
        return texts

    def _doubles(self) -> npt.NDArray[np.float64] | None:
        """The values as numbers; None unless all are."""
        # What begins with a plus sign not every reader takes for a number.
        if (self.block.xml[self.block.begin[self.which]] == ord("+")).any():
            return None
        try:
            found = self._between().cast(pa.float64())
        except pa.ArrowInvalid:
            return None
        values = np.frombuffer(found.buffers()[1], np.float64, len(found))[::2].copy()
        return values if np.isfinite(values).all() else None

    def _booleans(self) -> pa.Array:
        begin = self.block.begin[self.which]
        digit = self.block.xml[begin] - np.uint8(ord("0"))
        if (digit <= 1).all() and (self.block.end[self.which] == begin + 1).all():
            return pa.array(digit.astype(bool))
        written = self._written()
        yes = pc.equal(written, "1")
        text = pc.if_else(yes, "true", "false")
        odd = np.flatnonzero(pc.invert(pc.or_(yes, pc.equal(written, "0"))).to_numpy(zero_copy_only=False))
        return _replaced(text, odd, self.ask(odd.tolist())) if len(odd) else text

    def _numbers(self) -> pa.Array:
        if (whole := self._all_whole()) is not None:
            return pa.array(whole)
        values = self._doubles()
        return pa.array(values) if values is not None else self._number_texts()

    def _number_texts(self) -> pa.StringArray:
        """Numbers as they are shown, where not all are written as numbers."""
        written = self._written()
        plain = pc.and_(
            pc.less_equal(pc.binary_length(written), PLAIN_LENGTH), pc.match_substring_regex(written, PLAIN)
        )
        other = np.flatnonzero(pc.invert(plain).to_numpy(zero_copy_only=False))
        return _replaced(written, other, self.ask(other.tolist())) if len(other) else written

    def _moments(self) -> pa.Array:
        days = self._all_whole()
        epoch = EPOCH[self.oracle.from_1904]
        if days is not None and (days >= FIRST_DAY).all() and (days < LAST_DAY).all():
            return pa.array(epoch + days.astype("timedelta64[D]"))
        serial = self._doubles()
        if serial is None:
            return pa.array(self.ask(list(range(len(self.which)))), pa.string())
        exact = np.where((serial >= FIRST_DAY) & (serial < LAST_DAY), serial, 0.0) * DAY_SECONDS
        seconds = np.round(exact)
        moments = epoch.astype("datetime64[us]") + seconds.astype("timedelta64[s]")
        # What lies between two seconds is rounded by the reader.
        odd = np.flatnonzero((seconds <= 0) | (np.abs(exact - seconds) >= NO_SECOND))
        if len(odd):
            found = self.oracle.values([_cell(self.block, self.which[each]) for each in odd])
            if not all(isinstance(each, datetime) for each in found):
                texts = texts_of(pa.array(moments, MOMENT))
                return _replaced(texts, odd, [text_of(each) for each in found])
            moments[odd] = found
        return pa.array(moments, MOMENT)


def _cell(block: Block, which: int) -> bytes:
    """The XML of a cell from the end of its place on."""
    text = block.xml[block.start[which] : block.stop[which]].tobytes()
    return text[text.index(b'"', 6) + 1 :]
