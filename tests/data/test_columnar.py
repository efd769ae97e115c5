"""Parquet files as a source."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidemill.data import columnar
from tidemill.data.read import open_source
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
