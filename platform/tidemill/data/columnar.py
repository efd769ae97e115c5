"""Reading Parquet: columns become rows of text, as a workbook's do; the line is the row's number, from 1.

Here belongs how typed columns become cells. Cells are text so that a contract judges every kind of file alike,
with the same accounting; columns that hold no cells (lists, structures, bytes) are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidemill.data.cell_texts import texts_of
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
                yield _chunk(line, [texts_of(column) for column in batch.columns])
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


def _unreadable(place: Place, error: Exception) -> InvalidInput:
    return InvalidInput(
        "The Parquet file cannot be read",
        detail=f"{place.name}: {str(error)[:200]}",
        remedy="Check that it was copied completely, and write it again if it was not.",
    )
