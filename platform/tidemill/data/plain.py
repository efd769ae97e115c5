"""Cells written plainly: typed by Arrow's kernels at a fraction of the cost of `data/casting.py`, the others told.

A cell that holds here has the very value that casting gives it, and is of its column's type. Of other cells it says
nothing: casting decides. So what counts as plain may be as narrow as it likes, and never wider. Ranges, allowed
values and rules over rows are asked elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.data.casting import MISSING
from tidemill.data.cell_texts import EXACT_INTEGERS, MOMENT
from tidemill.data.stretches import ASCII, Mask
from tidemill.project import CATEGORICAL, NUMERIC, TEMPORAL, Column

KINDS = {
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": MOMENT,
}
# Cells are cast so many at once where one among them cannot be, and halved to find it.
PIECE = 2048
# So many cells in a thousand may be odd: finding one costs what casting some hundred does.
ODD_SHARE = 0.0025
ODD_CELLS = 8
TRIED = 10_000
FEW = 0.1
# Lengths of 2024-01-31 10:00, of that with seconds, and with one to six digits behind them: Arrow takes others.
MOMENTS = (10, 16, 19, 21, 22, 23, 24, 25, 26)
# Year 0 is known to Arrow, and no year to casting.
FIRST = {"date": date.min, "datetime": datetime.min}
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Typed:
    """The values of a column's cells, and which of the cells hold; what stands for the others means nothing.

    `is_judged` when those that hold keep to the rules of the column as well, and need not be asked for its range.
    """

    values: pa.ChunkedArray
    holds: Mask
    is_judged: bool = False


def plain(column: Column, cells: pa.ChunkedArray, decimal: str) -> Typed | None:
    """`cells`, NULL where they are empty, as the column's type; None where plain ones are not the rule in it."""
    if column.values is not None or column.thousands is not None:
        return None
    if column.type in NUMERIC and decimal != ".":
        return None
    if column.type in TEMPORAL and column.format is not None:
        return None
    if column.type == "text":
        holds = np.ones(len(cells), dtype=bool)
        return _required(column, cells, Typed(cells, holds))
    if column.type in CATEGORICAL:
        odd = [_worded_oddly(chunk) for chunk in cells.chunks]
        return _required(column, cells, Typed(cells, ~_all(odd)))
    if (found := _cast(cells, column.type)) is None:
        return None
    return _required(column, cells, found)


def native(column: Column, cells: pa.ChunkedArray) -> Typed | None:
    """Cells that are no texts as the column's type; None where casting has to see their text.

    What holds is what casting makes of the text that says the same (`data/cell_texts.py`).
    """
    if column.format is not None:
        return None
    holds: Mask = np.ones(len(cells), dtype=bool)
    match column.type, cells.type:
        case ("integer", kind) if kind == pa.float64():
            numbers = _numbers(cells)
            holds = (numbers == np.trunc(numbers)) & (np.abs(numbers) < EXACT_INTEGERS)
            cells = pc.if_else(pa.array(holds), cells, None).cast(pa.int64())
        case ("float", kind) if kind == pa.float64():
            holds = np.isfinite(_numbers(cells))
        case ("float", kind) if kind == pa.int64():
            holds = _all_true(pc.less(pc.abs(cells), EXACT_INTEGERS))
            cells = pc.if_else(pa.array(holds), cells, None).cast(pa.float64())
        case ("date", kind) if kind == MOMENT:
            holds = _all_true(pc.equal(cells, pc.floor_temporal(cells, unit="day")))
            cells = cells.cast(pa.date32(), safe=False)
        case ("datetime", kind) if kind == pa.date32():
            cells = cells.cast(MOMENT)
        case (name, kind) if kind != KINDS.get(name):
            return None
    return _required(column, cells, Typed(cells, holds))


def _all_true(mask: pa.ChunkedArray) -> Mask:
    found: Mask = pc.fill_null(mask, True).to_numpy()
    return found


def nothing(column: Column) -> Typed:
    """A column of no cell."""
    return Typed(pa.chunked_array([], KINDS.get(column.type, pa.string())), np.zeros(0, dtype=bool))


def required(column: Column) -> bool:
    return column.role == "id" or not column.nulls


def _required(column: Column, cells: pa.ChunkedArray, found: Typed) -> Typed:
    if not required(column) or not cells.null_count:
        return found
    return Typed(found.values, found.holds & cells.is_valid().to_numpy())


def _all(masks: Sequence[Mask]) -> Mask:
    return np.concatenate(masks) if masks else np.zeros(0, dtype=bool)


def _cast(cells: pa.ChunkedArray, kind: str) -> Typed | None:
    few: bool | None = None
    left = int(len(cells) * ODD_SHARE) + ODD_CELLS
    values, masks = [], []
    for chunk in cells.chunks:
        holds = np.ones(len(chunk), dtype=bool)
        try:
            typed = pc.cast(chunk, KINDS[kind])
        except pa.ArrowInvalid:
            few = _are_few(cells) if few is None else few
            odd = None if few else _uncastable(chunk, KINDS[kind], left)
            if odd is None:
                return None
            left -= len(odd)
            holds[odd] = False
            typed = pc.cast(pc.if_else(pa.array(holds), chunk, None), KINDS[kind])
        if kind == "integer" and _holds_an_x(chunk):
            return None  # Arrow takes 0x1F for 31
        if kind == "float":
            holds &= np.isfinite(_numbers(typed))
        if kind == "datetime":
            holds &= np.isin(_lengths(chunk), MOMENTS) | ~_filled(chunk)
        if kind in TEMPORAL:
            holds &= ~pc.fill_null(pc.less(typed, FIRST[kind]), False).to_numpy(zero_copy_only=False)
        values.append(typed)
        masks.append(holds)
    return Typed(pa.chunked_array(values, KINDS[kind]), _all(masks))


def _are_few(cells: pa.ChunkedArray) -> bool:
    """Whether the first cells hold few different texts: to ask the full rules of each is quick then."""
    head = cells.slice(0, TRIED)
    return bool(pc.count_distinct(head).as_py() <= len(head) * FEW)


def _uncastable(cells: pa.StringArray, target: pa.DataType, most: int) -> list[int] | None:
    """The places of cells that cannot be cast; None when they are more than so many."""
    found: list[int] = []
    waiting = [(start, min(PIECE, len(cells) - start)) for start in range(0, len(cells), PIECE)]
    while waiting:
        start, length = waiting.pop()
        try:
            pc.cast(cells.slice(start, length), target)
        except pa.ArrowInvalid:
            if length == 1:
                found.append(start)
                if len(found) > most:
                    return None
                continue
            half = length // 2
            waiting += [(start, half), (start + half, length - half)]
    return found


def _worded_oddly(cells: pa.StringArray) -> Mask:
    """Which cells begin or end in a space of any kind, or may be a word for what is missing."""
    lengths, filled = _lengths(cells), _filled(cells)
    codes = _codes(cells)
    if not len(codes):
        return np.zeros(len(cells), dtype=bool)
    ends = _offsets(cells)[1:]
    first = codes.take(ends - lengths, mode="clip")
    last = codes.take(ends - 1, mode="clip")
    # Below the first printable character, which is behind the space, stand all spaces of ASCII.
    odd = (first <= ord(" ")) | (last <= ord(" "))
    if codes.max() > ASCII:
        odd |= _spaced_widely(codes, ends - lengths, ends, first, last)
    short = np.flatnonzero(filled & (lengths <= max(map(len, MISSING))))
    if len(short):
        words = pc.is_in(cells.take(pa.array(short)), pa.array(MISSING))
        odd[short] |= words.to_numpy(zero_copy_only=False)
    return odd & filled


def _spaced_widely(
    codes: Codes, starts: npt.NDArray[np.int32], ends: npt.NDArray[np.int32], first: Codes, last: Codes
) -> Mask:
    """Which cells begin or end in a no-break space or a byte order mark."""
    blank, mark = (text.encode() for text in ("\u00a0", "\ufeff"))

    def at(places: npt.NDArray[np.int32]) -> Codes:
        return codes.take(places, mode="clip")

    begins = (first == blank[0]) & (at(starts + 1) == blank[1])
    begins |= (first == mark[0]) & (at(starts + 1) == mark[1]) & (at(starts + 2) == mark[2])
    closes = (last == blank[1]) & (at(ends - 2) == blank[0])
    closes |= (last == mark[2]) & (at(ends - 2) == mark[1]) & (at(ends - 3) == mark[0])
    found: Mask = begins | closes
    return found


def _filled(cells: pa.StringArray) -> Mask:
    if not cells.null_count:
        return np.ones(len(cells), dtype=bool)
    found: Mask = cells.is_valid().to_numpy(zero_copy_only=False)
    return found


def _numbers(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Numbers as they lie, with 0 in the place of NULL."""
    found: npt.NDArray[np.float64] = (pc.fill_null(values, 0.0) if values.null_count else values).to_numpy()
    return found


def _offsets(cells: pa.StringArray) -> npt.NDArray[np.int32]:
    """Where each cell begins in the bytes of `_codes`, and where the last one ends."""
    found = np.frombuffer(cells.buffers()[1], np.int32, len(cells) + 1, cells.offset * 4)
    return found


def _lengths(cells: pa.StringArray) -> npt.NDArray[np.int32]:
    """How many bytes each cell has."""
    return np.diff(_offsets(cells))


def _codes(cells: pa.StringArray) -> Codes:
    data = cells.buffers()[2]
    return np.frombuffer(data if data is not None else b"", np.uint8)


def _holds_an_x(cells: pa.StringArray) -> bool:
    codes = _codes(cells)
    return bool(((codes | 0x20) == ord("x")).any())
