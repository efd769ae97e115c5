from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill.data.ingest import Ingestion, ingest_pending
from tidemill.data.json_rows import written
from tidemill.data.read import open_source
from tidemill.errors import InvalidInput
from tidemill.home import Home
from tidemill.project import Project, Reading
from tidemill.store.state import State


def opened(tmp_path: Path, data: bytes, **reading: Any) -> tuple[list[str], list[Any]]:
    file = tmp_path / "a.ndjson"
    file.write_bytes(data)
    source = open_source(file, reading=Reading(**reading))
    return source.columns, [(row.line, row.fault.reason if row.fault else row.cells) for row in source.rows]


def test_values_become_cells(tmp_path: Path) -> None:
    columns, rows = opened(
        tmp_path,
        b'\xef\xbb\xbf{"id": 12345678901234567890, "price": 1.10}\n\n'
        b'{"price": null, "id": "x", "ok": true, "no": false}\r\n{"id": "", "price": 1e-3}',
    )
    assert columns == ["id", "price", "ok", "no"]
    assert rows == [
        (1, ["12345678901234567890", "1.10", None, None]),
        (3, ["x", None, "true", "false"]),
        (4, [None, "1e-3", None, None]),
    ]


def test_a_line_that_is_no_row_is_one_fault(tmp_path: Path) -> None:
    bad = {
        b'{"a": NaN}': "NaN",
        b'{"a": 1, "a": 2}': "twice",
        b'{"a": "\\ud800"}': "surrogate",
        b'{"a": [1]}': "a list or an object",
        b'{"a": {"b": 1}}': "a list or an object",
        b"[1, 2]": "an object with the columns' names",
        b'{"a": "\xff"}': "not UTF-8",
        b'{"a": ' + b"[" * 100_000: "too deeply",
        b'{"a": 1': "Expecting",
        b'{"a": "x\\u0000"}': "NUL",
        b"{}": "every cell of the row is empty",
        b'{"a": ""}': "every cell of the row is empty",
    }
    columns, rows = opened(tmp_path, b"\n".join([b'{"a": "good"}', *bad]) + b"\n")
    assert columns == ["a"]
    assert rows[0] == (1, ["good"])
    for (line, reason), (number, why) in zip(rows[1:], enumerate(bad.values(), start=2), strict=True):
        assert line == number
        assert why in reason


@pytest.mark.parametrize(("data", "title"), [(b"\n\n", "empty"), (b"a,b\n1,2\n", "no JSON rows")])
def test_a_file_without_a_row(tmp_path: Path, data: bytes, title: str) -> None:
    with pytest.raises(InvalidInput, match=title):
        opened(tmp_path, data)


def test_a_line_without_an_end(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no end"):
        opened(tmp_path, b'{"a": "' + b"x" * (1 << 24))


def test_what_the_project_says_of_headers_is_not_about_rows_with_names(tmp_path: Path) -> None:
    columns, rows = opened(tmp_path, b'{"a": 1, "b": 2}\n', header=False, names=["x", "y"])
    assert (columns, rows) == (["a", "b"], [(1, ["1", "2"])])


def test_the_same_rows_make_the_same_bytes() -> None:
    one = written([{"b": "2", "a": "1"}, {"a": "3"}], ["a", "b"])
    two = written([{"a": "1", "b": "2"}, {"a": "3", "b": None}], ["a", "b"])
    assert one == two == b'{"a":"1","b":"2"}\n{"a":"3","b":null}\n'


def test_rows_are_judged_by_the_contract(
    home: Home, state: State, shop: Project, drop: Callable[..., Path]
) -> None:
    row = '{"id":"%s","age":%s,"spend":%s,"plan":"plus","member":true,"seen":"2026-01-02","churn":"no"}'
    drop(
        "a.ndjson",
        row % ("b", "130", "1"),
        row % ("c", "null", "0.30000000000000004"),
        header=row % ("a", 30, 1),
    )
    found: Ingestion = ingest_pending(home, state, shop)
    outcome = found.files[0]
    assert (outcome.status, outcome.rows, outcome.accepted, outcome.rejected) == ("accepted", 3, 2, 1)
    assert found.version is not None
    assert found.version.sources[0]["found"]["format"] == "ndjson"
