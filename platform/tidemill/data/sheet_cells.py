"""The cells of a sheet's XML, found by arithmetic on whole arrays: where each stands, and where its value lies.

Here belongs the form of the XML, as spreadsheet programs write it: `<row r="2"><c r="A2" s="1" t="s"><v>7</v></c>`.
Whatever is written otherwise (other prefixes, comments, cells without a place or out of order, blanks between
tags) raises `Unusual`, and the general reader takes the workbook. What a value means is `data/sheet_values.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Read beyond the end of the bytes at hand, so that windows of any token fit.
PADDING = bytes(64)
MAX_ROW = 1_048_576
MAX_COLUMN = 16_384
ATTRIBUTES = re.compile(rb'(?: (?:s="(?P<style>\d{1,5})"|t="(?P<type>[a-zA-Z]+)"|(?:cm|vm|ph)="\d{1,9}"))*/?')

SPACED = b'<t xml:space="preserve">'

# What a tag is, by its letters; the order is that of PAIRS.
ROW, ROW_EMPTY, ROW_END, C, C_EMPTY, C_END, V, V_END, F, F_EMPTY, F_END, IS, IS_END, T, T_END, NO = range(16)
AFTER = {
    ROW: (C, C_EMPTY, ROW_END),
    ROW_EMPTY: (ROW, ROW_EMPTY),
    ROW_END: (ROW, ROW_EMPTY),
    C: (V, F, F_EMPTY, IS, C_END),
    C_EMPTY: (C, C_EMPTY, ROW_END),
    C_END: (C, C_EMPTY, ROW_END),
    V: (V_END,),
    V_END: (C_END,),
    F: (F_END,),
    F_EMPTY: (V, C_END),
    F_END: (V, C_END),
    IS: (T,),
    IS_END: (C_END,),
    T: (T_END,),
    T_END: (IS_END,),
}


def _table(numbers: dict[int, int], otherwise: int) -> bytes:
    """What each of the 256 bytes becomes. Bytes are translated several times as fast as an array is indexed."""
    return bytes(numbers.get(each, otherwise) for each in range(256))


# 1 for two tags, each in half a byte, of which the second must not come behind the first.
PAIRS = _table({first * 16 + second: 0 for first, seconds in AFTER.items() for second in seconds}, 1)
OPENING = _table(dict(zip(b"rcvfit", (ROW, C, V, F, IS, T), strict=True)), NO)
CLOSING = _table(dict(zip(b"rcvfit", (ROW_END, C_END, V_END, F_END, IS_END, T_END), strict=True)), NO)
# How long a tag is that can hold nothing but its name; 0 where it varies.
LENGTHS = _table({ROW_END: 6, C_END: 4, V_END: 4, F_END: 4, IS_END: 5, T_END: 4}, 0)
MASKS = np.array([(1 << (8 * length)) - 1 for length in range(8)] + [(1 << 64) - 1], np.uint64)
# Any large odd numbers: they mix eight bytes each into one number that tells texts apart.
FACTORS = {0: 0x9E3779B97F4A7C15, 8: 0xC2B2AE3D27D4EB4F, 16: 0x165667B19E3779F9}
ZEROS = np.uint64(int.from_bytes(b"0" * 8, "little"))
PAIR = np.uint64(0x000000FF000000FF)


class Unusual(Exception):
    """The XML is not in the form that is read fast. It may be right all the same."""


@dataclass(frozen=True)
class Block:
    """The cells of some whole rows, in order. `kind` is an index into `kinds`: (style, type) as written.

    `begin` and `end` bound the value in `xml`, -1 where the cell has none; `start` and `stop` bound the cell.
    """

    xml: Bytes
    row: Numbers
    column: Numbers
    kind: Numbers
    kinds: list[tuple[int, str]]
    begin: Numbers
    end: Numbers
    start: Numbers
    stop: Numbers


def cells_of(text: bytes) -> Block:
    """The cells in the XML of whole rows, `<row ...>...</row>` one behind the other."""
    xml = np.frombuffer(text + PADDING, np.uint8)
    tags, codes = _tags(xml, len(text))
    rows = _rows(xml, tags, codes)
    is_cell = (codes == C) | (codes == C_EMPTY)
    which = np.flatnonzero(is_cell)
    start = tags[which]
    if not np.array_equal(_eight(xml, start) & MASKS[6], _eight_of(b'<c r="', len(start))):
        raise Unusual
    row_of = np.repeat(
        np.arange(len(rows.number)), np.diff(np.searchsorted(start, rows.at), append=len(start))
    )
    column, letters = _columns(xml, start + 6)
    _check_rows(xml, start + 6 + letters, rows, row_of)
    row = rows.number[row_of]
    place = row * (MAX_COLUMN + 1) + column
    if (place[1:] <= place[:-1]).any():
        raise Unusual
    after_place = start + 6 + letters + rows.digits[row_of] + 1
    tag_end = tags[which + 1] - 1
    kind, kinds = _kinds(xml, after_place, tag_end)
    full = codes[which] == C
    begin, end = _values(xml, tags, codes, is_cell, full)
    stop = tag_end + 1
    stop[full] = tags[:-1][codes == C_END] + 4
    return Block(xml, row, column, kind, kinds, begin, end, start, stop)


def _tags(xml: Bytes, size: int) -> tuple[Numbers, npt.NDArray[np.uint8]]:
    """Where each tag begins, and what it is; the last place is the end."""
    tags = np.flatnonzero(xml == ord("<"))
    letter = xml[tags + 1]
    codes = _translated(letter, OPENING).copy()
    closing = np.flatnonzero(letter == ord("/"))
    codes[closing] = _translated(xml[tags[closing] + 2], CLOSING)
    tags = np.append(tags, size)
    # A tag that closes itself ends just before the next begins.
    for open_code, empty_code in ((ROW, ROW_EMPTY), (C, C_EMPTY), (F, F_EMPTY)):
        at = np.flatnonzero(codes == open_code)
        codes[at[xml[tags[at + 1] - 2] == ord("/")]] = empty_code
        if open_code != F and (xml[tags[at + 1] - 1] != ord(">")).any():
            raise Unusual
    empty_formulas = np.flatnonzero(codes == F_EMPTY)
    if (xml[tags[empty_formulas + 1] - 1] != ord(">")).any():
        raise Unusual
    if not len(codes) or _translated(codes[:-1] * np.uint8(16) + codes[1:], PAIRS).any():
        raise Unusual
    if codes[0] not in (ROW, ROW_EMPTY) or codes[-1] not in (ROW_END, ROW_EMPTY):
        raise Unusual
    lengths = _translated(codes, LENGTHS)
    if ((np.diff(tags) != lengths) & (lengths > 0)).any():
        raise Unusual
    for code, name in ((V, b"<v>"), (IS, b"<is>")):
        at = tags[:-1][codes == code]
        if not np.array_equal(_eight(xml, at) & MASKS[len(name)], _eight_of(name, len(at))):
            raise Unusual
    return tags, codes


def _translated(codes: npt.NDArray[np.uint8], table: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(codes.tobytes().translate(table), np.uint8)


@dataclass(frozen=True)
class _Rows:
    at: Numbers
    number: Numbers
    digits: Numbers
    text: npt.NDArray[np.uint64]


def _rows(xml: Bytes, tags: Numbers, codes: npt.NDArray[np.uint8]) -> _Rows:
    """The rows' numbers, as written and as numbers."""
    at = tags[:-1][(codes == ROW) | (codes == ROW_EMPTY)]
    if not np.array_equal(_eight(xml, at), _eight_of(b'<row r="', len(at))):
        raise Unusual
    text = _eight(xml, at + 8)
    quote = text.view(np.uint8).reshape(-1, 8) == ord('"')
    digits = quote.argmax(axis=1).astype(np.int64)
    text = text & MASKS[digits + 1]
    number = number_before(xml, at + 8 + digits, digits)
    if not (digits.all() and (number >= 1).all() and (number <= MAX_ROW).all()):
        raise Unusual
    return _Rows(at, number, digits, text)


def _check_rows(xml: Bytes, at: Numbers, rows: _Rows, row_of: Numbers) -> None:
    """Raise Unusual unless each cell says the number of the row that it stands in."""
    if not np.array_equal(_eight(xml, at) & MASKS[rows.digits + 1][row_of], rows.text[row_of]):
        raise Unusual


def _columns(xml: Bytes, at: Numbers) -> tuple[Numbers, Numbers]:
    """The columns' numbers, from 1, and how many letters each has."""
    first, second, third = (xml[at + offset].astype(np.int64) - 64 for offset in range(3))
    two = (second >= 1) & (second <= 26)
    three = two & (third >= 1) & (third <= 26)
    if ((first < 1) | (first > 26)).any():
        raise Unusual
    column = np.where(two, first * 26 + second, first)
    column = np.where(three, column * 26 + third, column)
    if len(column) and column.max() > MAX_COLUMN:
        raise Unusual
    return column, 1 + two.astype(np.int64) + three


def _kinds(xml: Bytes, begin: Numbers, end: Numbers) -> tuple[Numbers, list[tuple[int, str]]]:
    """The rest of each cell's tag, as an index into the few different ones."""
    length = end - begin
    longest = length.max(initial=0)
    if longest > 24 or length.min(initial=0) < 0:
        raise Unusual
    mixed: npt.NDArray[np.uint64] = np.zeros(len(begin), np.uint64)
    for offset, factor in FACTORS.items():
        if offset >= longest:
            break
        left = np.clip(length - offset, 0, 8)
        mixed = (mixed ^ (_eight(xml, begin + offset) & MASKS[left])) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(29)
    slot = (mixed >> np.uint64(40)).astype(np.int64) & 0xFFFF
    found = np.full(1 << 16, -1, np.int64)
    found[slot] = np.arange(len(slot))
    known = np.flatnonzero(found >= 0)
    if not np.array_equal(mixed[found[slot]], mixed):
        raise Unusual
    index = np.empty(1 << 16, np.int64)
    index[known] = np.arange(len(known))
    kinds = [_kind(xml[begin[each] : end[each]].tobytes()) for each in found[known]]
    return index[slot], kinds


def _kind(text: bytes) -> tuple[int, str]:
    parsed = ATTRIBUTES.fullmatch(text)
    if parsed is None:
        raise Unusual
    return int(parsed["style"] or 0), (parsed["type"] or b"n").decode()


def _values(
    xml: Bytes, tags: Numbers, codes: npt.NDArray[np.uint8], is_cell: npt.NDArray[np.bool_], full: Mask
) -> tuple[Numbers, Numbers]:
    """Where the value of each cell begins and ends: the content of its `<v>`, or of the `<t>` in its `<is>`.

    `full` tells which cells hold anything.
    """
    begin = np.full(len(full), -1, np.int64)
    end = np.full(len(full), -1, np.int64)
    at = np.flatnonzero(codes == V)
    if len(at) == np.count_nonzero(full):
        # No cell holds two, so each of these holds one.
        begin[full] = tags[at] + 3
        end[full] = tags[at + 1]
        return begin, end
    of = np.cumsum(is_cell) - 1
    begin[of[at]] = tags[at] + 3
    end[of[at]] = tags[at + 1]
    at = np.flatnonzero(codes == T)
    if len(at):
        plain = _eight(xml, tags[at]) & MASKS[3] == _eight_of(b"<t>", 1)
        spaced = np.logical_and.reduce(
            [_eight(xml, tags[at] + offset) == _eight_of(SPACED[offset:], 1) for offset in (0, 8, 16)]
        )
        if not (plain | spaced).all():
            raise Unusual
        begin[of[at]] = tags[at] + np.where(plain, 3, len(SPACED))
        end[of[at]] = tags[at + 1]
    return begin, end


def number_before(xml: Bytes, end: Numbers, digits: Numbers) -> Numbers:
    """The whole numbers of so many digits, at most 8, that end before `end`; -1 where something else stands.

    The eight digits of a number are eight bytes of one word, and are put together two by two, four by four.
    """
    possible = (digits >= 1) & (digits <= 8) & (end >= 8)
    before = MASKS[np.where(possible, 8 - digits, 8)]
    word = (_eight(xml, np.maximum(end - 8, 0)) & ~before) | (ZEROS & before)
    word = word - ZEROS
    possible &= (((word + np.uint64(0x7676767676767676)) | word) & np.uint64(0x8080808080808080)) == 0
    word = word * np.uint64(10) + (word >> np.uint64(8))
    low, high = word & PAIR, (word >> np.uint64(16)) & PAIR
    word = (low * np.uint64(0x000F424000000064) + high * np.uint64(0x0000271000000001)) >> np.uint64(32)
    return np.where(possible, word.astype(np.int64), -1)


def _eight(xml: Bytes, at: Numbers) -> npt.NDArray[np.uint64]:
    """The eight bytes from each place on, as one number."""
    every: npt.NDArray[np.uint64] = np.ndarray((len(xml) - 7,), "<u8", buffer=xml, strides=(1,))
    return every[at]


def _eight_of(text: bytes, times: int) -> npt.NDArray[np.uint64]:
    return np.full(times, int.from_bytes(text[:8], "little"), np.uint64)
