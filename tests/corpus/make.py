"""Writes the corpus of bad files: each with what must become of it. `python tests/corpus/make.py` fills `files/`.

Here belong files that people and attackers really send. The contract they are held against is `CONTRACT`; the
tests are `tests/data/test_corpus.py`. Nothing is downloaded, and what is huge is small until it is unpacked.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

CONTRACT = """
name: corpus
task: binary
columns:
  name: {type: string, role: ignore}
  n: {type: float}
  y: {type: boolean, role: target}
rejects: {max_share: 0.5}
"""
HEADER = ("name", "n", "y")
MEGABYTE = 1_000_000


class Case(NamedTuple):
    """One file. `says` is in the refusal, or in the reason of its rejects; a file that is left is never opened."""

    name: str
    verdict: str
    rows: int | None = None
    rejected: int | None = 0
    says: str = ""


def make(folder: Path) -> list[Case]:
    """Write every case into `folder`. What must not be read lies beside it, in `outside/`."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = [*_texts(folder), *_workbooks(folder), *_archives(folder), *_others(folder)]
    assert {case.name for case in cases} == {path.name for path in folder.iterdir()}
    return cases


def lines(name: str, *rows: str, count: int = 3) -> str:
    """A good CSV of `count` rows, with `rows` after them. `name` makes its bytes unlike any other's."""
    good = [f"{name}-{number},{number}.5,{'yes' if number % 2 else 'no'}" for number in range(count)]
    return "\n".join([",".join(HEADER), *good, *rows]) + "\n"


def _texts(folder: Path) -> Iterator[Case]:
    def write(name: str, content: str | bytes) -> str:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    yield Case(write("empty.csv", ""), "refused", says="empty")
    yield Case(write("blank.csv", "\r\n\n\n"), "refused", says="empty")
    yield Case(write("header_only.csv", ",".join(HEADER) + "\n"), "refused", 0, says="no rows")
    yield Case(write("one_row.csv", lines("one", count=1)), "accepted", 1)
    yield Case(write("utf16.csv", lines("ä16").encode("utf-16")), "accepted", 3)
    yield Case(write("latin1.csv", lines("Ä1").encode("latin-1")), "accepted", 3)
    yield Case(write("nul.csv", lines("nul", "a\0b,1,no")), "accepted", 4, 1, "NUL byte")
    yield Case(write("all_nul.csv", b"\0" * 5000), "refused", says="not text")
    # The only quote of a file encloses nothing: it is a character. Among cells in quotes it is a fault.
    yield Case(write("lone_quote.csv", lines("quote", '"open,1,no', "next,1,no")), "accepted", 5)
    stray = lines("stray", '"a, quoted",1,no', '"open,1,no', '"b, quoted",1,no', "next,1,no")
    yield Case(write("stray_quote.csv", stray), "accepted", 7, 1, "quote")
    yield Case(write("half_written.csv", lines("half", "last,1")[:-1]), "accepted", 4, 1, "2 cells")
    yield Case(write("ragged.csv", lines("ragged", "a", "b,1,no,4")), "accepted", 5, 2, "cells, the header 3")
    yield Case(write("control.csv", lines("control", "bell\x07,1,no")), "accepted", 4)
    yield Case(write("control_header.csv", "na\x1bme,n,y\na,1,no\n"), "refused", says="name cannot be used")
    yield Case(write("doubled.csv", "name,n,n\na,1,no\n"), "refused", says="same name")
    yield Case(write("nameless.csv", "name,,y\na,1,no\n"), "refused", says="no name")
    yield Case(write("other_columns.csv", "name,m,y\na,1,no\n"), "refused", says="not the contract's")
    yield Case(
        write("long_cell.csv", lines("long", "x" * MEGABYTE + ",1,no")), "accepted", 4, 1, "characters"
    )
    yield Case(
        write("formula.csv", lines("formula", "f,=1+cmd|' /C calc'!A0,no")), "accepted", 4, 1, "number"
    )
    yield Case(write("no_header.csv", "1,2,3\n4,5,6\n"), "refused", says="no header")
    # A file of rejected rows that comes back: what we wrote before the columns is no data, and proves nothing.
    ours = '_line,_reason,name,n,y\n7,"=1+1",mended,1,no\n,,"\'=1+cmd",2,no\n9,,,,\n'
    yield Case(write("repaired.csv", ours), "accepted", 3, 1, "every cell")
    yield Case(
        write("forged.csv", "_row,_file,name,n,y\nx,y,a,1,no\n"), "refused", says="name cannot be used"
    )
    many = ",".join(f"c{number}" for number in range(10_000))
    yield Case(write("many_columns.csv", f"{many}\n{many}\n"), "refused", says="too many columns")
    yield Case(write("workbook.csv", _workbook("ext")), "refused", says="not text")
    yield Case(write("text.xlsx", lines("ext")), "refused", says="cannot be read")
    yield Case(write("text.parquet", lines("pq")), "refused", says="cannot be read")
    yield Case(write("text.exe", lines("exe")), "refused", says="cannot read that kind")


def _workbook(name: str, fill: Callable[[openpyxl.Workbook], None] | None = None) -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row in (HEADER, (f"{name}-0", 0.5, True), (f"{name}-1", 1.5, False)):
        book.worksheets[0].append(row)
    if fill is not None:
        fill(book)
    book.save(content)
    return content.getvalue()


def _far_corner(book: openpyxl.Workbook) -> None:
    book.worksheets[0]["XFD1048576"] = "x"


def _error_cell(book: openpyxl.Workbook) -> None:
    book.worksheets[0]["B3"] = "#DIV/0!"
    book.worksheets[0]["B3"].data_type = "e"


def _workbooks(folder: Path) -> Iterator[Case]:
    def write(name: str, content: bytes) -> str:
        (folder / name).write_bytes(content)
        return name

    yield Case(write("book.xlsx", _workbook("book")), "accepted", 2)
    yield Case(write("error.xlsx", _workbook("error", _error_cell)), "accepted", 2, 1, "holds an error")
    yield Case(write("half_written.xlsx", _workbook("half")[:3000]), "refused", says="cannot be read")
    yield Case(write("far_corner.xlsx", _workbook("far", _far_corner)), "refused", says="too large")
    locked = {"EncryptionInfo": b"\x04\0\x04\0", "EncryptedPackage": b"\0" * 64}
    yield Case(write("locked.xlsx", compound_file(locked)), "refused", says="password")
    yield Case(write("old.xls", compound_file({"Workbook": _old_sheet()})), "accepted", 1)
    yield Case(write("open.ods", _open_document()), "accepted", 1)
    yield Case(write("bomb.xlsx", _workbook_bomb()), "refused", says="unpacks to too much")


def compound_file(streams: dict[str, bytes]) -> bytes:
    """An OLE2 file, as old and locked Office files are: header, one sector of allocation, directory, streams."""
    sector, end, free = 512, 0xFFFFFFFE, 0xFFFFFFFF
    # Streams of less than 4096 bytes would have to lie in a stream of their own.
    padded = {name: content.ljust(-(-max(len(content), 4096) // sector) * sector, b"\0")
              for name, content in streams.items()}  # fmt: skip
    table, directory, data = [0xFFFFFFFD, end], [_entry("Root Entry", 5, 1, free, end, 0)], b""
    for number, (name, content) in enumerate(padded.items(), start=1):
        start, count = len(table), len(content) // sector
        table += [*range(start + 1, start + count), end]
        sibling = number + 1 if number < len(padded) else free
        directory.append(_entry(name, 2, free, sibling, start, len(content)))
        data += content
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, end, 0, end, 0) + struct.pack("<109I", 0, *[free] * 108)
    allocation = struct.pack("<128I", *table, *[free] * (128 - len(table)))
    return header + allocation + b"".join(directory).ljust(sector, b"\0") + data


def _entry(name: str, kind: int, child: int, sibling: int, start: int, size: int) -> bytes:
    text = name.encode("utf-16-le")
    head = text.ljust(64, b"\0") + struct.pack("<HBB", len(text) + 2, kind, 1)
    return head + struct.pack("<III36xIQ", 0xFFFFFFFF, sibling, child, start, size)


def _old_sheet() -> bytes:
    """A sheet in the records of Excel 97: the header and one row."""

    def record(kind: int, content: bytes) -> bytes:
        return struct.pack("<HH", kind, len(content)) + content

    def text(row: int, column: int, value: str) -> bytes:
        place = struct.pack("<HHHHB", row, column, 0, len(value), 0)
        return record(0x0204, place + value.encode("ascii"))

    def begin(kind: int) -> bytes:
        return record(0x0809, struct.pack("<HHHHII", 0x0600, kind, 0x0DBB, 0x07CC, 0, 0))

    end = record(0x000A, b"")
    sheet = begin(0x10) + b"".join(text(0, column, name) for column, name in enumerate(HEADER))
    sheet += (
        text(1, 0, "old-0") + record(0x0203, struct.pack("<HHHd", 1, 1, 0, 2.5)) + text(1, 2, "yes") + end
    )
    bound = struct.pack("<IBBBB", 0, 0, 0, 5, 0) + b"Sheet"
    length = len(begin(5) + record(0x0085, bound) + end)
    bound = struct.pack("<I", length) + bound[4:]
    return begin(5) + record(0x0085, bound) + end + sheet


def _open_document() -> bytes:
    names = "urn:oasis:names:tc:opendocument:xmlns"
    cells = [[("string", "", value) for value in HEADER]]
    cells += [[("string", "", "ods-0"), ("float", ' office:value="2.5"', "2.5"), ("string", "", "no")]]
    rows = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="{kind}"{value}><text:p>{shown}</text:p></table:table-cell>'
            for kind, value, shown in row
        )
        + "</table:table-row>"
        for row in cells
    )
    content = (
        f'<?xml version="1.0"?><office:document-content xmlns:office="{names}:office:1.0" '
        f'xmlns:table="{names}:table:1.0" xmlns:text="{names}:text:1.0"><office:body><office:spreadsheet>'
        f'<table:table table:name="Sheet">{rows}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    manifest = f'<?xml version="1.0"?><manifest:manifest xmlns:manifest="{names}:manifest:1.0"/>'
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    return _zip({"mimetype": kind, "META-INF/manifest.xml": manifest, "content.xml": content})


def _workbook_bomb() -> bytes:
    """A real workbook beside 150 MB of zeros, which pack to 150 kB."""
    packed = io.BytesIO(_workbook("bomb"))
    with (
        zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/media/image1.png", "w") as member,
    ):
        for _ in range(150):
            member.write(bytes(MEGABYTE))
    return packed.getvalue()


def _zip(members: dict[str, str | bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


def _archives(folder: Path) -> Iterator[Case]:
    def write(name: str, content: bytes) -> str:
        (folder / name).write_bytes(content)
        return name

    yield Case(write("good.csv.gz", gzip.compress(lines("gz").encode())), "accepted", 3)
    yield Case(write("good.zip", _zip({"data.csv": lines("zip")})), "accepted", 3)
    yield Case(write("climbing.zip", _zip({"../../climbed.csv": lines("climb")})), "accepted", 3)
    yield Case(write("cut.csv.gz", gzip.compress(lines("cut").encode())[:-6]), "refused", says="damaged")
    yield Case(write("two.zip", _zip({"a.csv": "x", "b.csv": "y"})), "refused", says="exactly one")
    yield Case(
        write("nested.zip", _zip({"a.zip": _zip({"a.csv": "x"})})), "refused", says="within the archive"
    )
    locked = bytearray(_zip({"a.csv": lines("locked")}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(signature) + offset] |= 1
    yield Case(write("locked.zip", bytes(locked)), "refused", says="password")
    bomb = io.BytesIO()
    with gzip.open(bomb, "wb") as handle:
        handle.write(lines("bomb").encode())
        for _ in range(150):
            handle.write(b"a,1,no\n" * (MEGABYTE // 7))
    yield Case(write("bomb.csv.gz", bomb.getvalue()), "refused", says="unpacks to too much")


def _others(folder: Path) -> Iterator[Case]:
    table = pa.table({"name": ["pq-0", "pq-1"], "n": [0.5, None], "y": [True, False]})
    pq.write_table(table, folder / "good.parquet")
    yield Case("good.parquet", "accepted", 2)
    (folder / "cut.parquet").write_bytes((folder / "good.parquet").read_bytes()[:-9])
    yield Case("cut.parquet", "refused", says="cannot be read")
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret.csv").write_text(lines("secret"))
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    yield Case("link.csv", "left")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "files"
    verdicts = {case.name: case._asdict() for case in make(target)}
    (target.parent / "verdicts.json").write_text(json.dumps(verdicts, indent=1) + "\n")
