"""A stream within a compound file, the container of the old Office formats ([MS-CFB]).

Here belong sectors and their chains. What a stream means is `data/sheet_errors.py`.
"""

from __future__ import annotations

import struct
from typing import IO

MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
LAST_SECTOR = 0xFFFFFFF9
ENTRY = 128


class NotCompound(Exception):
    """The file is no compound file, is damaged, or does not hold the stream."""


def stream_of(handle: IO[bytes], names: tuple[str, ...]) -> bytes:
    """The first stream called by one of `names`, whole. It is never longer than the file. Raises NotCompound."""
    data = handle.read()
    if data[:8] != MAGIC:
        raise NotCompound
    try:
        return _stream(data, names)
    except struct.error as error:
        raise NotCompound from error


def _stream(data: bytes, names: tuple[str, ...]) -> bytes:
    shift, small_shift = struct.unpack_from("<HH", data, 30)
    if shift not in (9, 12) or small_shift != 6:
        raise NotCompound
    (directory,) = struct.unpack_from("<I", data, 48)
    (cutoff, small_table, _, more, _) = struct.unpack_from("<5I", data, 56)
    tables = list(struct.unpack_from("<109I", data, 76))
    numbers = (1 << shift) // 4
    seen = set()
    while more <= LAST_SECTOR and more not in seen:
        seen.add(more)
        *next_tables, more = struct.unpack(f"<{numbers}I", _sector(data, more, shift))
        tables += next_tables
    table = b"".join(_sector(data, each, shift) for each in tables if each <= LAST_SECTOR)
    entries = _chain(data, directory, table, shift)
    root = _entry(entries, 0)
    for at in range(ENTRY, len(entries) - ENTRY + 1, ENTRY):
        name, start, size = _entry(entries, at)
        if name not in names:
            continue
        if size >= cutoff:
            found = _chain(data, start, table, shift)
        else:
            # Short streams lie in small sectors within the stream of the root.
            small = bytes(1 << small_shift) + _chain(data, root[1], table, shift)
            found = _chain(small, start, _chain(data, small_table, table, shift), small_shift)
        if len(found) < size:
            raise NotCompound
        return found[:size]
    raise NotCompound


def _entry(entries: bytes, at: int) -> tuple[str, int, int]:
    """The name, the first sector and the size of an entry of the directory."""
    (length,) = struct.unpack_from("<H", entries, at + 64)
    start, size = struct.unpack_from("<II", entries, at + 116)
    return entries[at : at + min(max(length - 2, 0), 62)].decode("utf-16-le", "replace"), start, size


def _sector(data: bytes, number: int, shift: int) -> bytes:
    begin = (number + 1) << shift
    return data[begin : begin + (1 << shift)]


def _chain(data: bytes, number: int, table: bytes, shift: int) -> bytes:
    """The sectors from `number` on, as the table of sectors links them."""
    found: list[bytes] = []
    while number <= LAST_SECTOR:
        # A chain that is longer than the table runs in a circle.
        if len(found) > len(table) // 4:
            raise NotCompound
        found.append(_sector(data, number, shift))
        (number,) = struct.unpack_from("<I", table, 4 * number)
    return b"".join(found)
