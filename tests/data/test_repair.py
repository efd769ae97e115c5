"""Rejected rows are downloaded, mended and sent again, and none is lost on the way."""

import csv
import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tidemill.data import ledger
from tidemill.data.ingest import FileOutcome, ingest_pending
from tidemill.data.repair import outstanding, rejected_rows, rejects_list
from tidemill.errors import Conflict, NotFound
from tidemill.home import Home
from tidemill.project import Project
from tidemill.store.state import State
from tidemill.store.tables import TableStore

Send = Callable[..., FileOutcome]
GOOD = [f"a{number},4{number},9.5,basic,yes,2024-01-02,no" for number in range(9)]
HEADER = "id,age,spend,plan,member,seen,churn"


@pytest.fixture
def send(home: Home, state: State, shop: Project) -> Send:
    """Put bytes into the inbox and take them in; the project's file may be changed with pairs of texts."""

    def run(name: str, content: str | bytes, *changes: tuple[str, str]) -> FileOutcome:
        file = home.project_file("shop")
        for old, new in changes:
            assert old in file.read_text()
            file.write_text(file.read_text().replace(old, new))
        path = home.inbox(shop.name) / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (1, 1))
        (outcome,) = ingest_pending(home, state, Project.load(file)).files
        return outcome

    return run


@pytest.fixture
def download(home: Home, state: State) -> Callable[[FileOutcome], bytes]:
    def run(outcome: FileOutcome) -> bytes:
        record = ledger.find_file(state, "shop", outcome.id)
        return b"".join(rejected_rows(home, Project.load(home.project_file("shop")), record))

    return run


def lines(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def table(home: Home) -> list[dict[str, Any]]:
    version = TableStore(home.tables("shop")).current("raw")
    rows: list[dict[str, Any]] = version.to_arrow().to_pylist() if version else []
    return sorted(rows, key=lambda row: row["_row"])


def cells(content: bytes, delimiter: str = ",", encoding: str = "utf-8-sig") -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(encoding), newline=""), delimiter=delimiter))


def mended(content: bytes, **changes: str) -> bytes:
    """The file as a spreadsheet saves it again, with cells changed: `L5_age="1"` is line 5 of the original."""
    rows = cells(content)
    width = len(rows[0])
    for row in rows[1:]:
        row += [""] * (width - len(row))
        for key, value in changes.items():
            line, column = key.removeprefix("L").split("_")
            if row[1] == line:
                row[rows[0].index(column)] = value
    text = io.StringIO(newline="")
    csv.writer(text).writerows(row[:width] for row in rows)
    return text.getvalue().encode("utf-8-sig")


def test_bad_rows_come_back_mended_and_add_up_to_the_originals(
    home: Home, state: State, send: Send, download: Callable[..., bytes]
) -> None:
    bad = ["b1,old,-1,basic,,,no", 'b2,"30,1,basic,,,no', "b3,1,2", "b4,5,1,basic,yes,,no,extra", ",,,,,,"]
    outcome = send("one.csv", lines(*GOOD[:5], *bad, *GOOD[5:]))
    assert (outcome.status, outcome.rows, outcome.accepted, outcome.rejected) == ("accepted", 14, 9, 5)
    found = download(outcome)
    head, *rows = cells(found)
    assert head == ["_file", "_line", "_reason", *HEADER.split(",")]
    assert [row[1] for row in rows] == ["7", "8", "9", "10", "11"]
    assert {row[0] for row in rows} == {f"{outcome.id}-one.csv"}
    assert rows[0][2] == "age: not an integer; spend: below the least allowed value 0"
    assert rows[1][3:] == ["b2", '"30', "1", "basic", "", "", "no"]
    assert rows[2][3:] == ["b3", "1", "2"]
    assert rows[3][3:] == ["b4", "5", "1", "basic", "yes", "", "no", "extra"]
    again = mended(found, L7_age="30", L7_spend="1", L8_age="30", L9_plan="plus", L9_churn="no")
    second = send("one-mended.csv", again)
    # The blank row stays what it was; a person would have deleted it.
    assert (second.status, second.rows, second.accepted, second.rejected) == ("accepted", 5, 4, 1)
    assert [row["_row"] for row in table(home)] == [
        *(f"a{number}" for number in range(9)),
        "b1",
        "b2",
        "b3",
        "b4",
    ]
    assert table(home)[9]["age"] == 30
    assert ledger.find_file(state, "shop", outcome.id)["rejected"] == 5


def test_unmended_rows_are_rejected_again(send: Send, download: Callable[..., bytes], home: Home) -> None:
    outcome = send("one.csv", lines(*GOOD, "b1,old,1,basic,,,no", 'b2,"30,1,basic,,,no', "b3,1,2"))
    again = send("again.csv", download(outcome), ("max_share: 0.5", "max_share: 1.0"))
    assert (again.status, again.rows, again.rejected) == ("refused", 3, 3)
    assert len(table(home)) == len(GOOD)


def test_a_refused_file_is_given_whole(send: Send, download: Callable[..., bytes], home: Home) -> None:
    bad = [f"b{number},old,1,basic,,,no" for number in range(12)]
    outcome = send("one.csv", lines(*GOOD, *bad))
    assert (outcome.status, outcome.accepted) == ("refused", 0)
    found = download(outcome)
    assert [bool(row[2]) for row in cells(found)[1:]] == [False] * 9 + [True] * 12
    second = send("one.csv", found.replace(b"old", b"33"))
    assert (second.status, second.accepted) == ("accepted", 21)
    assert len(table(home)) == 21


def test_a_file_that_replaces_the_table_is_given_whole(
    send: Send, download: Callable[..., bytes], home: Home
) -> None:
    replace = ("rejects:", "ingestion: {mode: replace}\nrejects:")
    outcome = send("one.csv", lines(*GOOD, "b1,old,1,basic,,,no"), replace)
    send("two.csv", download(outcome).replace(b"old", b"33"))
    assert len(table(home)) == 10


@pytest.mark.parametrize(
    "text", ["=1+1", "'=1+1", "''-x", "-", "@SUM(A1)", "it's", '=HYPERLINK("x";"y")', " +1 x"]
)
def test_formula_cells_are_guarded_and_come_back_as_they_were(
    home: Home, send: Send, download: Callable[..., bytes], text: str
) -> None:
    change = ("plan: {type: category, nulls: false, values: [basic, plus]}", "plan: {type: text}")
    quoted = '"' + text.replace('"', '""') + '"'
    outcome = send("one.csv", lines(GOOD[0], f"b1,old,1,{quoted},,,no"), change)
    found = download(outcome)
    cell = cells(found)[1][6]
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    send("two.csv", mended(found, L3_age="30"))
    assert table(home)[1]["plan"] == text


def test_it_is_written_as_the_project_reads(home: Home, send: Send, download: Callable[..., bytes]) -> None:
    rows = ["id;age;spend;plan;member;seen;churn", "ä1;4;1,5;basic;;;no", "ö2;x;2,5;basic;;;no"]
    content = ("Report\nof May\n" + "\n".join(rows) + "\n").encode("cp1252")
    reading = (
        "rejects:",
        "reading: {encoding: cp1252, header_row: 3, delimiter: ';', decimal: ','}\nrejects:",
    )
    outcome = send("one.csv", content, reading)
    assert outcome.rejected == 1
    found = download(outcome)
    assert cells(found, ";", "cp1252")[2][3] == "id"
    send("two.csv", found.replace(b";x;", b";7;"))
    assert [(row["_row"], row["age"], row["spend"]) for row in table(home)] == [
        ("ä1", 4, 1.5),
        ("ö2", 7, 2.5),
    ]


def test_names_of_the_project_stand_in_the_repair_file(
    home: Home, send: Send, download: Callable[..., bytes]
) -> None:
    reading = ("rejects:", f"reading: {{header: false, names: [{HEADER}]}}\nrejects:")
    outcome = send("one.csv", "\n".join([*GOOD[:3], "b1,old,1,basic,,,no"]) + "\n", reading)
    assert (outcome.rows, outcome.rejected) == (4, 1)
    send("two.csv", mended(download(outcome), L4_age="30"))
    assert [row["_row"] for row in table(home)] == ["a0", "a1", "a2", "b1"]


@pytest.mark.parametrize("decimal", [".", ","])
def test_rows_of_a_workbook(
    home: Home, send: Send, download: Callable[..., bytes], tmp_path: Path, decimal: str
) -> None:
    book = openpyxl.Workbook()
    book.active.append(HEADER.split(","))
    book.active.append(["a1", 40, 9.5, "basic", True, None, "no"])
    book.active.append(["b1", "old", 1.25, "basic", None, None, "no"])
    book.save(tmp_path / "one.xlsx")
    reading = ("rejects:", f"reading: {{decimal: '{decimal}'}}\nrejects:")
    outcome = send("one.xlsx", (tmp_path / "one.xlsx").read_bytes(), reading)
    assert (outcome.accepted, outcome.rejected) == (1, 1)
    send("two.csv", mended(download(outcome), L3_age="30"))
    assert [(row["_row"], row["age"], row["spend"]) for row in table(home)] == [
        ("a1", 40, 9.5),
        ("b1", 30, 1.25),
    ]


def test_rows_of_a_packed_file(home: Home, send: Send, download: Callable[..., bytes]) -> None:
    outcome = send("one.csv.gz", gzip.compress(lines(GOOD[0], "b1,old,1,basic,,,no").encode()))
    send("two.csv", mended(download(outcome), L3_age="30"))
    assert len(table(home)) == 2


def test_a_file_whose_rows_were_not_looked_at_is_no_repair_file(
    send: Send, download: Callable[..., bytes], home: Home
) -> None:
    outcome = send("one.csv", lines("1,2", header="what,ever"))
    with pytest.raises(Conflict, match="one by one"):
        download(outcome)
    taken = send("two.csv", lines(GOOD[0], "b1,old,1,basic,,,no"))
    for kept in home.files("shop").iterdir():
        kept.unlink()
    with pytest.raises(NotFound, match="original"):
        download(taken)


def test_the_list_of_rejects_names_the_file(home: Home, state: State, send: Send) -> None:
    outcome = send("=one.csv", lines(GOOD[0], "b1,old,1,basic,,,no"))
    record = ledger.find_file(state, "shop", outcome.id)
    rows = cells(b"".join(rejects_list(home, "shop", record)))
    assert rows == [
        ["file", "line", "column", "value", "reason"],
        ["'=one.csv", "3", "age", "old", "not an integer"],
    ]


def test_what_is_outstanding_is_what_nothing_made_up_for(
    home: Home, state: State, send: Send, download: Callable[..., bytes]
) -> None:
    def names() -> list[str]:
        version = TableStore(home.tables("shop")).current("raw")
        files = outstanding(ledger.list_files(state, "shop"), version.sources if version else [])
        return sorted(str(record["name"]) for record in files)

    one = send("one.csv", lines(*GOOD, "b1,old,1,basic,,,no"))
    send("two.csv", lines("c1,1", header="id,age"))
    assert names() == ["one.csv", "two.csv"]
    send("other.csv", lines("c3,1,1,basic,,,no"))
    assert names() == ["one.csv", "two.csv"]
    send("one-mended.csv", mended(download(one), L11_age="30"))
    assert names() == ["two.csv"]
    send("two.csv", lines("c1,1,1,basic,,,no"))
    assert names() == []
    assert ledger.find_file(state, "shop", one.id)["rejected"] == 1


def test_the_command_prints_both(
    home: Home, send: Send, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidemill import cli

    monkeypatch.setenv("TIDEMILL_HOME", str(home.root))
    send("one.csv", lines(GOOD[0], "b1,old,1,basic,,,no"))
    assert cli.main(["data", "rejects", "shop", "one.csv"]) == 0
    assert cells(capfdbinary.readouterr().out)[1] == ["one.csv", "3", "age", "old", "not an integer"]
    assert cli.main(["data", "rejects", "shop", "one.csv", "--rows"]) == 0
    assert cells(capfdbinary.readouterr().out)[1][3:] == ["b1", "old", "1", "basic", "", "", "no"]
    assert cli.main(["data", "rejects", "shop", "none.csv"]) == 1
    assert b"There is no such file" in capfdbinary.readouterr().err


def test_a_row_with_an_error_in_a_cell_keeps_its_other_cells(
    home: Home, send: Send, download: Callable[..., bytes], tmp_path: Path
) -> None:
    book = openpyxl.Workbook()
    book.active.append(HEADER.split(","))
    book.active.append(["a1", 40, 9.5, "basic", None, None, "no"])
    book.active.append(["b1", "#DIV/0!", 1.25, "basic", None, None, "no"])
    book.active["B3"].data_type = "e"
    book.save(tmp_path / "one.xlsx")
    outcome = send("one.xlsx", (tmp_path / "one.xlsx").read_bytes())
    row = cells(download(outcome))[1]
    assert row[2:] == ["a cell of the row holds an error", "b1", "#ERROR", "1.25", "basic", "", "", "no"]
    assert send("as-it-was.csv", download(outcome)).accepted == 0
    send("two.csv", mended(download(outcome), L3_age="30"))
    assert [each["_row"] for each in table(home)] == ["a1", "b1"]
