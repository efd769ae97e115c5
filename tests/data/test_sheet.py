"""The fast reader of workbooks against the general one: whatever a workbook holds, both give the same rows."""

import datetime as dt
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.data import workbook
from tidemill.data.read import open_as_it_stands
from tidemill.data.sheet import letters_of
from tidemill.data.source import Place
from tidemill.data.staging import InPieces
from tidemill.errors import TidemillError
from tidemill.project import Reading

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
FORMATS = (
    "yyyy-mm-dd",
    "hh:mm",
    "[h]:mm:ss",
    "0.00",
    '"d"0',
    "dd/mm/yyyy hh:mm:ss.000",
    "[Red]0;-0",
    "General",
)
STYLES = [0, 9, 14, 21, 22, 45, 46, 47, *range(164, 164 + len(FORMATS))]
STRINGS = (
    "<si><t>plain</t></si><si><t>a &amp; b</t></si><si><t xml:space='preserve'> x </t></si><si><t></t></si>"
    "<si><r><t>two </t></r><r><rPr><b/></rPr><t>runs</t></r></si><si><t>line_x000D_\nend</t></si>"
    "<si><t>Größe</t><phoneticPr fontId='1'/></si><si><t>00123</t></si>"
)


def write(
    folder: Path,
    rows: str,
    *,
    from_1904: bool = False,
    tail: str = "",
    strings: str = STRINGS,
) -> Path:
    """A workbook whose sheet holds these rows, as XML."""
    styles = "".join(f'<xf numFmtId="{number}"/>' for number in STYLES)
    formats = "".join(
        f'<numFmt numFmtId="{number}" formatCode="{code.replace(chr(34), "&quot;")}"/>'
        for number, code in enumerate(FORMATS, start=164)
    )
    links = {
        "worksheet": "worksheets/sheet1.xml",
        "styles": "styles.xml",
        "sharedStrings": "sharedStrings.xml",
    }
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r" Type="{OFFICE}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><workbookPr date1904="{int(from_1904)}"/>'
        '<sheets><sheet name="S" sheetId="1" r:id="worksheet"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">'
        + "".join(f'<Relationship Id="{k}" Type="{OFFICE}/{k}" Target="{t}"/>' for k, t in links.items())
        + "</Relationships>",
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><numFmts>{formats}</numFmts><cellXfs>{styles}</cellXfs>'
        "</styleSheet>",
        "xl/sharedStrings.xml": f'<sst xmlns="{MAIN}">{strings}</sst>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData>{tail}</worksheet>',
    }
    path = folder / "book.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text.encode())
    return path


def read(path: Path, reading: Reading) -> Any:
    """What a reader makes of a workbook, or how it refuses it; and whether it was the fast one."""
    try:
        source = open_as_it_stands(path, reading=reading)
        fast = isinstance(source.rows, InPieces)
        return fast, (source.columns, source.head, source.found, list(source.rows))
    except TidemillError as error:
        return None, (type(error), error.title, error.detail)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool | None]:
    """Read a workbook in both ways, hold one against the other, and say whether the fast way took it."""
    original = workbook._read_fast

    def compare(path: Path, reading: Reading = Reading()) -> bool | None:
        monkeypatch.setattr(workbook, "_read_fast", lambda *_: None)
        _, general = read(path, reading)
        monkeypatch.setattr(workbook, "_read_fast", original)
        fast, found = read(path, reading)
        assert found == general
        return fast

    return compare


LETTERS = st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("<&>\"'\n\t _x000D_")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-1_000_000, 1_000_000, places=3).map(float),
    st.text(LETTERS, max_size=8),
    st.sampled_from(["00123", "3.0", "NA", "#N/A", "#DIV/0!", "=1+1", " x ", "1e5"]),
    st.dates(dt.date(1900, 1, 1), dt.date(9000, 1, 1)),
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(9000, 1, 1)),
    st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2030, 1, 1)).map(
        lambda each: each.replace(microsecond=0)
    ),
    st.times(),
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=400)),
)
MANY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(
    st.lists(st.lists(VALUES, max_size=5), max_size=8),
    st.integers(1, 3),
    st.integers(0, 2),
    st.booleans(),
)
def test_workbooks_of_a_common_writer_are_read_alike(
    tmp_path: Path,
    both: Callable[..., bool | None],
    table: list[list[Any]],
    header_row: int,
    shift: int,
    from_1904: bool,
) -> None:
    book = openpyxl.Workbook()
    if from_1904:
        book.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    sheet = book.active
    assert sheet is not None
    for row, cells in enumerate([["one", "two"], *table], start=1 + shift):
        for column, value in enumerate(cells, start=1 + shift):
            try:
                sheet.cell(row, column, value)
            except (openpyxl.utils.exceptions.IllegalCharacterError, ValueError):
                sheet.cell(row, column, "unwritable")
    sheet.merge_cells("H1:I2")
    path = tmp_path / "book.xlsx"
    book.save(path)
    fast = both(path, Reading(header_row=header_row))
    assert fast is not False


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e6, 1e6).map(lambda each: f"{each:.17g}"),
    st.floats(0, 3_000_000).map(str),
    st.integers(-(10**18), 10**18).map(str),
    st.integers(0, 100_000).map(lambda each: f"{each}.{each % 8 * 125}"),
    st.sampled_from(
        ["1", "1.0", "-0", "0.5", ".5", "5.", "1E5", "1e-7", "0.00001", "+1", "007", " 1 ", "", "x", "NaN"]
    ),
    st.sampled_from(
        ["0", "59", "60", "61", "1.5", "2958465", "2958466", "-1", "45000.123456", "45000.99999999"]
    ),
)


@st.composite
def cells(draw: st.DrawFn) -> tuple[str, str]:
    """A cell's tag from its place on, and its content."""
    style = draw(st.sampled_from(["", *(f' s="{number}"' for number in range(len(STYLES)))]))
    form, value = draw(
        st.one_of(
            st.tuples(st.sampled_from(["", ' t="n"']), NUMBERS),
            st.tuples(st.just(' t="s"'), st.integers(0, 7).map(str)),
            st.tuples(st.just(' t="b"'), st.sampled_from(["0", "1", "true", "2"])),
            st.tuples(st.just(' t="e"'), st.sampled_from(["#N/A", "#DIV/0!", "#REF!"])),
            st.tuples(st.just(' t="d"'), st.sampled_from(["2024-05-06", "2024-05-06T07:08:09"])),
            st.tuples(
                st.just(' t="str"'), st.sampled_from(["text", "a &lt; b", " x ", "7", "", "é", "_x0041_"])
            ),
        )
    )
    formula = draw(st.sampled_from(["", "", "", "<f>A1+1</f>", '<f t="shared" si="0"/>']))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([("/>", ""), ("></c>", ""), (' s="2"/>', "")]))
    if draw(st.integers(0, 9)) == 0:
        return (
            ' t="inlineStr">',
            f"<is><t>{draw(st.sampled_from(['in line', '&amp;', '', ' y']))}</t></is></c>",
        )
    return f"{style}{form}>", f"{formula}<v>{value}</v></c>"


@MANY
@given(
    st.lists(st.lists(st.none() | cells(), max_size=4), min_size=1, max_size=8),
    st.lists(st.integers(1, 3), min_size=9, max_size=9),
    st.booleans(),
)
def test_cells_of_every_form_are_read_alike(
    tmp_path: Path,
    both: Callable[..., bool | None],
    table: list[list[tuple[str, str] | None]],
    gaps: list[int],
    from_1904: bool,
) -> None:
    text, number = '<row r="1"><c r="B1" t="inlineStr"><is><t>one</t></is></c></row>', 1
    for row, gap in zip(table, gaps, strict=False):
        number += gap
        inner = "".join(
            f'<c r="{letters_of(column)}{number}"{cell[0]}{cell[1]}'
            for column, cell in enumerate(row, start=2)
            if cell
        )
        text += f'<row r="{number}" spans="1:5" ht="15">{inner}</row>'
    both(write(tmp_path, text, from_1904=from_1904))


ROW = '<row r="{0}"><c r="A{0}" t="s"><v>{1}</v></c><c r="B{0}"><v>2.5</v></c></row>'


def test_the_usual_form_is_read_fast(tmp_path: Path, both: Callable[..., bool | None]) -> None:
    rows = "".join(ROW.format(number, (number - 1) % 8) for number in range(1, 50))
    assert (
        both(write(tmp_path, rows, tail='<mergeCells count="1"><mergeCell ref="D1:E2"/></mergeCells>'))
        is True
    )


@pytest.mark.parametrize(
    "rows",
    [
        '<row><c t="s"><v>0</v></c><c><v>1</v></c></row>',
        '<row r="2"><c r="A2" t="s"><v>0</v></c></row><row r="1"><c r="A1"><v>1</v></c></row>',
        '<row r="1"><c r="B1"><v>1</v></c><c r="A1" t="s"><v>0</v></c></row>',
        '<row r="1"><c r="A2" t="s"><v>0</v></c></row>',
        '<row r="1"> <c r="A1" t="s"><v>0</v></c></row>',
        '<row r="1"><!-- --><c r="A1" t="s"><v>0</v></c></row>',
        '<row r="1"><c t="s" r="A1"><v>0</v></c></row>',
        "<row r='1'><c r='A1' t='s'><v>0</v></c></row>",
        '<row r="1"><c r="A1" t="s"><v>99</v></c></row>',
        '<row r="1"><c r="A1" t="s"><v>0</v><v>1</v></c></row>',
        '<row r="1"><c r="A1" t="s"><v>0</v></row>',
        '<row r="1"><c r="A1"><v>1</v></c></row></sheetData><sheetData><row r="2"><c r="A2"><v>1</v></c></row>',
    ],
)
def test_other_forms_are_left_to_the_general_reader(
    tmp_path: Path, both: Callable[..., bool | None], rows: str
) -> None:
    assert both(write(tmp_path, rows)) is not True


def test_blocks_end_between_rows(
    tmp_path: Path, both: Callable[..., bool | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.data.sheet.BLOCK", 300)
    monkeypatch.setattr("tidemill.data.packed.PIECE", 100)
    rows = "".join(ROW.format(3 * number, (number - 1) % 8) for number in range(1, 60))
    assert both(write(tmp_path, rows)) is True


def test_a_sheet_that_ends_early_is_refused(tmp_path: Path, both: Callable[..., bool | None]) -> None:
    path = write(tmp_path, "".join(ROW.format(number, 0) for number in range(1, 9)))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["xl/worksheets/sheet1.xml"] = parts["xl/worksheets/sheet1.xml"][:-60]
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    assert workbook._read_fast(Place(path, "book.xlsx"), Reading()) is None
    both(path)


def test_a_date_beyond_any_calendar_costs_its_row_and_no_other(
    tmp_path: Path, both: Callable[..., bool | None]
) -> None:
    duration = STYLES.index(46)
    rows = "".join(
        f'<row r="{number}"><c r="A{number}" s="{duration}"><v>{value}</v></c></row>'
        for number, value in enumerate((1, "1e300", "-3e14", 2), start=2)
    )
    path = write(tmp_path, f'<row r="1"><c r="A1" t="s"><v>0</v></c></row>{rows}')
    both(path)
    found = list(open_as_it_stands(path).rows)
    assert [row.fault is None for row in found] == [True, False, False, True]
