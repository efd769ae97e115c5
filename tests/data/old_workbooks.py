"""Writes workbooks of the old binary format (.xls, BIFF8), of numbers and whatever records are added."""

import struct
from collections.abc import Mapping, Sequence

FREE, END, TABLE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
SECTOR = 512


def old_workbook(
    sheets: Sequence[Sequence[tuple[int, int, float]]],
    more: Mapping[int, Sequence[tuple[int, bytes]]] | None = None,
) -> bytes:
    """A workbook of sheets called s0, s1, ...; each is a list of (row, column, number), counted from 0.

    `more` are records, kind and body, to be added to a sheet.
    """
    bodies = [
        _begin(0x10)
        + b"".join(_record(0x0203, struct.pack("<HHHd", r, c, 0, v)) for r, c, v in cells)
        + b"".join(_record(*each) for each in (more or {}).get(number, ()))
        + _record(0x0A)
        for number, cells in enumerate(sheets)
    ]
    names = [f"s{number}".encode() for number in range(len(sheets))]
    at = len(_begin(5)) + sum(12 + len(name) for name in names) + 4
    listed = b""
    for name, body in zip(names, bodies, strict=True):
        listed += _record(0x0085, struct.pack("<IHBB", at, 0, len(name), 0) + name)
        at += len(body)
    return _compound(_begin(5) + listed + _record(0x0A) + b"".join(bodies))


def _record(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def _begin(kind: int) -> bytes:
    return _record(0x0809, struct.pack("<HHHHII", 0x0600, kind, 0, 0, 0, 0))


def _compound(stream: bytes) -> bytes:
    """The compound file that holds the stream as `Workbook`: header, table of sectors, directory, stream."""
    # Shorter streams would lie among small sectors, which this writer does not make.
    stream = stream.ljust(max(4096, -(-len(stream) // SECTOR) * SECTOR), b"\0")
    sectors = len(stream) // SECTOR
    table = [TABLE, END, *range(3, sectors + 2), END]
    table += [FREE] * (SECTOR // 4 - len(table))
    header = (
        bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<5H", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    )
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, END, 0, END, 0) + struct.pack("<109I", 0, *[FREE] * 108)
    directory = _entry("Root Entry", 5, 1, END, 0) + _entry("Workbook", 2, FREE, 2, len(stream)) + bytes(256)
    return header + struct.pack("<128I", *table) + directory + stream


def in_small_sectors(whole: bytes) -> bytes:
    """The compound file of a short workbook again, with its stream among small sectors, as short ones lie."""
    stream = whole[3 * SECTOR : 3 * SECTOR + 2048]
    header = bytearray(whole[:SECTOR])
    header[60:68] = struct.pack("<II", 2, 1)
    small = len(stream) // 64
    table = [TABLE, END, END, *range(4, 3 + len(stream) // SECTOR), END]
    table += [FREE] * (SECTOR // 4 - len(table))
    chain = [*range(1, small), END]
    chain += [FREE] * (SECTOR // 4 - len(chain))
    root = _entry("Root Entry", 5, 1, 3, len(stream))
    directory = root + _entry("Workbook", 2, FREE, 0, len(stream)) + bytes(256)
    tables = [struct.pack("<128I", *numbers) for numbers in (table, chain)]
    return bytes(header) + tables[0] + directory + tables[1] + stream


def _entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    links = struct.pack("<HBBIII", len(text), kind, 1, FREE, FREE, child)
    return text.ljust(64, b"\0") + links + bytes(36) + struct.pack("<IQ", start, size)
