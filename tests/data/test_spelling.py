"""Dates and numbers that are written in no plain way: what is inferred, what is accepted, what is left open."""

from pathlib import Path

import duckdb
import openpyxl
import pytest

from tidemill.data.casting import typed
from tidemill.data.infer import infer
from tidemill.data.read import open_source
from tidemill.data.render import render_yaml
from tidemill.errors import InvalidInput, ProjectFileError
from tidemill.project import Column, Project, Reading

HEAD = "name: p\ntask: binary\n"
COLUMNS = "columns:\n  x: {type: float%s}\n  d: {type: date%s}\n  y: {type: boolean, role: target}\n"


def value_of(column: Column, text: str, decimal: str = ".") -> str | None:
    sql = typed(column, "v", decimal)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(f"SELECT CAST({sql} AS VARCHAR) FROM (SELECT ? AS v)", [text]).fetchone()
    assert found is not None
    return None if found[0] is None else str(found[0])


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        ("%d/%m/%Y", "3/4/2024", "2024-04-03"),
        ("%m/%d/%Y", "3/4/2024", "2024-03-04"),
        ("%d/%m/%Y", "2024-04-03", "2024-04-03"),
        ("%d/%m/%Y", "31/02/2024", None),
        ("%d/%m/%Y", "3.4.2024", None),
        ("%d/%m/%Y", "3/4/24", None),
        ("%d.%m.%y", "03.04.24", "2024-04-03"),
        ("%Y/%m/%d", "2024/04/03 00:00", "2024-04-03"),
        ("[%d]^%m\\%Y", "[03]^04\\2024", "2024-04-03"),
    ],
)
def test_dates_are_read_as_the_contract_says(form: str, text: str, value: str | None) -> None:
    assert value_of(Column(type="date", format=form), text) == value


def test_a_time_may_follow() -> None:
    column = Column(type="datetime", format="%m/%d/%Y")
    assert value_of(column, "12/31/2024 14:30") == "2024-12-31 14:30:00"
    assert value_of(Column(type="datetime", format="%d/%m/%Y %H:%M"), "1/2/2024") is None


@pytest.mark.parametrize(
    ("mark", "decimal", "text", "value"),
    [
        (",", ".", "1,234.5", "1234.5"),
        (".", ",", "-1.234.567,5", "-1234567.5"),
        (" ", ",", "1\u202f234,5", "1234.5"),
        ("'", ".", "1'234", "1234.0"),
        (",", ".", "12,34", None),
        (",", ".", "1,2345", None),
        (",", ".", "1234.5", "1234.5"),
        # In a workbook the point is the decimal mark, whatever the contract says of text.
        (".", ".", "1.234", "1.234"),
    ],
)
def test_thousands_marks_stand_between_groups_of_three(
    mark: str, decimal: str, text: str, value: str | None
) -> None:
    column = Column.model_validate({"type": "float", "thousands": mark})
    assert value_of(column, text, decimal) == value


def written(folder: Path, *cells: str) -> Path:
    lines = [f"{cell};{number % 2};{'ab'[number % 2]}" for number, cell in enumerate(cells)]
    (folder / "f.csv").write_text("\n".join(["x;n;y", *lines]) + "\n")
    return folder / "f.csv"


def inferred(folder: Path, *cells: str) -> tuple[Column, str]:
    found = infer(written(folder, *cells), name="p", target="y")
    assert Project.parse(render_yaml(found.project, notes=found.notes), Path("p.yaml")) == found.project
    return found.project.columns["x"], found.notes.get("x", "")


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [
        (("13/01/2024", "01/02/2024", "01/02/2024"), "date", "%d/%m/%Y"),
        (("01/13/2024", "01/02/2024", "01/02/2024"), "date", "%m/%d/%Y"),
        (("2024/01/13", "2024/01/02", "2024/01/02"), "date", "%Y/%m/%d"),
        (("13-01-2024 10:00", "01-02-2024 11:00", "01-02-2024 11:00"), "datetime", "%d-%m-%Y"),
        (("1,234.5", "7", "7"), "float", ","),
        (("1,234,567", "7", "7"), "integer", ","),
        (("1.234,5", "1.234", "1.234"), "float", "."),
        (("1 234", "7", "7"), "integer", " "),
    ],
)
def test_what_the_data_proves_is_written_to_the_contract(
    tmp_path: Path, cells: tuple[str, ...], kind: str, said: str
) -> None:
    column, note = inferred(tmp_path, *cells)
    assert (column.type, column.format or column.thousands) == (kind, said)
    assert note


@pytest.mark.parametrize("cells", [("01/02/2024", "03/04/2024", "03/04/2024"), ("1.5", "1,234", "1,234")])
def test_what_the_data_leaves_open_stays_text_and_says_how_to_mend_it(
    tmp_path: Path, cells: tuple[str, ...]
) -> None:
    column, note = inferred(tmp_path, *cells)
    assert column.type == "category"
    assert "write type:" in note


@pytest.mark.parametrize(
    ("number", "date", "words"),
    [
        ("", ", format: '%d/%m'", "where day, month and year are"),
        ("", ", format: '%d/%m/%Y %B'", "stands once"),
        (", format: '%d/%m/%Y'", "", "format needs"),
        ("", ", thousands: ','", "thousands needs"),
    ],
)
def test_a_spelling_that_cannot_be_is_a_fault_of_the_project_file(number: str, date: str, words: str) -> None:
    with pytest.raises(ProjectFileError, match=words):
        Project.parse(HEAD + COLUMNS % (number, date), Path("p.yaml"))


def test_the_decimal_mark_follows_from_the_thousands_mark_and_may_not_be_it() -> None:
    project = Project.parse(HEAD + COLUMNS % (", thousands: '.'", ""), Path("p.yaml"))
    assert project.how_to_read.decimal == ","
    with pytest.raises(ProjectFileError, match="decimal mark"):
        Project.parse(HEAD + "reading: {decimal: '.'}\n" + COLUMNS % (", thousands: '.'", ""), Path("p.yaml"))


def test_reading_fixes_what_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes("Report; of May\n\nGröße;b|c\n1,5;2|3\n".encode("cp850"))
    reading = Reading(encoding="cp850", delimiter="|", decimal=",", header_row=3)
    source = open_source(path, reading=reading)
    assert source.columns == ["Größe;b", "c"]
    assert [(row.line, row.cells) for row in source.rows] == [(4, ["1,5;2", "3"])]
    assert source.found == {
        "format": "csv",
        "encoding": "cp850",
        "delimiter": "|",
        "decimal": ",",
        "header_row": 3,
    }
    with pytest.raises(InvalidInput, match="encoding"):
        open_source(path, reading=Reading(encoding="utf-8"))


def test_the_header_of_a_sheet_may_stand_further_down(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (["Report", None], [], ["a", "b"], [1, 2], ["both", None]):
        sheet.append(row)
    sheet.merge_cells("A5:B5")
    book.save(tmp_path / "f.xlsx")
    source = open_source(tmp_path / "f.xlsx", reading=Reading(header_row=3))
    assert (source.columns, source.merged, source.header_row) == (["a", "b"], 1, 3)
    assert [(row.line, row.cells) for row in source.rows] == [(4, ["1", "2"]), (5, ["both", None])]
