"""Open log segments: JSON lines files that have one writer each.

    log/<project>.<stream>.<uuid>.jsonl

Here belong the bytes: making a segment, appending whole lines, finding segments and reading them while others
write. What an event means belongs to `store/events.py`, the Parquet that closed segments become to
`store/compaction.py`.

A writer holds an advisory lock on its segment for as long as it may write. The lock ends with the process,
however that ends, so "is the owner dead?" is answered by taking the lock: no process ids, which get reused. A
segment is born locked (made under a hidden name, locked, then renamed), and nobody ever opens one again to write.
So a torn line can only be the last one of its file, and it was never acknowledged.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tidemill.home import PROJECT_NAME
from tidemill.store.durable import disk_full_is_an_error, sync_folder

NAME = re.compile(rf"(?P<project>{PROJECT_NAME.pattern})\.(?P<stream>[a-z_]+)\.(?P<id>[0-9a-f]{{32}})\.jsonl")
READ_BYTES = 8 * 1024 * 1024


class Segment:
    """One open segment of this process. Not thread-safe: its owner holds a lock of its own."""

    def __init__(self, folder: Path, project: str, stream: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{project}.{stream}.{uuid.uuid4().hex}.jsonl"
        self.path = folder / name
        self.opened = time.monotonic()
        self.pid = os.getpid()
        self.size = 0
        self.torn = False  # a failed append could not be cut off: nothing more may be written
        aside = folder / f".{name}"
        with disk_full_is_an_error(folder):
            self._descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.rename(aside, self.path)
            sync_folder(folder)

    def append(self, data: bytes) -> None:
        """Write `data` (whole lines) to the operating system, all or nothing. Raises StorageFull.

        What a full disk let through is cut off again, so that a retry cannot double a line.
        """
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            self.torn = True
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
            self.torn = False
            with disk_full_is_an_error(self.path.parent):
                raise error
        self.size += len(data)

    def sync(self) -> None:
        """Make what was appended survive a loss of power. Raises StorageFull."""
        with disk_full_is_an_error(self.path.parent):
            os.fdatasync(self._descriptor)

    def duplicate(self) -> int:
        """A second descriptor of the file, to sync without holding up the writer. The caller closes it."""
        return os.dup(self._descriptor)

    def close(self) -> None:
        """Sync and let go: from now on the segment can be compacted."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)


@dataclass(frozen=True)
class OpenFile:
    """A segment opened to read: its bytes stay readable even if the file is removed meanwhile."""

    path: Path
    descriptor: int

    def chunks(self) -> Iterator[bytes]:
        """The whole lines that were there when reading began, in pieces of about 8 MB; a torn tail is left out."""
        left = os.fstat(self.descriptor).st_size
        offset = 0
        rest = b""
        while left > 0:
            piece = os.pread(self.descriptor, min(READ_BYTES, left), offset)
            if not piece:
                return
            offset += len(piece)
            left -= len(piece)
            whole, newline, tail = piece.rpartition(b"\n")
            if newline:
                yield rest + whole + newline
                rest = tail
            else:
                rest += piece

    def close(self) -> None:
        os.close(self.descriptor)


def list_segments(folder: Path, project: str, stream: str) -> list[Path]:
    """The segments of one stream that lie in `folder` now, sorted by name."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        match = NAME.fullmatch(name)
        if match and match["project"] == project and match["stream"] == stream:
            found.append(folder / name)
    return sorted(found)


def open_to_read(path: Path) -> OpenFile:
    """Open a segment. Raises FileNotFoundError when it was compacted away meanwhile."""
    return OpenFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))


@contextmanager
def claimed(path: Path) -> Iterator[OpenFile | None]:
    """Hold a segment that nobody writes any more; None when its writer lives or the file is gone."""
    try:
        file = open_to_read(path)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file
    finally:
        file.close()
