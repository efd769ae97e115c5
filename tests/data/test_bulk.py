"""The bulk of a file and the careful reader give the same rows, values, rejects and lines, whatever it holds."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tidemill.data import bulk, sieve, stretches, unique
from tidemill.data.accept import Acceptor
from tidemill.data.casting import cleaned, typed
from tidemill.data.plain import plain
from tidemill.data.read import open_source
from tidemill.data.staging import workbench
from tidemill.data.unique import _Rising, _Seen
from tidemill.errors import InvalidInput
from tidemill.project import Column, Project

CONTRACT = """
name: mixed
task: binary
columns:
  key: {type: string, role: id}
  count: {type: integer, min: -5}
  size: {type: float, max: 1000}
  kind: {type: category, values: [a, b, c d]}
  word: {type: string}
  note: {type: text}
  member: {type: boolean}
  day: {type: date}
  time: {type: datetime}
  goal: {type: category, role: target}
rules:
  - {name: small, check: 'count < 50 OR size < 50'}
"""
PROJECT = Project.parse(CONTRACT, Path("mixed/project.yaml"))
HEADER = ",".join(PROJECT.columns)


def taken_in(
    folder: Path, text: bytes, project: Project = PROJECT
) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """The accepted rows and the rejects of a file."""
    file = folder / "file.csv"
    file.write_bytes(text)
    with workbench(folder / "scratch") as connection:
        source = open_source(file, scratch=folder / "scratch")
        acceptor = Acceptor(connection, source, project, "0" * 64)
        tables = list(acceptor.tables(folder / "rejects.csv"))
        pq.write_table(pa.concat_tables(tables or [acceptor.schema.empty_table()]), folder / "rows.parquet")
        more = acceptor.held_back(str(folder / "rows.parquet"), folder / "rejects.csv")
        rows = [row for table in [*tables, *([more] if more else [])] for row in table.to_pylist()]
    with (folder / "rejects.csv").open(newline="") as handle:
        rejects = list(csv.reader(handle))[1:]
    assert acceptor.tally.rows == len(rows) + acceptor.tally.rejected
    return rows, rejects


def both(folder: Path, text: bytes, project: Project = PROJECT) -> tuple[Any, Any]:
    """What becomes of a file in bulk, and record by record; or what it is refused for."""
    found: list[Any] = []
    for careful in (False, True):
        with pytest.MonkeyPatch.context() as patched:
            if careful:
                patched.setattr(bulk.Bulk, "take", lambda _, stretch, __: stretch)
            try:
                found.append(taken_in(folder, text, project))
            except InvalidInput as refused:
                found.append(str(refused))
    return found[0], found[1]


CELLS = st.one_of(
    st.sampled_from([
        "", "a", "b", "c d", " a", "a ", "NA", "nan", "None", "1", "0", "-3", "007", "3.0", "3.7", "1e3",
        "1_000", "0x1F", "+5", "+-5", "inf", "1e400", ".5", "5.", " 5 ", "yes", "NO", "true", "2024-01-05",
        "2024-1-5", "31.12.2024", "2024-02-30", "0000-01-01", "10000-01-01", "2024-01-05 10:00:00",
        "2024-01-05T10:00:00Z", "2024-01-05 10:00", "2024-01-05 10:00:00.5", "2024-01-05 10:00:00+02",
        '"a"', '"a,b"', '"a ""b"""', '"', 'a"b', ' "a"', '"a" ', '""', "\xa0a", "a\u2003", "\ufeffb", "é",
        "\x00", "\t1", "1\t", "=1+1", "9223372036854775808", "epoch",
    ]),
    st.text(st.sampled_from('ab1,.-+e_ "\n\r\'é'), max_size=6),
    st.integers(-99, 99).map(str),
)  # fmt: skip
ROWS = st.lists(st.lists(CELLS, min_size=9, max_size=11), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, end=st.sampled_from(["\n", "\r\n"]), closed=st.booleans())
@example(
    rows=[["k", "1", "2", "a", "w", '"open', "yes", "", "", "g"], ["l"] + ["1"] * 9], end="\n", closed=True
)
@example(rows=[["k"] + ["1"] * 4 + ["x" * 131_073] + ["1"] * 4, [""] * 11], end="\n", closed=True)
@example(rows=[[""] * 10, ["k"] + [""] * 9], end="\r\n", closed=False)
def test_the_bulk_gives_what_care_gives(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], end: str, closed: bool
) -> None:
    lines = [HEADER, *(",".join(row) for row in rows)]
    text = end.join(lines) + (end if closed else "")
    quick, careful = both(tmp_path_factory.mktemp("bulk"), text.encode())
    assert quick == careful


NUMBERISH = st.text(st.sampled_from("0123456789+-._eEx,' \tinfatrue"), max_size=8)
DATEISH = st.text(st.sampled_from("0123456789-/.: TZ+"), min_size=8, max_size=22)
KINDS = ("integer", "float", "boolean", "date", "datetime", "string", "text")


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(
        st.one_of(
            NUMBERISH, DATEISH, CELLS, st.dates().map(str), st.datetimes().map(str), st.floats().map(str)
        ),
        min_size=1,
    ),
    pieces=st.integers(1, 3),
)
@example(
    texts=["1e-400", "4.9e-324", "-0", "1.7976931348623159e308", "123456789012345678901234567890"], pieces=1
)
@example(texts=["0x1F", "1"], pieces=1)
@example(texts=["2024-01-05 10", "2024-01-05 10:00", "2024-01-05 10:00:00.123456", "0000-01-01"], pieces=2)
def test_a_cell_that_is_plain_has_the_value_that_casting_gives(texts: list[str], pieces: int) -> None:
    cells = pa.array([text or None for text in texts], pa.string())
    each = -(-len(texts) // pieces)
    chunked = pa.chunked_array([cells.slice(start, each) for start in range(0, len(texts), each)])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for kind in KINDS:
            column = Column(type=kind, nulls=False)
            found = plain(column, chunked, ".")
            if found is None:
                continue
            connection.register("cells", pa.table({"c": cells, "v": found.values, "holds": found.holds}))
            wrong = connection.sql(
                f"SELECT c, v, w FROM (SELECT *, {typed(column, 'r')} AS w FROM "
                f"(SELECT *, {cleaned(column, 'c')} AS r FROM cells)) WHERE holds AND v IS DISTINCT FROM w"
            ).fetchall()
            assert not wrong, kind
            assert not any(
                text is None for text, holds in zip(cells.to_pylist(), found.holds, strict=True) if holds
            )


@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(["integer", "float", "date", "datetime"]),
    odd=st.sets(st.integers(0, 4999), max_size=7),
)
def test_cells_that_cannot_be_cast_are_found(kind: str, odd: set[int]) -> None:
    right = {"integer": "17", "float": "1.5", "date": "2024-01-05", "datetime": "2024-01-05 10:00:00"}[kind]
    # All different, so that the column isn't one of few values.
    cells = pa.array([f"no{n}" if n in odd else right for n in range(5000)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tidemill.data.plain.FEW", 0)
        found = plain(Column(type=kind), pa.chunked_array([cells[:3000], cells[3000:]]), ".")
    assert found is not None
    assert set(np.flatnonzero(~found.holds).tolist()) == odd
    assert found.values.null_count == len(odd)


BROKEN_LINES = st.lists(st.text(st.sampled_from('a ,"'), max_size=6), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(lines=BROKEN_LINES, end=st.sampled_from(["\n", "\r\n"]), closed=st.booleans())
def test_a_stretch_tells_from_its_bytes_what_its_lines_tell(lines: list[str], end: str, closed: bool) -> None:
    lines = lines if closed or lines[-1] else [*lines, "a"]
    text = (end.join(lines) + (end if closed else "")).encode()
    stretch = stretches.Stretch(bytearray(text), len(text), 7, len(lines))
    doubtful = stretch.doubtful_lines(",")
    for number, line in enumerate(lines, start=7):
        alone = list(csv.reader(io.StringIO("\n".join([line, "x"])), strict=True)) if _is_whole(line) else []
        assert number in doubtful or (line == "" and alone == [[], ["x"]]) or len(alone) == 2, line
        assert stretch.blank_lines[number - 7] == (line == "")
    plainly = [number for number, line in enumerate(lines, start=7) if '"' not in line]
    assert not set(plainly) & set(doubtful)
    with stretch.blanked([(7, 8)]):
        assert not bytes(stretch.line(7)).strip()
    assert bytes(stretch.content) == text


def _is_whole(line: str) -> bool:
    """Whether one record stands in the line for a reader that is strict."""
    try:
        list(csv.reader(io.StringIO(line), strict=True))
    except csv.Error:
        return False
    return True


@given(batches=st.lists(st.lists(st.integers(0, 9)), max_size=6))
def test_hashes_met_again_are_all_but_the_first_of_each(batches: list[list[int]]) -> None:
    seen, before = _Seen(), set[int]()
    for batch in batches:
        met = seen.met(np.array(batch, dtype=np.uint64)).tolist()
        for value, again in zip(batch, met, strict=True):
            assert again == (value in before)
            before.add(value)


@settings(deadline=None)
@given(
    batches=st.lists(
        st.lists(st.integers(0, 40)).flatmap(lambda batch: st.sampled_from([batch, sorted(batch)]))
    ),
    limit=st.sampled_from([0, 3, 99]),
)
def test_values_that_rise_are_told_from_those_met_again(batches: list[list[int]], limit: int) -> None:
    rising, before = _Rising(), set[int]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(unique, "FALLING", limit)
        for batch in batches:
            hashes = np.array(batch, dtype=np.uint64)
            met = rising.met(pa.chunked_array([pa.array(batch, pa.int64())]), hashes)
            if met is None:
                assert batch
                break
            for value, again in zip(batch, met.tolist(), strict=True):
                assert again == (value in before)
                before.add(value)


@pytest.mark.parametrize("seed", range(2))
def test_a_large_file_with_faults_of_all_kinds_is_read_as_with_care(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Over many stretches and blocks of the reader, with doubles, blank lines and cells over lines."""
    monkeypatch.setattr(stretches, "STRETCH", 40_000)
    monkeypatch.setattr(bulk, "BLOCK", 3_000)
    chance = random.Random(seed)
    odd = ["", "short,row", '"open,1', "a" * 900, ",,,,,,,,,", ",,,,,,,,,,", '"two\nlines",1,2,a,w,n,1,,,g']
    lines = []
    for n in range(3_000):
        key = f"k{n if chance.random() > 0.01 else chance.randrange(3_000):06d}"
        cells = [
            key,
            str(n % 60),
            f"{n % 300 / 7}",
            "ab"[n % 2],
            f"w{n % 9}",
            f'"said ""{n}"", left"',
            "true",
        ]
        cells += [f"20{n % 90 + 10}-01-05", "2024-01-05 10:00:00", "g"]
        if chance.random() < 0.02:
            cells[chance.randrange(10)] = chance.choice(
                ["NA", " x ", "1e3", "0x1F", "3.0", '"a"b', "", "2024-1-5"]
            )
        lines.append(chance.choice(odd) if chance.random() < 0.01 else ",".join(cells))
    end = "\r\n" if seed else "\n"
    quick, careful = both(tmp_path, end.join([HEADER, *lines, ""]).encode())
    assert quick == careful
    assert len(quick[0]) > 2_500
    assert len(quick[1]) > 30


def test_lines_are_right_around_rows_that_fall_out(tmp_path: Path) -> None:
    lines = [f"k{n},{n % 50},1.5,a,w,n,yes,2024-01-05,2024-01-05 10:00:00,g" for n in range(2, 3002)]
    lines[10] = "short,row"
    lines[20] = lines[20].replace(",1.5,", ",oops,")
    lines[2999] += ",too,long"
    rows, rejects = taken_in(tmp_path, "\n".join([HEADER, *lines]).encode())
    assert [row["_line"] for row in rows] == [int(row["key"][1:]) for row in rows]
    assert [int(line) for line, *_ in rejects] == [12, 22, 3001]
    assert len(rows) == 2997


def test_a_stray_quote_costs_its_own_line_in_any_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "STRETCH", 20_000)
    lines = [f'k{n},1,1.5,a,"w, w",n,yes,2024-01-05,2024-01-05 10:00:00,g' for n in range(2, 3002)]
    lines[1500] = 'k1502,1,1.5,a,"w, w,n,yes,2024-01-05,2024-01-05 10:00:00,g'
    rows, rejects = taken_in(tmp_path, "\n".join([HEADER, *lines, ""]).encode())
    assert len(rows) == 2999
    assert [line for line, *_ in rejects] == ["1502"]


def test_a_record_may_cross_from_one_stretch_into_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "STRETCH", 600)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(PROJECT.columns)
    for n in range(200):
        note = "one\ntwo\nthree" if n % 7 == 0 else "one"
        writer.writerow([f"k{n}", 1, 1.5, "a", "w", note, "yes", "2024-01-05", "2024-01-05 10:00:00", "g"])
    quick, careful = both(tmp_path, buffer.getvalue().encode())
    assert quick == careful
    assert len(quick[0]) == 200


def test_rows_keep_their_lines_whatever_the_contract_asks(tmp_path: Path) -> None:
    """Many words would be looked up by a join, which gives rows in any order."""
    words = [f"w{n}" for n in range(30)]
    listed = ", ".join(words)
    text = (
        CONTRACT.replace("values: [a, b, c d]", f"values: [{listed}]")
        + "  - {name: known, check: \"kind IN ('"
        + "', '".join(words)
        + "')\"}\n"
    )
    project = Project.parse(text, Path("mixed/project.yaml"))
    lines = [
        f"k{n:06d},{n % 50},1.5,w{n % 30},w{n},n,yes,2024-01-05,2024-01-05 10:00:00,g" for n in range(150_000)
    ]
    rows, rejects = taken_in(tmp_path, "\n".join([HEADER, *lines]).encode(), project)
    assert [row["_line"] for row in rows] == [int(row["key"][1:]) + 2 for row in rows]
    assert len(rows) == 150_000
    assert not rejects


def test_answers_that_come_shuffled_are_put_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = sieve.Sieve._in_order
    shuffled = lambda sieve, query, *given: true(sieve, f"{query} ORDER BY hash(line)", *given)  # noqa: E731
    lines = [f"k{n},1,1.5,a,w{n},n,yes,2024-01-05,2024-01-05 10:00:00,g" for n in range(300)]
    monkeypatch.setattr(sieve.Sieve, "_in_order", shuffled)
    rows, _ = taken_in(tmp_path, "\n".join([HEADER, *lines]).encode())
    assert [row["_line"] for row in rows] == [int(row["key"][1:]) + 2 for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_encoding_is_read_in_bulk(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "STRETCH", 5_000)
    took = []
    true = bulk.Bulk.take
    monkeypatch.setattr(bulk.Bulk, "take", lambda *given: took.append(true(*given)) or took[-1])
    lines = [f"k{n},1,1.5,a,Grün,ça,yes,2024-01-05,2024-01-05 10:00:00,g" for n in range(500)]
    rows, rejects = taken_in(tmp_path, "\n".join([HEADER, *lines]).encode(encoding))
    assert len(rows) == 500
    assert not rejects
    assert rows[-1] == {**rows[-1], "word": "Grün", "note": "ça", "_line": 501}
    assert len(took) > 3
    assert all(isinstance(each, sieve.Taken) for each in took)


def test_values_that_share_a_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hash of two values nearly every row is held back, and none is lost or taken twice."""
    true = sieve.Sieve._queries
    alike = lambda *given: [each.replace("hash(_t0)", "hash(strlen(_t0) % 2)") for each in true(*given)]  # noqa: E731
    monkeypatch.setattr(sieve.Sieve, "_queries", alike)
    lines = [f"k{n},1,1.5,a,w{n},n,yes,2024-01-05,2024-01-05 10:00:00,g" for n in range(300)]
    rows, rejects = taken_in(tmp_path, "\n".join([HEADER, *lines, *lines[:5]]).encode())
    assert sorted(row["_line"] for row in rows) == list(range(2, 302))
    assert [int(line) for line, *_ in rejects] == list(range(302, 307))


def test_a_row_that_is_out_leaves_no_value_behind(tmp_path: Path) -> None:
    text = CONTRACT.replace("word: {type: string}", "word: {type: string, unique: true}")
    project = Project.parse(text, Path("mixed/project.yaml"))
    pairs = (("k1", "one"), ("k1", "two"), ("k2", "two"), ("k3", "one"), ("k4", "four"))
    lines = [f"{key},1,1.5,a,{word},n,yes,2024-01-05,2024-01-05 10:00:00,g" for key, word in pairs]
    rows, rejects = taken_in(tmp_path, "\n".join([HEADER, *lines]).encode(), project)
    assert sorted(row["_line"] for row in rows) == [2, 4, 6]
    assert [(line, column) for line, column, *_ in rejects] == [("3", "key"), ("5", "word")]


def test_empty_cells_are_as_plain_as_others(tmp_path: Path) -> None:
    """They were taken for odd once, which only cost time: the full rules judged the column."""
    file = tmp_path / "file.csv"
    lines = [f"k{n},1,1.5,a,w,n,yes,2024-01-05,2024-01-05 10:00:00,g" for n in range(50)]
    file.write_text("\n".join([HEADER, *lines, *(f"e{n}" + "," * 9 for n in range(50))]))
    with workbench(tmp_path / "scratch") as connection:
        source = open_source(file, scratch=tmp_path / "scratch")
        acceptor = Acceptor(connection, source, PROJECT, "0" * 64)
        assert sum(table.num_rows for table in acceptor.tables(tmp_path / "rejects.csv")) == 100
        assert acceptor.sieve.by_value == {3, 6}  # the values that the contract lists, and yes
