"""Noticing that the project files of a home changed, by looking at them."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

_DEBOUNCE = 1.0


class ProjectWatch:
    """Notices that project files were added, changed or removed, once they have been quiet for a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = digest_of(folder)
        self._latest = self._known
        self._quiet_since = 0.0
        self._next_look = 0.0

    @property
    def digest(self) -> str:
        """Of the files as they were at the start, or at the last change that was told."""
        return self._known

    def changed(self, now: float) -> bool:
        """True once for each change, however many files it touched."""
        if now < self._next_look:
            return False
        self._next_look = now + _DEBOUNCE / 2
        seen = digest_of(self._folder)
        if seen != self._latest:
            self._latest, self._quiet_since = seen, now
        if seen == self._known or now - self._quiet_since < _DEBOUNCE:
            return False
        self._known = seen
        return True


def digest_of(folder: Path) -> str:
    """A digest of the names, sizes and times of change of the project files in `folder`."""
    found = []
    for pattern in ("*/project.yaml", "*/features.py"):
        for file in folder.glob(pattern):
            with contextlib.suppress(OSError):
                stat = file.stat()
                found.append(f"{file.relative_to(folder)} {stat.st_mtime_ns} {stat.st_size}")
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
