"""Cells of a type are judged like the texts that say the same: whatever a sheet holds and a contract asks."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.data import sieve
from tidemill.data.accept import Acceptor
from tidemill.data.cell_texts import MOMENT
from tidemill.data.source import SourceFile
from tidemill.data.staging import Chunk, InPieces, as_texts, workbench
from tidemill.project import Project

DOUBLES = st.one_of(
    st.floats(-1e4, 1e4).map(lambda each: round(each, 2)),
    st.floats(),
    st.integers(-60, 60).map(float),
    st.sampled_from([-0.0, 0.5, 1e15, 1e16, 2.0**53, -(2.0**53) + 1, 1e300, 5e-324, 1e-5]),
)
MOMENTS = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(9999, 1, 1))
VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-60, 60) | st.integers(-(10**8), 10**8),
    pa.float64(): DOUBLES,
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(dt.date(1900, 3, 1), dt.date(9999, 1, 1)),
    MOMENT: MOMENTS | MOMENTS.map(lambda each: each.replace(hour=0, minute=0, second=0, microsecond=0)),
    pa.string(): st.sampled_from(
        ["a", " b", "7", "3.0", "yes", "NA", "2024-01-05", "é", "2024-01-05 10:00:00"]
    ),
}
COLUMNS = st.sampled_from(
    [
        "{type: integer, min: -5}",
        "{type: integer, nulls: false}",
        "{type: integer, thousands: ','}",
        "{type: integer, unique: true}",
        "{type: float, max: 1000}",
        "{type: float, unique: true}",
        "{type: float, min: 0}",
        "{type: string, values: ['7', '2.5', '2024-01-05']}",
        "{type: boolean}",
        "{type: boolean, nulls: false}",
        "{type: date}",
        "{type: date, format: '%Y-%d-%m'}",
        "{type: datetime}",
        "{type: datetime, format: '%d/%m/%Y'}",
        "{type: category, values: [a, '7', 'true']}",
        "{type: string}",
        "{type: string, role: id}",
        "{type: text}",
    ]
)
RULES = ("c0 IS NULL OR c1 IS NOT NULL", "line < 50")


@st.composite
def sheets(draw: st.DrawFn) -> tuple[str, list[pa.Table]]:
    """A contract of three columns, called `line` one of them, and the pieces of a sheet."""
    columns = {name: draw(COLUMNS) for name in ("c0", "c1", "line")}
    if sum("role: id" in column for column in columns.values()) > 1:
        columns |= {"c1": "{type: string}", "line": "{type: text}"}
    contract = "name: mixed\ntask: binary\ncolumns:\n"
    contract += "".join(f"  {name}: {column}\n" for name, column in columns.items())
    contract += "  goal: {type: category, role: target, optional: true}\n"
    rules = [RULES[0]] if draw(st.booleans()) else []
    if columns["line"].startswith(("{type: integer", "{type: float")) and draw(st.booleans()):
        rules.append(RULES[1])
    if rules:
        contract += "rules:\n" + "".join(
            f'  - {{name: r{n}, check: "{rule}"}}\n' for n, rule in enumerate(rules)
        )
    pieces, line = [], 2
    for _ in range(draw(st.integers(1, 2))):
        rows = draw(st.integers(1, 6))
        table = {"line": pa.array(range(line, line + rows), pa.int64())}
        for index in range(3):
            kind = draw(st.sampled_from(list(VALUES)))
            cells = draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows))
            table[f"c{index}"] = pa.array(cells, kind)
        pieces.append(pa.table(table))
        line += rows
    return contract, pieces


def judged(folder: Path, contract: str, pieces: list[pa.Table]) -> tuple[list[Any], list[Any]]:
    """The accepted rows and the rejects of a sheet with these cells."""
    project = Project.parse(contract, Path("mixed/project.yaml"))
    rows = InPieces(iter([Chunk(piece, []) for piece in pieces]))
    source = SourceFile("book.xlsx", ["c0", "c1", "line"], "excel", rows)
    with workbench(folder / "scratch") as connection:
        acceptor = Acceptor(connection, source, project, "0" * 64)
        tables = list(acceptor.tables(folder / "rejects.csv"))
        pq.write_table(pa.concat_tables(tables), folder / "rows.parquet")
        more = acceptor.held_back(str(folder / "rows.parquet"), folder / "rejects.csv")
        accepted = [repr(row) for table in [*tables, *([more] if more else [])] for row in table.to_pylist()]
    with (folder / "rejects.csv").open(newline="") as handle:
        rejects = list(csv.reader(handle))[1:]
    assert acceptor.tally.rows == len(accepted) + acceptor.tally.rejected == sum(map(len, pieces))
    return accepted, rejects


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(sheets())
def test_cells_of_a_type_are_judged_like_their_texts(
    tmp_path_factory: pytest.TempPathFactory, sheet: tuple[str, list[pa.Table]]
) -> None:
    contract, pieces = sheet
    folder = tmp_path_factory.mktemp("sieve")
    as_they_are = judged(folder, contract, pieces)
    assert as_they_are == judged(folder, contract, [as_texts(piece) for piece in pieces])


@pytest.fixture
def shuffling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that gives the rows of a sheet in another order."""
    true = sieve.Sieve._in_order
    shuffled = lambda sieve, query, *given: true(sieve, f"{query} ORDER BY line DESC", *given)  # noqa: E731
    monkeypatch.setattr(sieve.Sieve, "_in_order", shuffled)


@pytest.mark.usefixtures("shuffling")
def test_rows_in_another_order_keep_their_cells(tmp_path: Path) -> None:
    contract = (
        "name: mixed\ntask: binary\ncolumns:\n  c0: {type: integer, role: target}\n  c1: {type: float, max: 24}\n"
        "  line: {type: text}\n"
    )
    cells = {"line": range(2, 52), "c0": range(50), "c1": range(50), "c2": [f"t{n}" for n in range(50)]}
    rows, _ = judged(tmp_path, contract, [pa.table(cells)])
    assert rows == [
        repr(
            {
                "_row": f"000000000000:{n + 2}",
                "_file": "0" * 16,
                "_line": n + 2,
                "c0": n,
                "c1": float(n),
                "line": f"t{n}",
            }
        )
        for n in range(25)
    ]
