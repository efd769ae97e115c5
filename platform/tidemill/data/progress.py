"""How far a file is on its way into the table: told by the run that takes it in, read by whoever is asked.

A small file and not a row of the ledger: it changes four times a second and is worth nothing a moment later. Each
writer has its own, named by its process, so that what a killed run left is known for what it is. Trainings tell
theirs in `learn/progress.py`, which keeps it for a week; this one is gone when the run ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from tidemill.home import Home
from tidemill.ops.process import ProcessId

Phase = Literal["opening", "reading", "publishing"]
EVERY = 0.25  # seconds between two writes of the same phase


@dataclass(frozen=True)
class Step:
    """Where an ingestion is: the rows of a file read so far, the file's bytes being those of `path`."""

    file: str
    name: str
    phase: Phase
    rows: int
    path: Path
    total_bytes: int


class ProgressWriter:
    """Call it with each step, many times a second if you like. Use it in a `with`: at its end nothing is left."""

    def __init__(self, home: Home, project: str) -> None:
        self.me = ProcessId.of(os.getpid())
        self.file = _folder(home, project) / f"{self.me.pid}.json"
        self._next = 0.0
        self._last: tuple[str, str] = ("", "")

    def __enter__(self) -> Self:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        for left in self.file.parent.iterdir():
            if left == self.file or _read(left) is None:
                left.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.file.unlink(missing_ok=True)

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        if now < self._next and self._last == (step.file, step.phase):
            return
        self._next, self._last = now + EVERY, (step.file, step.phase)
        read = step.total_bytes if step.phase == "publishing" else position(step.path)
        document = {
            "pid": self.me.pid,
            "create_time": self.me.create_time,
            "file": step.file,
            "phase": step.phase,
            "rows": step.rows,
            "bytes": read,
            "total_bytes": step.total_bytes,
            "share": None if read is None else round(min(read / max(step.total_bytes, 1), 1.0), 4),
        }
        aside = self.file.with_suffix(".new")
        aside.write_text(json.dumps(document))
        aside.replace(self.file)  # not synced: after a crash nobody wants it


def progress_of(home: Home, project: str) -> dict[str, Any] | None:
    """{"file", "phase", "rows", "bytes", "total_bytes", "share"} of the ingestion that runs now, or None.

    `bytes` and `share` are None where they are not known, as inside an archive.
    """
    for file in _folder(home, project).glob("*.json"):
        if (found := _read(file)) is not None:
            return {name: found[name] for name in found if name not in ("pid", "create_time")}
    return None


def position(path: Path) -> int | None:
    """How far this process has read the file that it has open, whichever reader opened it; None when none did.

    Linux tells; elsewhere it is not known.
    """
    found = []
    for link in _descriptors():
        with contextlib.suppress(OSError):
            if os.readlink(link) == str(path):
                told = Path("/proc/self/fdinfo", link.name).read_text()
                found.append(int(told.split("pos:", 1)[1].split(None, 1)[0]))
    return max(found, default=None)


def _descriptors() -> list[Path]:
    folder = Path("/proc/self/fd")
    return list(folder.iterdir()) if folder.is_dir() else []


def _folder(home: Home, project: str) -> Path:
    return home.store(project) / "progress"


def _read(file: Path) -> dict[str, Any] | None:
    """What a living process tells in `file`."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        writer = ProcessId(found["pid"], found["create_time"])
    except (FileNotFoundError, ValueError, KeyError):
        return None  # removed since it was listed, or left half-written by a killed run
    return found if writer.alive() else None
