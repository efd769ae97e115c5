"""Values as cells of text: what a person would have typed into a CSV, one value or a column at a time.

Here belongs how typed values of workbooks and of Parquet are shown. What text means is `data/casting.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Beyond this a double no longer holds every integer.
EXACT_INTEGERS = 2**53
MOMENT = pa.timestamp("us")


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


def texts_of(column: pa.Array) -> pa.StringArray:
    """Values as a person would have typed them into a CSV; `text_of` says so too, of one value."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return texts_of(column.dictionary_decode())
    if pa.types.is_floating(kind):
        return _corrected(column.cast(pa.float64()), "[a-z]|^-0$|[.]0$|^-?0[.]0000")
    if pa.types.is_decimal(kind):
        return _corrected(column, "E")
    if pa.types.is_timestamp(kind):
        # To microseconds, as the table keeps them; a moment with a zone becomes the same moment in UTC.
        column = column.cast(pa.timestamp("us", kind.tz and "UTC"), safe=False)
        text = column.cast(pa.timestamp("us")).cast(pa.string())
        whole = pc.utf8_slice_codeunits(text, 0, -len(".000000"))
        day = pc.utf8_slice_codeunits(text, 0, -len(" 00:00:00.000000"))
        text = pc.if_else(pc.ends_with(text, ".000000"), whole, text)
        return pc.if_else(pc.ends_with(text, " 00:00:00"), day, text)
    if pa.types.is_time(kind):
        text = column.cast(pa.time64("us"), safe=False).cast(pa.string())
        return pc.if_else(pc.ends_with(text, ".000000"), pc.utf8_slice_codeunits(text, 0, -7), text)
    if pa.types.is_date(kind):
        return column.cast(pa.date32(), safe=False).cast(pa.string())
    if kind == pa.null():
        return column.cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column.validate(full=True)
        text = column.cast(pa.string())
        return pc.if_else(pc.equal(pc.binary_length(text), 0), pa.scalar(None, pa.string()), text)
    return column.cast(pa.string())


def type_for(types: Iterable[pa.DataType]) -> pa.DataType:
    """The type in which values of these types can stand together and are shown the same: text at worst."""
    kinds = {kind for kind in types if not pa.types.is_null(kind)}
    if len(kinds) == 1:
        return kinds.pop()
    for wider, narrower in ((pa.float64(), pa.int64()), (MOMENT, pa.date32())):
        if kinds == {wider, narrower}:
            return wider
    return pa.string()


def _corrected(column: pa.Array, odd: str) -> pa.StringArray:
    """Numbers as Arrow shows them, but for those that it shows another way than people write them."""
    text = column.cast(pa.string())
    which = pc.fill_null(pc.match_substring_regex(text, odd), False)
    values = [_text(value) for value in column.filter(which).to_pylist()]
    return pc.replace_with_mask(text, which, pa.array(values, pa.string())) if values else text


def _text(value: Any) -> str | None:
    return format(value, "f") if isinstance(value, Decimal) else text_of(value)
