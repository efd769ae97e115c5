"""A file on its way from a source into the inbox: written aside, counted, hashed, synced, then renamed.

No name of a source ever becomes a path: the file is named by the source's name in project.yaml, the hash of its
bytes, and what is left of its own name when it has been made safe.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from pathlib import Path
from typing import Self

from tidemill.errors import TooLarge
from tidemill.project_sources import LANDED
from tidemill.store.durable import disk_full_is_an_error, sync_folder

ASIDE = ".fetching-"
HASH_LENGTH = 16


class Arrival:
    """One file on its way. Use it as a context manager: what was not placed is removed."""

    def __init__(self, inbox: Path, source: str, limit: int) -> None:
        self.inbox = inbox
        self.source = source
        self.limit = limit
        self.size = 0
        self._hash = hashlib.sha256()
        self._aside = inbox / f"{ASIDE}{source}{LANDED}{uuid.uuid4().hex}"
        self._handle = self._aside.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()
        self._aside.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes, /) -> int:
        """Add bytes. Raises TooLarge and StorageFull."""
        self.size += len(data)
        check_size(self.size, self.limit, f"a file of the source {self.source}")
        with disk_full_is_an_error(self.inbox):
            self._handle.write(data)
        self._hash.update(data)
        return len(data)

    def place(self, safe_name: str) -> Path:
        """Give the synced file its name in the inbox. Equal bytes of one name have one name there."""
        with disk_full_is_an_error(self.inbox):
            self._handle.flush()
            os.fsync(self._handle.fileno())
        # It is whole before it appears. An old time says so, or ingestion would watch it grow for two seconds.
        past = time.time() - 60.0
        os.utime(self._aside, (past, past))
        target = self.inbox / f"{self.source}{LANDED}{self.sha256[:HASH_LENGTH]}{LANDED}{safe_name}"
        self._aside.rename(target)
        sync_folder(self.inbox)
        return target


def sweep(inbox: Path, source: str) -> None:
    """Remove what a killed look left aside. Call it only while no other look at the source can be under way."""
    for left in inbox.glob(f"{ASIDE}{source}{LANDED}*"):
        left.unlink(missing_ok=True)


def check_size(size: int, limit: int, what: str) -> None:
    """Raises TooLarge when `size` is above `limit`."""
    if size > limit:
        raise TooLarge(
            "The file is too large",
            detail=f"{what} has more than {limit} bytes",
            remedy="Split it, or raise TIDEMILL_MAX_FETCH_BYTES.",
        )
