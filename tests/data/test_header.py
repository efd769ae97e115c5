"""Names of columns: the header's, the project's in its place, or made up for a first contract."""

from pathlib import Path

import pytest

from tidemill.data.header import proposed
from tidemill.data.infer import infer
from tidemill.data.read import open_as_it_stands, open_source
from tidemill.errors import InvalidInput
from tidemill.project import Reading


def write(folder: Path, text: str) -> Path:
    path = folder / "f.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("header", ["a,,c", "a,b,B", "a,_b,c"])
def test_names_of_the_project_stand_in_for_a_header_that_will_not_do(tmp_path: Path, header: str) -> None:
    path = write(tmp_path, f"{header}\n1,2,3\n")
    with pytest.raises(InvalidInput):
        open_source(path)
    source = open_source(path, reading=Reading(names=["a", "b", "c"]))
    assert source.columns == ["a", "b", "c"]
    assert [(row.line, row.cells) for row in source.rows] == [(2, ["1", "2", "3"])]


def test_more_or_fewer_names_than_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="another number of columns") as caught:
        open_source(write(tmp_path, "a,b\n1,2\n"), reading=Reading(names=["a"]))
    assert "2 in the file, 1 in project.yaml" in caught.value.detail


def test_without_a_header_the_first_line_is_a_row(tmp_path: Path) -> None:
    path = write(tmp_path, " x ,2\ny,\n")
    source = open_source(path, reading=Reading(header=False))
    assert source.columns == ["column_1", "column_2"]
    assert [(row.line, row.cells) for row in source.rows] == [(1, [" x ", "2"]), (2, ["y", None])]
    assert open_source(path, reading=Reading(header=False, names=["p", "q"])).columns == ["p", "q"]


def test_a_workbook_without_a_header(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in ((1, "x"), (2, "y")):
        book.active.append(row)
    book.save(tmp_path / "b.xlsx")
    source = open_source(tmp_path / "b.xlsx", reading=Reading(header=False))
    assert [(row.line, row.cells) for row in source.rows] == [(1, ["1", "x"]), (2, ["2", "y"])]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("a,,c", ["a", "column_2", "c"]),
        ("age,age,Age", ["age", "age_2", "Age_3"]),
        ("age,age,age_2", ["age", "age_3", "age_2"]),
        ("column_2,,x", ["column_2", "column_2_2", "x"]),
        ("_id,x,_", ["id", "x", "column_3"]),
        ("a,b,c", None),
    ],
)
def test_names_are_proposed_where_the_header_lacks_them(
    tmp_path: Path, header: str, names: list[str] | None
) -> None:
    reading, said = proposed(open_as_it_stands(write(tmp_path, f"{header}\n1,2,3\n")))
    assert reading == Reading(names=names)
    assert bool(said) == (names is not None)


@pytest.mark.parametrize(("first", "header"), [("1,2,3", False), ("5.1,x,3", False), ("2019,total,x", True)])
def test_a_first_line_of_values_is_no_header(tmp_path: Path, first: str, header: bool) -> None:
    reading, _ = proposed(open_as_it_stands(write(tmp_path, f"{first}\n4,5,6\n")))
    assert reading.header is header


def test_a_first_contract_says_what_was_made_up_and_takes_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "age,,age\n" + "".join(f"{n % 60}.5,{n},{'ab'[n % 2]}\n" for n in range(60)))
    found = infer(path, name="demo", target="age_2")
    assert found.project.reading.names == list(found.project.columns) == ["age", "column_2", "age_2"]
    assert any("'age_2' for 'age' in column 3" in remark for remark in found.remarks)
    assert open_source(path, reading=found.project.how_to_read).columns == ["age", "column_2", "age_2"]


def test_a_first_contract_of_a_file_without_a_header_keeps_every_row(tmp_path: Path) -> None:
    path = write(tmp_path, "".join(f"{n}.5,{'ab'[n % 2]}\n" for n in range(60)))
    found = infer(path, name="demo", target="column_2")
    assert (found.rows, found.project.reading.header) == (60, False)
    assert any("column_1 to column_2" in remark for remark in found.remarks)


def test_our_own_columns_of_a_repair_file_are_none_of_the_data(tmp_path: Path) -> None:
    text = "_file,_line,_reason,a,b\n0123456789abcdef-x.csv,7,odd,'=1,\"''=2\"\n0,8,empty,,\n0,9,fine,'x,-5\n"
    source = open_source(write(tmp_path, text), reading=Reading(header=False, names=["p", "q", "r"]))
    assert (source.columns, source.repairs) == (["a", "b"], "0123456789abcdef")
    first, blank, last = source.rows
    assert (first.cells, last.cells) == (["=1", "'=2"], ["'x", "-5"])
    assert blank.fault is not None
