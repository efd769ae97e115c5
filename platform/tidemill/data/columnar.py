"""Reading Parquet: columns become rows of text, as a workbook's do; the line is the row's number, from 1.

Here belongs how typed columns become cells. Cells are text so that a contract judges every kind of file alike,
with the same accounting; columns that hold no cells (lists, structures, bytes) are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidemill.data.sheet_values import text_of
from tidemill.data.source import BLANK_ROW, Fault, Place, Row, SourceFile, empty_file
from tidemill.data.staging import Chunk, InPieces
from tidemill.errors import InvalidInput

# Cells in memory at once: rows are fewer when columns are many.
CELLS_AT_ONCE = 500_000
NUL = Fault("", "", "the row holds a NUL byte")


def open_columnar(place: Place) -> SourceFile:
    """Open a Parquet file. Raises InvalidInput when it is none, or has columns that no table cell can hold."""
    try:
        file = pq.ParquetFile(place.path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(place, error) from error
    schema = file.schema_arrow
    if not schema.names:
        file.close()
        raise empty_file(place.name)
    nested = [field for field in schema if not _is_plain(field.type)]
    if nested:
        file.close()
        raise InvalidInput(
            "A column holds no plain values",
            detail=f"{place.name}: {', '.join(f'{field.name} is {field.type}' for field in nested[:5])}"[
                :500
            ],
            remedy="Leave such columns out, or write them as numbers, text, dates or booleans.",
        )
    rows = InPieces(_pieces(place, file))
    return SourceFile(place.name, [name.strip() for name in schema.names], "parquet", rows)


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_decimal,
        pa.types.is_date,
        pa.types.is_timestamp,
        pa.types.is_time,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)


def _pieces(place: Place, file: pq.ParquetFile) -> Iterator[Chunk]:
    size = max(CELLS_AT_ONCE // len(file.schema_arrow.names), 1)
    line = 1
    with closing(file):
        try:
            for batch in file.iter_batches(batch_size=size):
                yield _chunk(line, [_texts(column) for column in batch.columns])
                line += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(place, error) from error


def _chunk(first: int, columns: list[pa.StringArray]) -> Chunk:
    """Rows from line `first` on; those with a NUL byte or no cell at all are faults."""
    rows = len(columns[0])
    lines = np.arange(first, first + rows)
    nul, filled = np.zeros(rows, bool), np.zeros(rows, bool)
    for column in columns:
        filled |= column.is_valid().to_numpy(zero_copy_only=False)
        nul |= pc.fill_null(pc.match_substring(column, "\0"), False).to_numpy(zero_copy_only=False)
    named = {f"c{index}": column for index, column in enumerate(columns)}
    table = pa.table({"line": pa.array(lines, pa.int64())} | named)
    good = filled & ~nul
    if good.all():
        return Chunk(table, [])
    faults = [Row(line, [], NUL if nul[line - first] else BLANK_ROW) for line in lines[~good].tolist()]
    return Chunk(table.filter(pa.array(good)), faults)


def _texts(column: pa.Array) -> pa.StringArray:
    """Values as a person would have typed them into a CSV; `text_of` says so too, of one value."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _texts(column.dictionary_decode())
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
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column.validate(full=True)
        text = column.cast(pa.string())
        return pc.if_else(pc.equal(pc.binary_length(text), 0), pa.scalar(None, pa.string()), text)
    return column.cast(pa.string())


def _corrected(column: pa.Array, odd: str) -> pa.StringArray:
    """Numbers as Arrow shows them, but for those that it shows another way than people write them."""
    text = column.cast(pa.string())
    which = pc.fill_null(pc.match_substring_regex(text, odd), False)
    values = [_text(value) for value in column.filter(which).to_pylist()]
    return pc.replace_with_mask(text, which, pa.array(values, pa.string())) if values else text


def _text(value: Any) -> str | None:
    return format(value, "f") if isinstance(value, Decimal) else text_of(value)


def _unreadable(place: Place, error: Exception) -> InvalidInput:
    return InvalidInput(
        "The Parquet file cannot be read",
        detail=f"{place.name}: {str(error)[:200]}",
        remedy="Check that it was copied completely, and write it again if it was not.",
    )
