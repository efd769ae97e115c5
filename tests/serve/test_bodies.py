"""Every form of body against the same records, and what breaks them."""

import io
import struct
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.errors import InvalidInput, TooLarge
from tidemill.project import Project
from tidemill.serve.bodies import read_arrow, read_csv, read_ndjson
from tidemill.serve.record import RecordFault

TEXT = """\
name: pets
task: binary
columns:
  pet_id: {type: string, role: id}
  kind: {type: category}
  weight: {type: float}
  age: {type: integer}
  chipped: {type: boolean}
  born: {type: date}
  seen: {type: datetime}
  sick: {type: category, role: target}
"""
COLUMNS = Project.parse(TEXT, Path("pets/project.yaml")).columns
RECORDS: list[dict[str, Any]] = [
    {
        "kind": "cat",
        "weight": 4.5,
        "age": 3,
        "chipped": True,
        "born": "2020-02-29",
        "seen": "2026-04-30T14:05:00Z",
    },
    {"kind": None, "weight": None, "age": None, "chipped": None, "born": None, "seen": None},
]


def arrow(table: pa.Table | pa.RecordBatch, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write(table)
    return sink.getvalue()


def pets() -> pa.Table:
    return pa.table(
        {
            "kind": pa.array(["cat", None]).dictionary_encode(),
            "weight": pa.array([4.5, None], pa.float32()),
            "age": pa.array([3, None], pa.int16()),
            "chipped": [True, None],
            "born": pa.array([date(2020, 2, 29), None]),
            "seen": pa.array([datetime(2026, 4, 30, 14, 5), None], pa.timestamp("ms")),
        }
    )


def test_all_forms_give_the_records_that_json_would_have_sent() -> None:
    csv = b"kind,weight,age,chipped,born,seen\r\ncat,4.5,3,true,2020-02-29,2026-04-30T14:05:00Z\r\n,,,,,\r\n"
    assert read_csv(csv, COLUMNS, 10) == RECORDS
    assert read_arrow(arrow(pets()), 10) == RECORDS
    lines = b'{"kind": "cat", "weight": 4.5}\n\n{"age": 3}\r\n'
    assert read_ndjson(lines, 10) == [{"kind": "cat", "weight": 4.5}, {"age": 3}]


def test_moments_of_arrow_keep_their_zone() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    table = pa.table({"seen": pa.array([noon], pa.timestamp("us", "Europe/Berlin"))})
    assert read_arrow(arrow(table), 1) == [{"seen": "2026-01-01T13:00:00+01:00"}]


def test_cells_keep_what_they_are() -> None:
    body = b'kind,weight,age,chipped,x\n007,1e3,+5,FALSE,7\n"a,""b""\n",nan,1.0,yes,\n'
    first, second = read_csv(body, COLUMNS, 10)
    assert first == {"kind": "007", "weight": 1000.0, "age": 5, "chipped": False, "x": "7"}
    assert second == {"kind": 'a,"b"\n', "weight": "nan", "age": 1.0, "chipped": "yes", "x": None}


def test_a_row_that_cannot_be_read_is_its_faults_and_the_others_stay() -> None:
    rows = read_csv(b"kind,age\ncat,1\ncat\ncat,1,2\ndog,2\n", COLUMNS, 10)
    assert [type(row) for row in rows] == [dict, list, list, dict]
    assert rows[1] == [RecordFault("", "'cat'", "line 3 has 1 cells, the header 2")]
    rows = read_ndjson(
        b'{"age": 1}\n{"age": NaN}\n{"age": 1, "age": 2}\n{"a\nnull\n{"n": ' + b"9" * 5000 + b"}", 10
    )
    assert [type(row).__name__ for row in rows] == ["dict", "list", "list", "list", "NoneType", "list"]
    assert "NaN is not a JSON number" in rows[1][0].message
    assert "there twice" in rows[2][0].message
    assert len(rows[5][0].found) <= 60


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body has none"),
        (b"kind,age\n", "the body has none"),
        (b"kind,kind\na,b\n", "there twice"),
        (b'kind\n"a\n', "unexpected end of data"),
        (b'kind\n"a"b\n', "expected after"),
        (b"kind\n\xff\n", "byte 5"),
        ("kind\na\n".encode("utf-16"), "byte 0"),
        (b"kind\n" + b"a" * 200_000, "field larger than field limit"),
    ],
)
def test_csv_that_is_none(body: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_csv(body, COLUMNS, 10)


@pytest.mark.parametrize("body", [b"", b"\n \n"])
def test_no_lines_are_no_records(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="the body has none"):
        read_ndjson(body, 10)


def test_no_more_rows_than_allowed() -> None:
    for read in (
        lambda: read_csv(b"age\n1\n2\n3\n", COLUMNS, 2),
        lambda: read_ndjson(b"{}\n{}\n{}", 2),
        lambda: read_arrow(arrow(pa.table({"age": [1, 2, 3]})), 2),
        # No byte stands behind these rows.
        lambda: read_arrow(arrow(pa.record_batch([pa.nulls(2**30)], names=["age"])), 2),
    ):
        with pytest.raises(TooLarge) as caught:
            read()
        assert caught.value.extra["limit"] == 2


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_buffers_are_refused_before_they_are_unpacked(codec: str) -> None:
    bomb = arrow(pa.table({"kind": ["a" * 50_000_000]}), compression=codec)
    with pytest.raises(InvalidInput, match="compressed"):
        read_arrow(bomb, 10)
    dictionary = arrow(pa.table({"kind": pa.array(["a" * 100_000]).dictionary_encode()}), compression=codec)
    with pytest.raises(InvalidInput, match="compressed"):
        read_arrow(dictionary, 10)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.array([b"x"]),
        pa.array([1], pa.duration("s")),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array([1])),
    ],
    ids=str,
)
def test_types_that_no_column_has_are_refused(column: Any) -> None:
    with pytest.raises(InvalidInput, match="of the type"):
        read_arrow(arrow(pa.table({"kind": column})), 10)


def test_names_that_come_twice_in_arrow_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["age", "age"])
    with pytest.raises(InvalidInput, match="there twice"):
        read_arrow(arrow(table), 10)


def test_claims_beyond_the_body_are_refused() -> None:
    whole = arrow(pets())
    for data in (
        whole[:-100],
        whole[: len(whole) // 2],
        b"\xff\xff\xff\xff" + struct.pack("<I", 2**31),
        b"PK\x03\x04" * 9,
    ):
        with pytest.raises(InvalidInput):
            read_arrow(data, 10)


@settings(max_examples=300, deadline=None, database=None)
@given(st.data())
def test_a_damaged_stream_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(arrow(pets()))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InvalidInput, TooLarge):
        read_arrow(bytes(damaged), 10)
