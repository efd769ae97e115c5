"""Log files of the services: where they are, their rotation, their last lines, and following them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tidemill.errors import NotFound
from tidemill.home import Home

LARGEST = 10_000_000  # bytes; a larger log is put aside
KEPT = 3
_BLOCK = 65_536
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def service_log(home: Home, name: str) -> Path:
    return home.logs / f"{name}.log"


def rotate(log: Path, *, largest: int = LARGEST, kept: int = KEPT) -> None:
    """Put a log above `largest` bytes aside as `.1`, older ones moving up to `.kept`.

    The file is copied and emptied, not moved: its service goes on writing (by appending) to the one it opened.
    """
    try:
        if log.stat().st_size <= largest:
            return
    except FileNotFoundError:
        return
    for number in range(kept, 1, -1):
        with contextlib.suppress(FileNotFoundError):
            os.replace(log.with_name(f"{log.name}.{number - 1}"), log.with_name(f"{log.name}.{number}"))
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


def find_logs(home: Home, name: str | None) -> dict[str, Path]:
    """Service -> its log: the one named, or all. Raises NotFound naming those there are."""
    known = {file.stem: file for file in sorted(home.logs.glob("*.log"))}
    if name is None and known:
        return known
    if name is not None and name in known:
        return {name: known[name]}
    there = ", ".join(known) or "none yet"
    raise NotFound(
        "There is no such log" if name else "There are no logs yet",
        detail=f"{name!r} is not among the logs in {home.logs} ({there})"
        if name
        else f"{home.logs} is empty",
        remedy="Name one of those, or start Tidemill with `./tidemill up`.",
    )


def tail(log: Path, lines: int) -> list[str]:
    """The last `lines` lines, reading no more of the file than that takes."""
    if lines <= 0:
        return []
    try:
        with open(log, "rb") as file:
            return _last_lines(file, lines)
    except FileNotFoundError:
        return []


def _last_lines(file: BinaryIO, lines: int) -> list[str]:
    position = file.seek(0, os.SEEK_END)
    content = b""
    while position > 0 and content.count(b"\n") <= lines:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        content = file.read(step) + content
    return [_plain(line) for line in content.splitlines()[-lines:]]


def _plain(line: bytes) -> str:
    """Text without the colours that some services print even into a file."""
    return _COLOUR.sub("", line.decode(errors="replace")).rstrip("\r")


def follow(
    logs: dict[str, Path], *, every: float = 0.3, start: int | None = None
) -> Iterator[list[tuple[str, str]]]:
    """Every `every` seconds the (service, line) pairs written since, for ever, through rotations.

    Begins at byte `start` of each log, or at its end.
    """
    readers = {name: _Follower(log, start) for name, log in logs.items()}
    while True:
        yield [(name, line) for name, reader in readers.items() for line in reader.lines()]
        time.sleep(every)


class _Follower:
    def __init__(self, log: Path, start: int | None) -> None:
        self._log = log
        self._rest = b""
        self._inode, size = self._where()
        self._position = size if start is None else start

    def _where(self) -> tuple[int, int]:
        try:
            stat = self._log.stat()
        except FileNotFoundError:
            return 0, 0
        return stat.st_ino, stat.st_size

    def lines(self) -> list[str]:
        inode, size = self._where()
        if inode != self._inode or size < self._position:
            self._inode, self._position, self._rest = inode, 0, b""
        if size == self._position:
            return []
        with open(self._log, "rb") as file:
            file.seek(self._position)
            content = file.read()
        self._position += len(content)
        *whole, self._rest = (self._rest + content).split(b"\n")
        return [_plain(line) for line in whole]
