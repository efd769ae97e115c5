"""Noticing that the project files of a home changed, by looking at them."""

from __future__ import annotations

import contextlib
from pathlib import Path

_DEBOUNCE = 1.0


class ProjectWatch:
    """Notices that project files were added, changed or removed, once they have been quiet for a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = self._fingerprint()
        self._latest = self._known
        self._quiet_since = 0.0
        self._next_look = 0.0

    def changed(self, now: float) -> bool:
        """True once for each change, however many files it touched."""
        if now < self._next_look:
            return False
        self._next_look = now + _DEBOUNCE / 2
        seen = self._fingerprint()
        if seen != self._latest:
            self._latest, self._quiet_since = seen, now
        if seen == self._known or now - self._quiet_since < _DEBOUNCE:
            return False
        self._known = seen
        return True

    def _fingerprint(self) -> frozenset[tuple[str, int, int]]:
        found = set()
        for pattern in ("*/project.yaml", "*/features.py"):
            for file in self._folder.glob(pattern):
                with contextlib.suppress(OSError):
                    stat = file.stat()
                    found.add((str(file), stat.st_mtime_ns, stat.st_size))
        return frozenset(found)
