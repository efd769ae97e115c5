"""Parquet files as a source."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.data import columnar
from tidemill.data.cell_texts import text_of
from tidemill.data.read import open_source
from tidemill.data.source import BLANK_ROW
from tidemill.errors import InvalidInput


def write(folder: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def test_cells_are_what_a_person_would_have_typed(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
    path = write(
        tmp_path,
        whole=[1, None],
        part=[3.0, 0.1],
        text=["x", ""],
        code=pa.array(["u", "v"]).dictionary_encode(),
        day=[dt.date(2024, 5, 6)] * 2,
        at=pa.array([moment, None], pa.timestamp("ns", "Europe/Berlin")),
        flag=[True, False],
        price=[Decimal("1.50"), Decimal("0")],
    )
    source = open_source(path)
    assert (source.format, source.columns[0]) == ("parquet", "whole")
    first, second = source.rows
    assert first.line == 1
    assert first.cells == ["1", "3", "x", "u", "2024-05-06", "2024-05-06 07:08:09", "true", "1.50"]
    assert second.cells == [None, "0.1", None, "v", "2024-05-06", None, "false", "0.00"]


def test_every_row_has_its_number_across_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "CELLS_AT_ONCE", 20)
    rows = list(open_source(write(tmp_path, a=[*range(50), None], b=["x"] * 50 + [None])).rows)
    assert [row.line for row in rows] == list(range(1, 52))
    assert rows[-1].fault is not None


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no plain values"):
        open_source(write(tmp_path, a=[[1], [2]]))
    path = write(tmp_path, a=[1, 2])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidInput, match="cannot be read") as refused:
        open_source(path)
    assert refused.value.remedy


def plainly(value: Any) -> str | None:
    """A cell as text, one value at a time: what the reader of columns must give."""
    match value:
        case None | "":
            return None
        case Decimal():
            return format(value, "f")
        case _:
            return text_of(value)


MOMENTS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats() | st.integers(-(10**17), 10**17).map(float)),
    (pa.float32(), st.floats(width=32)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(st.characters(exclude_categories=("Cs",)), max_size=6)),
    (pa.large_string(), st.text(st.characters(exclude_categories=("Cs",)), max_size=6)),
    (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["", "a", "b\0"])),
    (pa.decimal128(30, 12), st.decimals(-(10**9), 10**9, places=12)),
    (pa.date32(), st.dates()),
    (pa.timestamp("us"), MOMENTS),
    (pa.timestamp("ms"), MOMENTS.map(lambda each: each.replace(microsecond=each.microsecond // 1000 * 1000))),
    (pa.timestamp("s"), MOMENTS.map(lambda each: each.replace(microsecond=0))),
    (pa.timestamp("us"), st.dates().map(lambda each: dt.datetime(each.year, each.month, each.day))),
    (pa.time64("us"), st.times()),
    (pa.time32("s"), st.times().map(lambda each: each.replace(microsecond=0))),
    (pa.null(), st.none()),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), st.integers(1, 6))
def test_columns_are_read_as_each_value_would_be(
    tmp_path: Path, data: st.DataObject, kinds: list[tuple[pa.DataType, st.SearchStrategy[Any]]], rows: int
) -> None:
    values = [data.draw(st.lists(st.none() | each, min_size=rows, max_size=rows)) for _, each in kinds]
    columns = {
        f"c{n}": pa.array(value, kind) for n, (value, (kind, _)) in enumerate(zip(values, kinds, strict=True))
    }
    found = list(open_source(write(tmp_path, **columns)).rows)
    assert [row.line for row in found] == list(range(1, rows + 1))
    shown = zip(
        *([plainly(value) for value in column.to_pylist()] for column in columns.values()), strict=True
    )
    for row, cells in zip(found, shown, strict=True):
        if any(cell is not None and "\0" in cell for cell in cells):
            assert row.fault is not None
            assert "NUL" in row.fault.reason
        elif all(cell is None for cell in cells):
            assert row.fault == BLANK_ROW
        else:
            assert row.cells == list(cells)


def test_text_that_is_no_text_is_refused(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    )
    with pytest.raises(InvalidInput, match="cannot be read"):
        list(open_source(write(tmp_path, a=broken)).rows)
