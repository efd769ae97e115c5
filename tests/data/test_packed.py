"""Archives: what lies in them is read, and none of them can unpack without end."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import openpyxl
import pytest

from tidemill.data import packed, workbook_guard
from tidemill.data.read import open_source
from tidemill.errors import InvalidInput, TidemillError, TooLarge

CSV = b"a,b\n1,2\n3,4\n"


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return path


def cells_of(path: Path, scratch: Path) -> list[list[str | None]]:
    return [row.cells for row in open_source(path, scratch=scratch).rows]


def refusal(path: Path) -> TidemillError:
    with pytest.raises((InvalidInput, TooLarge)) as refused:
        list(open_source(path).rows)
    assert refused.value.remedy
    assert path.name in refused.value.detail
    return refused.value


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["t.csv.gz", "t.gz", "T.CSV.GZ"])
def test_reads_gzip_and_leaves_nothing_behind(tmp_path: Path, scratch: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(CSV))
    assert cells_of(path, scratch) == [["1", "2"], ["3", "4"]]
    assert list(scratch.iterdir()) == []


def test_an_unread_or_refused_archive_leaves_nothing_behind(tmp_path: Path, scratch: Path) -> None:
    path = zipped(tmp_path / "t.zip", t_csv=CSV)
    source = open_source(path, scratch=scratch)
    assert len(list(scratch.iterdir())) == 1
    del source
    assert list(scratch.iterdir()) == []
    with pytest.raises(InvalidInput):
        open_source(zipped(tmp_path / "u.zip", t_csv=b"a,a\n1,2\n"), scratch=scratch)
    assert list(scratch.iterdir()) == []


def test_reads_the_one_file_of_a_zip_and_writes_it_nowhere_else(tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/._t.csv", b"clutter")
        archive.writestr("../../outside.csv", CSV)
    assert cells_of(path, scratch) == [["1", "2"], ["3", "4"]]
    assert not list(tmp_path.glob("**/outside.csv"))
    assert not (tmp_path.parent / "outside.csv").exists()


def test_reads_a_workbook_in_a_zip(tmp_path: Path, scratch: Path) -> None:
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row in (["a", "b"], [1, 2]):
        book.worksheets[0].append(row)
    book.save(content)
    assert cells_of(zipped(tmp_path / "t.zip", t_xlsx=content.getvalue()), scratch) == [["1", "2"]]


def test_zips_of_several_no_or_packed_files_are_refused(tmp_path: Path) -> None:
    assert "exactly one" in str(refusal(zipped(tmp_path / "two.zip", a_csv=CSV, b_csv=CSV)))
    assert "exactly one" in str(refusal(zipped(tmp_path / "none.zip")))
    assert "within" in str(refusal(zipped(tmp_path / "nested.zip", a_zip=b"PK")))
    assert "cannot read that kind" in str(refusal(zipped(tmp_path / "exe.zip", a_exe=b"MZ")))


def test_a_locked_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "t.zip", t_csv=CSV)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    assert "password" in str(refusal(path))


@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_a_half_written_archive_is_refused(tmp_path: Path, kept: float) -> None:
    content = gzip.compress(CSV * 50)
    (tmp_path / "t.csv.gz").write_bytes(content[: int(kept * len(content))])
    assert "damaged" in str(refusal(tmp_path / "t.csv.gz"))
    content = zipped(tmp_path / "t.zip", t_csv=CSV * 50).read_bytes()
    (tmp_path / "t.zip").write_bytes(content[: int(kept * len(content))])
    assert "damaged" in str(refusal(tmp_path / "t.zip"))


def test_bombs_are_refused_by_what_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "RATIO_FROM", 1_000_000)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1_000_000))
    assert "times its own size" in str(refusal(tmp_path / "t.csv.gz"))
    monkeypatch.setenv("TIDEMILL_MAX_UNPACKED_BYTES", "900000")
    assert "900000 bytes" in str(refusal(tmp_path / "t.csv.gz"))


def test_a_size_that_an_archive_claims_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "RATIO_FROM", 1_000_000)
    path = zipped(tmp_path / "t.zip", t_csv=b"a,b\n" + b"1,2\n" * 1_000_000)
    content = path.read_bytes()
    real = struct.pack("<I", 4_000_004)
    assert content.count(real) == 2
    path.write_bytes(content.replace(real, struct.pack("<I", 8)))
    assert isinstance(refusal(path), TooLarge)


def test_a_workbook_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook_guard, "MAX_UNPACKED", 50_000)
    book = openpyxl.Workbook()
    for _ in range(3_000):
        book.worksheets[0].append([1, 2, 3])
    book.save(tmp_path / "t.xlsx")
    assert isinstance(refusal(tmp_path / "t.xlsx"), TooLarge)


def test_two_cells_in_opposite_corners_are_refused(tmp_path: Path) -> None:
    """The reader would take half a terabyte for them, and end the process."""
    book = openpyxl.Workbook()
    book.worksheets[0]["A1"] = "a"
    book.worksheets[0]["XFD1048576"] = "b"
    book.save(tmp_path / "t.xlsx")
    assert "1048576 rows and 16384 columns" in str(refusal(tmp_path / "t.xlsx"))


@pytest.mark.parametrize(
    "cell",
    ['<c r="XFD1048576">', "<c r='XFD1048576'>", '<c\n r = "xfd1048576">', '<x:c s="1"\tr="XFD1048576">'],
)
@pytest.mark.parametrize("cut", [0, 7, 9, 14])
def test_a_cell_is_seen_however_it_is_written_and_wherever_a_piece_ends(cell: str, cut: int) -> None:
    extent = workbook_guard._Extent()
    written = f'<row r="1">{cell}<v>1</v></c></row>'.encode()
    middle = written.index(b"<", 1) + cut
    extent.see(written[:middle])
    extent.see(written[middle:])
    assert (extent.rows, extent.columns) == (1_048_576, 16_384)


def test_cells_that_do_not_say_where_they_are_are_counted() -> None:
    extent = workbook_guard._Extent()
    extent.see(b'<row r="1048576">' + b"<c><v>1</v></c>" * 300 + b"</row>")
    assert extent.cells == 300 * 1_048_576
