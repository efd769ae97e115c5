"""Cells that hold an error, in every format of workbooks: their row is at fault, and never an empty cell."""

import importlib.util
import random
import struct
import zipfile
from pathlib import Path

import pytest

from tidemill.data import workbook
from tidemill.data.read import open_source
from tidemill.data.sheet_errors import CannotTell, error_cells
from tidemill.data.source import Place, Row

SPEC = importlib.util.spec_from_file_location("old_workbooks", Path(__file__).with_name("old_workbooks.py"))
assert SPEC is not None
assert SPEC.loader is not None
old_workbooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(old_workbooks)

RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
)
RELATION = (
    '<Relationship Id="rId{0}" Target="worksheets/sheet{0}.bin" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"/>'
)
SPREADSHEET = (
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0">'
    "<office:body><office:spreadsheet>{}</office:spreadsheet></office:body></office:document-content>"
)
TEXT = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
NUMBER = (
    '<table:table-cell office:value-type="float" office:value="{0}"><text:p>{0}</text:p></table:table-cell>'
)
ERROR = (
    '<table:table-cell table:formula="of:=NA()" office:value-type="string" office:string-value="" '
    'calcext:value-type="error"><text:p>#N/A</text:p></table:table-cell>'
)
BLANK = '<table:table-cell table:number-columns-repeated="{}"/>'
ODS_ROW = '<table:table-row table:number-rows-repeated="{}">{}</table:table-row>'


def xls(path: Path) -> Path:
    """Two sheets: the first of numbers; the second with an error as such, and with one that a formula gives."""
    formula = struct.pack("<HHH", 4, 1, 0) + b"\x02\x00\x2a\x00\x00\x00\xff\xff" + bytes(8)
    cells = [
        *((0, column, column + 0.5) for column in range(3)),
        *((row, column, float(row)) for row in (1, 2, 3, 4) for column in range(3)),
    ]
    cells = [cell for cell in cells if cell[:2] not in ((2, 2), (4, 1))]
    more = [(0x0205, struct.pack("<HHHBB", 2, 2, 0, 0x07, 1)), (0x0006, formula)]
    # A boolean is written as an error is.
    more.append((0x0205, struct.pack("<HHHBB", 3, 3, 0, 1, 0)))
    path.write_bytes(old_workbooks.old_workbook([[(0, 0, 1.0), (2, 2, 1.0)], cells], more={1: more}))
    return path


def xlsb(path: Path) -> Path:
    def record(kind: int, body: bytes = b"") -> bytes:
        named = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
        size, length = b"", len(body)
        while length > 0x7F:
            size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
        return named + size + bytes([length]) + body

    def wide(text: str) -> bytes:
        return struct.pack("<I", len(text)) + text.encode("utf-16-le")

    def number(column: int, value: float) -> bytes:
        return record(5, struct.pack("<IId", column, 0, value))

    def row(at: int, *cells: bytes) -> bytes:
        return record(0, struct.pack("<IIHHHI", at, 0, 0, 0, 0, 0)) + b"".join(cells)

    def sheet(*rows: bytes) -> bytes:
        extent = record(148, struct.pack("<4I", 0, 4, 0, 2))
        return record(129) + extent + record(145) + b"".join(rows) + record(146) + record(130)

    error = struct.pack("<IIB", 2, 0, 0x2A)
    formula = struct.pack("<IIBHI", 1, 0, 0x07, 0, 0) + bytes(4)
    sheets = [record(156, struct.pack("<II", 0, n) + wide(f"rId{n}") + wide(f"s{n - 1}")) for n in (1, 2)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(
            "xl/workbook.bin", record(131) + record(143) + b"".join(sheets) + record(144) + record(132)
        )
        archive.writestr(
            "xl/_rels/workbook.bin.rels", RELATIONS.format(RELATION.format(1) + RELATION.format(2))
        )
        archive.writestr("xl/worksheets/sheet1.bin", sheet(row(0, number(0, 1)), row(2, number(2, 1))))
        rows = [row(0, *(number(column, column + 0.5) for column in range(3)))]
        rows += [row(1, *(number(column, 1) for column in range(3)))]
        rows += [row(2, number(0, 2), number(1, 2), record(3, error))]
        rows += [row(3, *(number(column, 3) for column in range(3)))]
        rows += [row(4, number(0, 4), record(11, formula), number(2, 4))]
        archive.writestr("xl/worksheets/sheet2.bin", sheet(*rows))
    return path


def ods(path: Path, *, repeated: int = 1) -> Path:
    rows = [
        ODS_ROW.format(1, "".join(TEXT.format(each) for each in ("0.5", "b", "c"))),
        ODS_ROW.format(1, NUMBER.format(1) * 3),
        ODS_ROW.format(repeated, NUMBER.format(2) * 2 + ERROR),
        ODS_ROW.format(1, NUMBER.format(3) * 3),
        ODS_ROW.format(1, NUMBER.format(4) + ERROR + NUMBER.format(4)),
        ODS_ROW.format(5, BLANK.format(20)),
    ]
    tables = f'<table:table table:name="s0">{ODS_ROW.format(2, NUMBER.format(1) + ERROR)}</table:table>'
    tables += f'<table:table table:name="s1">{"".join(rows)}</table:table>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr("content.xml", SPREADSHEET.format(tables))
    return path


def rows_of(path: Path) -> list[Row]:
    from tidemill.project import Reading

    names = [f"n{number}" for number in range(4 if path.suffix == ".xls" else 3)]
    return list(open_source(path, reading=Reading(sheet="s1", header_row=1, names=names)).rows)


@pytest.mark.parametrize("write", [xls, xlsb, ods])
def test_a_row_with_an_error_is_at_fault_whatever_the_format(tmp_path: Path, write) -> None:
    rows = rows_of(write(tmp_path / f"book.{write.__name__}"))
    assert [row.line for row in rows] == [2, 3, 4, 5]
    assert [row.fault.value if row.fault else "" for row in rows] == ["", "C3", "", "B5"]
    faults = [row.fault for row in rows if row.fault]
    assert {fault.reason for fault in faults} == {"a cell of the row holds an error"}
    # What else the row holds is kept for its repair.
    assert faults[0].cells[:2] == ["2", "2"]


def test_rows_repeated_in_an_ods_are_each_at_fault(tmp_path: Path) -> None:
    rows = rows_of(ods(tmp_path / "book.ods", repeated=3))
    assert [row.fault.value for row in rows if row.fault] == ["C3", "C4", "C5", "B7"]


def test_short_streams_of_an_xls_lie_in_small_sectors(tmp_path: Path) -> None:
    path = xls(tmp_path / "book.xls")
    whole = old_workbooks.in_small_sectors(path.read_bytes())
    path.write_bytes(whole)
    assert [row.fault.value for row in rows_of(path) if row.fault] == ["C3", "B5"]


def test_what_cannot_be_told_is_said_in_the_files_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = xlsb(tmp_path / "book.xlsb")
    from tidemill.project import Reading

    reading = Reading(sheet="s1", names=["a", "b", "c"])
    assert "error_cells" not in open_source(path, reading=reading).found

    def blind(*_: object) -> None:
        raise CannotTell

    monkeypatch.setattr(workbook, "error_cells", blind)
    assert open_source(path, reading=reading).found["error_cells"] == "read as empty"


@pytest.mark.parametrize("write", [xls, xlsb, ods])
def test_a_damaged_workbook_is_told_as_such_and_ends(tmp_path: Path, write) -> None:
    whole = write(tmp_path / f"book.{write.__name__}").read_bytes()
    chance = random.Random(4)
    damaged = Place(tmp_path / "damaged", "damaged")
    known = 0
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0xFF, chance.randrange(256)))
        damaged.path.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data)))) or 1])
        try:
            known += error_cells(damaged, "s1", 1, 2) == {3: 3, 5: 2}
        except CannotTell:
            continue
    assert known
