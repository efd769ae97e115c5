"""Reading Parquet: columns become rows of text, as a workbook's do; the line is the row's number, from 1.

Here belongs how typed columns become cells. Cells are text so that a contract judges every kind of file alike,
with the same accounting; columns that hold no cells (lists, structures, bytes) are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.data.sheet_values import text_of
from tidemill.data.source import Fault, Place, Row, SourceFile, empty_file
from tidemill.errors import InvalidInput

# Cells in memory at once, as Python objects: rows are fewer when columns are many.
CELLS_AT_ONCE = 200_000


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
    return SourceFile(place.name, [name.strip() for name in schema.names], "parquet", _rows(place, file))


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


def _rows(place: Place, file: pq.ParquetFile) -> Iterator[Row]:
    size = max(CELLS_AT_ONCE // len(file.schema_arrow.names), 1)
    line = 0
    with closing(file):
        try:
            for batch in file.iter_batches(batch_size=size):
                columns = [_texts(column) for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    line += 1
                    yield _row(line, list(cells))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(place, error) from error


def _row(line: int, cells: list[str | None]) -> Row:
    if any(cell is not None and "\0" in cell for cell in cells):
        return Row(line, [], Fault("", "", "the row holds a NUL byte"))
    if all(cell is None for cell in cells):
        return Row(line, [], Fault("", "", "every cell of the row is empty"))
    return Row(line, cells)


def _texts(column: pa.Array) -> list[str | None]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        # To microseconds, as the table keeps them; a moment with a zone becomes the same moment in UTC.
        column = column.cast(pa.timestamp("us", kind.tz and "UTC"), safe=False)
        if kind.tz:
            column = column.cast(pa.timestamp("us"))
    elif pa.types.is_time64(kind):
        column = column.cast(pa.time64("us"), safe=False)
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> str | None:
    return format(value, "f") if isinstance(value, Decimal) else text_of(value)


def _unreadable(place: Place, error: Exception) -> InvalidInput:
    return InvalidInput(
        "The Parquet file cannot be read",
        detail=f"{place.name}: {str(error)[:200]}",
        remedy="Check that it was copied completely, and write it again if it was not.",
    )
