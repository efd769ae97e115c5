"""Opening files: encodings, delimiters, quoting, workbooks, and everything that is no table."""

import csv
import datetime
import io
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.data import delimited
from tidemill.data.cell_texts import text_of
from tidemill.data.read import open_source
from tidemill.data.source import Row
from tidemill.errors import InvalidInput
from tidemill.project import Reading


def write(folder: Path, content: str | bytes, name: str = "f.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(path: Path, **options: Any) -> list[Row]:
    return list(open_source(path, **options).rows)


def cells_of(path: Path) -> list[list[str | None]]:
    return [row.cells for row in rows_of(path) if row.fault is None]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_finds_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "Größe,b\nÄpfel,2\n".encode(encoding))
    assert open_source(path).columns == ["Größe", "b"]
    assert cells_of(path) == [["Äpfel", "2"]]


def test_a_byte_that_is_not_utf8_late_in_the_file_changes_the_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,b\n" + b"x,y\n" * 200_000 + b"\xe4,y\n")
    source = open_source(path)
    assert source.encoding == "cp1252"
    assert sum(1 for _ in source.rows) == 200_001


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_finds_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    lines = [("a", "b", "c"), ("1", "with, comma; and | more", "3")]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(lines)
    path = write(tmp_path, text.getvalue())
    assert open_source(path).delimiter == delimiter
    assert cells_of(path) == [list(lines[1])]


def test_takes_a_decimal_comma_only_when_no_number_has_a_point(tmp_path: Path) -> None:
    assert open_source(write(tmp_path, "a;b\n1,5;x\n2,25;y\n")).decimal == ","
    assert open_source(write(tmp_path, "a;b\n1,5;x\n2.25;y\n")).decimal == "."
    assert open_source(write(tmp_path, 'a,b\n"1,5",x\n')).decimal == "."


def test_line_numbers_count_physical_lines(tmp_path: Path) -> None:
    path = write(tmp_path, 'a,b\r\n1,"two\r\nlines"\r\n\r\n3,4\r\n')
    assert rows_of(path) == [Row(2, ["1", "two\r\nlines"]), Row(5, ["3", "4"])]


def test_ragged_rows_are_faults_not_padded(tmp_path: Path) -> None:
    rows = rows_of(write(tmp_path, "a,b\n1\n1,2\n1,2,3\n"))
    assert [(row.line, row.fault is None) for row in rows] == [(2, False), (3, True), (4, False)]
    assert "3 cells, the header 2" in rows[2].fault.reason  # type: ignore[union-attr]


def test_a_stray_quote_costs_its_own_line_and_no_other(tmp_path: Path) -> None:
    """The trap: one quote makes careless readers swallow half the file and report one bad row."""
    lines = [f'{n},"quoted, text",{n}' for n in range(5_000)]
    lines[2_000] = '2000,"stray,2000'
    path = write(tmp_path, "a,b,c\n" + "\n".join(lines) + "\n")
    rows = rows_of(path)
    assert len(rows) == 5_000
    assert [row.line for row in rows if row.fault] == [2_002]


def test_a_stray_quote_without_another_after_it(tmp_path: Path) -> None:
    lines = [f"{n},text" for n in range(3_000)]
    lines[10] = '10,"stray'
    lines[20] = '20,"quo,ted"'
    rows = rows_of(write(tmp_path, "a,b\n" + "\n".join(lines)))
    assert [row.line for row in rows if row.fault] == [12]
    assert len(rows) == 3_000


def test_quotes_that_do_not_enclose_are_characters(tmp_path: Path) -> None:
    text = 'size\tname\n5"\t"Big\n6"\tSmall\n7"\t"Tall\n'
    assert cells_of(write(tmp_path, text, "f.tsv")) == [['5"', '"Big'], ['6"', "Small"], ['7"', '"Tall']]


def test_nul_bytes_long_cells_and_blank_rows_are_faults(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n1,x\0y\n2," + "z" * 200_000 + "\n,\n3,ok\n")
    rows = rows_of(path)
    reasons = [row.fault.reason if row.fault else "" for row in rows]
    assert "NUL" in reasons[0]
    assert "131072 characters" in reasons[1]
    assert "empty" in reasons[2]
    assert rows[3] == Row(5, ["3", "ok"])


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_LINE", 1_000)
    with pytest.raises(InvalidInput, match="too long"):
        rows_of(write(tmp_path, "a,b\n1,2\n" + "x" * 5_000))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.csv", b"", "empty"),
        ("f.csv", b"\n\r\n\n", "empty"),
        ("f.csv", bytes(range(256)) * 50, "not text"),
        ("f.csv", b"PK\x03\x04whatever", "zip archive"),
        ("f.csv", b"PAR1whatever", "Parquet"),
        ("f.xlsx", b"not a workbook", "cannot be read"),
        ("f.xlsx", b"PK\x03\x04broken", "cannot be read"),
        ("f.json", b"{}", "suffix .json"),
        ("noname", b"a,b\n1,2", "no suffix"),
        ("f.csv", b"a,,c\n1,2,3\n", "no name"),
        ("f.csv", b"a,b,a\n1,2,3\n", "there twice"),
        ("f.csv", b"Age,age\n1,2\n", "differ only in case"),
        ("f.csv", b"_row,b\n1,2\n", "underscore"),
        ("f.csv", b'"a\nb",c\n1,2\n', "printable"),
        ("f.csv", b"1,2,3\n4,5,6\n", "no header"),
        ("f.csv", b'"a,b\n1,2\n', "name cannot be used"),
    ],
)
def test_what_is_no_table_is_refused_in_clear_words(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        rows_of(write(tmp_path, content, name))
    assert words in str(refused.value)
    assert refused.value.remedy


def test_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="folder"):
        open_source(tmp_path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        open_source(tmp_path / "absent.csv")


def workbook(folder: Path) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Patients"
    sheet.append(["id", "size", "flag", "day"])
    sheet.append(["00123", 3.0, True, datetime.date(2024, 5, 6)])
    sheet.append([124, 3.25, False, datetime.datetime(2024, 5, 6, 7, 8, 9)])
    sheet.append([])
    sheet.append(["x", "#DIV/0!", None, None])
    sheet["B5"].data_type = "e"
    book.create_sheet("Other").append(["a", "b"])
    path = folder / "book.xlsx"
    book.save(path)
    return path


def test_reads_a_workbook_with_its_own_row_numbers(tmp_path: Path) -> None:
    source = open_source(workbook(tmp_path))
    assert (source.sheet, source.columns) == ("Patients", ["id", "size", "flag", "day"])
    first, second, third = source.rows
    assert first == Row(2, ["00123", "3", "true", "2024-05-06"])
    assert second == Row(3, ["124", "3.25", "false", "2024-05-06 07:08:09"])
    assert third.line == 5


def test_an_error_cell_is_a_fault_not_an_empty_cell(tmp_path: Path) -> None:
    third = list(open_source(workbook(tmp_path)).rows)[2]
    assert third.fault is not None
    assert third.fault.value == "B5"


def test_sheets_are_chosen_by_name(tmp_path: Path) -> None:
    assert open_source(workbook(tmp_path), reading=Reading(sheet="Other")).columns == ["a", "b"]
    with pytest.raises(InvalidInput, match="no such sheet") as refused:
        open_source(workbook(tmp_path), reading=Reading(sheet="Patient"))
    assert "Patients, Other" in refused.value.remedy


def test_numbers_of_a_workbook_are_what_a_person_typed() -> None:
    assert [text_of(value) for value in (1e20, 0.1, -3.0, 2**52 + 0.0)] == [
        "1e+20",
        "0.1",
        "-3",
        "4503599627370496",
    ]


CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('",;\t\n| '), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=12), st.sampled_from([",", ";", "\t", "|"]))
def test_what_a_csv_writer_writes_comes_back(tmp_path: Path, table: list[list[str]], delimiter: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["one", "two", "three"], *table])
    rows = rows_of(write(tmp_path, text.getvalue()))
    assert len(rows) == len(table)
    for row, written in zip(rows, table, strict=True):
        assert row.cells == [cell or None for cell in written] if any(written) else row.fault is not None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from('ab,"\n\r;x'), max_size=80))
def test_every_line_of_any_text_is_accounted_for(tmp_path: Path, text: str) -> None:
    """However broken the quoting, each physical line belongs to one row, or is blank."""
    rows = rows_of(write(tmp_path, "one,two\n" + text))
    starts = [row.line for row in rows]
    assert starts == sorted(set(starts))
    faulty = sum(row.fault is not None for row in rows)
    assert faulty + sum(len(row.cells) == 2 for row in rows) == len(rows)
