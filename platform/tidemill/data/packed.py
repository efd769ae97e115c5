"""Compressed files: a gzip, or a zip that holds one file, is unpacked aside, never further than allowed.

Here belong the limits on what any archive may unpack to, a workbook's included. Bytes are counted while they are
inflated: what an archive says of itself is the sender's claim. No name in an archive is ever used as a path.
"""

from __future__ import annotations

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from copy import copy
from pathlib import Path, PurePosixPath
from typing import IO

from tidemill.data.inflate import Inflated, is_plain
from tidemill.data.source import Place
from tidemill.errors import InvalidInput, TooLarge
from tidemill.settings import load_settings
from tidemill.store.durable import disk_full_is_an_error

Readable = IO[bytes] | gzip.GzipFile | Inflated
PACKED = frozenset({".gz", ".zip"})
PIECE = 1 << 20
# Up to here anything may shrink as well as it likes; beyond, a table does not shrink to a 200th.
RATIO_FROM = 100_000_000
RATIO = 200
# What zip programs add of their own.
CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db")


def unpack(place: Place, folder: Path) -> Place:
    """The one file that a gzip or zip holds, written into `folder`.

    Raises TooLarge when it unpacks to more than the settings allow, and InvalidInput when it is damaged, locked,
    or holds no or several files.
    """
    try:
        if place.path.suffix.lower() == ".gz":
            inner = _suffix_within(place, place.path.stem)
            with gzip.open(place.path) as handle:
                return _write(place, handle, folder / f"content{inner}")
        with zipfile.ZipFile(place.path) as archive:
            member = _only_member(place, archive)
            inner = _suffix_within(place, member.filename)
            with open_member(archive, member) as handle:
                return _write(place, handle, folder / f"content{inner}")
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise damaged(place, error) from error
    except NotImplementedError as error:
        raise InvalidInput(
            "The zip is packed in a way that Tidemill does not know",
            detail=f"{place.name}: {error}",
            remedy="Pack it again with the usual method (deflate), or send the file itself.",
        ) from error


def damaged(place: Place, error: Exception) -> InvalidInput:
    return InvalidInput(
        "The archive is damaged",
        detail=f"{place.name}: {error or 'it ends too early'}",
        remedy="Check that it was copied completely, pack it again and send that.",
    )


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes] | Inflated:
    """Open a member so that all of it is read, whatever the archive says of its size."""
    if is_plain(member):
        return Inflated(archive, member)
    endless = copy(member)
    endless.file_size = 1 << 62
    return archive.open(endless)


def counted(place: Place, handle: Readable, before: int = 0, most: int | None = None) -> Iterator[bytes]:
    """The bytes of `handle` in pieces. Raises TooLarge once `before` and they are more than allowed.

    At most `most` bytes in all, by default what the settings allow; and beyond 100 MB not more than 200 times
    the size of the archive.
    """
    most = load_settings().max_unpacked_bytes if most is None else most
    by_ratio = max(RATIO_FROM, RATIO * place.path.stat().st_size)
    size = before
    while piece := handle.read(PIECE):
        size += len(piece)
        if size > most or size > by_ratio:
            why = f"more than {most} bytes" if size > most else f"more than {RATIO} times its own size"
            raise TooLarge(
                "The file unpacks to too much",
                detail=f"{place.name} unpacks to {why}",
                remedy="If it is a real table, send it as CSV in several parts, or raise "
                "TIDEMILL_MAX_UNPACKED_BYTES.",
            )
        yield piece


def _write(place: Place, handle: Readable, target: Path) -> Place:
    with disk_full_is_an_error(target), target.open("wb") as written:
        for piece in counted(place, handle):
            written.write(piece)
    return Place(target, place.name)


def _only_member(place: Place, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir() and not _is_clutter(member)]
    if len(members) != 1:
        shown = ", ".join(repr(member.filename[:60]) for member in members[:3])
        raise InvalidInput(
            "The zip does not hold exactly one file",
            detail=f"{place.name} holds {len(members)} files{': ' + shown if shown else ''}"
            f"{', ...' if len(members) > 3 else ''}",
            remedy="Pack each table into a zip of its own, or send the files unpacked.",
        )
    if members[0].flag_bits & 1:
        raise InvalidInput(
            "The zip is locked with a password", detail=place.name, remedy="Pack it without a password."
        )
    return members[0]


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename).parts
    return any(part in CLUTTER for part in parts)


def _suffix_within(place: Place, name: str) -> str:
    """The suffix of what is packed. A `.gz` that does not say is taken for a CSV; reading it tells."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PACKED or suffix in (".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz"):
        raise InvalidInput(
            "An archive lies within the archive",
            detail=f"{place.name} holds {PurePosixPath(name).name[:80]!r}",
            remedy="Send the table packed once, or unpacked.",
        )
    known = suffix[1:].isalnum() and len(suffix) <= 8
    return suffix if known else ".csv"
