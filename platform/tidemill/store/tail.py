"""Following a log: the lines that writers append, soon after they did, never holding them up.

Here belongs keeping one's place in the open segments, and not falling behind without bound: a reader that has more
than its bound before it skips the oldest lines and says how many. What the lines mean is the readers' business.
Whoever needs every event reads the log by `store/history.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.home import Home
from tidemill.store.events import Stream
from tidemill.store.segments import OpenFile, list_segments, open_to_read

MOST_WAITING = 4 * 1024 * 1024
MOST_AT_ONCE = 512 * 1024
_COUNTED = 1024 * 1024


@dataclass(frozen=True)
class News:
    """Whole lines in each segment's order, how many were skipped before them, and the bytes that still wait."""

    lines: list[bytes]
    skipped: int
    waiting: int


@dataclass
class _Place:
    file: OpenFile
    offset: int


class Tail:
    """A reader's place in one stream of a project. Not thread-safe.

    It begins `back` bytes before the end of each segment that is there, or at `places` (segment -> offset) that an
    earlier reader kept; segments unknown to those are read from their beginning. A segment stays readable here when
    it is compacted away.
    """

    def __init__(
        self,
        home: Home,
        project: str,
        stream: Stream,
        *,
        places: Mapping[str, int] | None = None,
        back: int = 0,
        most_waiting: int = MOST_WAITING,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self._folder = home.log
        self._project = project
        self._stream = stream
        self._most_waiting = most_waiting
        self._most_at_once = most_at_once
        self._open: dict[str, _Place] = {}
        self._find(places or {}, back=back if places is None else None)

    @property
    def places(self) -> dict[str, int]:
        """Where this reader stands, to go on from in another process."""
        return {name: place.offset for name, place in self._open.items()}

    def read(self) -> News:
        """What came since; at most about `most_at_once` bytes of it."""
        self._find({}, back=None)
        sizes = {name: os.fstat(place.file.descriptor).st_size for name, place in self._open.items()}
        waiting = sum(sizes[name] - place.offset for name, place in self._open.items())
        skipped = 0
        if waiting > self._most_waiting:
            # Down to half, so that it does not skip a little each time.
            part = self._most_waiting / 2 / waiting
            for name, place in self._open.items():
                keep = int((sizes[name] - place.offset) * part)
                skipped += _skip(place, sizes[name] - keep)
        lines: list[bytes] = []
        share = max(1, self._most_at_once // max(1, len(self._open)))
        for name, place in list(self._open.items()):
            ready = sizes[name] - place.offset
            piece = os.pread(place.file.descriptor, min(share, ready), place.offset)
            if ready > share and b"\n" not in piece:  # one line is longer than that
                piece = os.pread(place.file.descriptor, ready, place.offset)
            whole, newline, _ = piece.rpartition(b"\n")
            if newline:
                lines += whole.split(b"\n")
                place.offset += len(whole) + 1
            elif os.fstat(place.file.descriptor).st_nlink == 0:
                self._open.pop(name).file.close()
        waiting = sum(max(0, sizes[name] - place.offset) for name, place in self._open.items())
        return News(lines, skipped, waiting)

    def close(self) -> None:
        for place in self._open.values():
            place.file.close()
        self._open.clear()

    def _find(self, places: Mapping[str, int], *, back: int | None) -> None:
        for path in list_segments(self._folder, self._project, self._stream):
            if path.name in self._open:
                continue
            try:
                file = open_to_read(path)
            except FileNotFoundError:
                continue
            place = _Place(file, places.get(path.name, 0))
            if back is not None:
                _skip(place, os.fstat(file.descriptor).st_size - back)
            self._open[path.name] = place


def _skip(place: _Place, until: int) -> int:
    """Move to the first line that begins at `until` or before its end, and count the lines passed over."""
    passed = 0
    last = place.offset
    position = place.offset
    while position < until:
        piece = os.pread(place.file.descriptor, min(_COUNTED, until - position), position)
        if not piece:
            break
        passed += piece.count(b"\n")
        if (newline := piece.rfind(b"\n")) >= 0:
            last = position + newline + 1
        position += len(piece)
    place.offset = last
    return passed
