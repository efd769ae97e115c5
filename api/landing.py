"""Landing a file: bytes from a request become a file in the inbox, whole or not at all.

Here belongs writing aside, hashing, naming and the move. The protocols around it (multipart, raw bodies, limits;
parts) are in `api/ingest.py` and `api/uploads.py`; what is in the file is looked at by `tidemill/data/`.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import os
import re
import time
import unicodedata
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tidemill.errors import Conflict, InvalidInput
from tidemill.project import Project
from tidemill.store.durable import disk_full_is_an_error, sha256_of, sync_file, sync_folder

NAME_LENGTH = 120
STALE_AFTER = 24 * 3600.0
# What file systems without hard links (some network shares) answer.
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Landing:
    """One file on its way into `inbox`. Use it as a context manager: what was not placed is removed."""

    def __init__(self, inbox: Path) -> None:
        inbox.mkdir(parents=True, exist_ok=True)
        _sweep(inbox)
        self.inbox = inbox
        self.size = 0
        self._hash = hashlib.sha256()
        self._aside = inbox / f".incoming-{uuid.uuid4().hex}"
        self._handle = self._aside.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()
        self._aside.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes. Raises StorageFull."""
        with disk_full_is_an_error(self.inbox):
            self._handle.write(data)
        self._hash.update(data)
        self.size += len(data)

    def arrived(self) -> Arrived:
        """The file, now that all of it was written."""
        with disk_full_is_an_error(self.inbox):
            self._handle.flush()
        return Arrived(self.inbox, self._aside, self.size, self.sha256)


@dataclass(frozen=True)
class Arrived:
    """A whole file, `aside` on the disk of its inbox; whoever put it there removes it from there."""

    inbox: Path
    aside: Path
    size: int
    sha256: str

    @classmethod
    def read(cls, inbox: Path, aside: Path) -> Arrived:
        """The file that lies `aside`."""
        return cls(inbox, aside, aside.stat().st_size, sha256_of(aside))

    def place(self, name: str, patterns: list[str]) -> Path:
        """Sync the file and give it its name in the inbox. A waiting file is never overwritten.

        Raises Conflict when a different file of that name waits and `patterns` allow no other name.
        """
        with disk_full_is_an_error(self.inbox):
            sync_file(self.aside)
        # It is whole before it appears. An old time says so, or ingestion would watch it grow for two seconds.
        past = time.time() - 60.0
        os.utime(self.aside, (past, past))
        stem, suffix = os.path.splitext(name)
        for candidate in (name, f"{stem}-{self.sha256[:12]}{suffix}"):
            if matches(candidate, patterns) and self._link(self.inbox / candidate):
                sync_folder(self.inbox)
                return self.inbox / candidate
        raise Conflict(
            "A file of that name still waits",
            detail=f"{name} is in the inbox with other content",
            remedy="Try again once it has been taken, or send it under another name.",
        )

    def _link(self, target: Path) -> bool:
        with disk_full_is_an_error(self.inbox), contextlib.suppress(FileExistsError):
            try:
                os.link(self.aside, target)
            except OSError as error:
                if error.errno not in NO_HARD_LINKS or target.exists():
                    raise
                self.aside.rename(target)
            return True
        # A name that is taken by the same bytes is as good as ours.
        with contextlib.suppress(FileNotFoundError), target.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest() == self.sha256
        return False


def safe_name(shown: str, project: Project) -> str:
    """A name for the inbox made from the name a client sent: no path, no dotfile, plain characters.

    Raises InvalidInput when it has no suffix, or is not among the names the project takes.
    """
    base = re.split(r"[/\\]", shown)[-1]
    plain = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
    stem, suffix = os.path.splitext(re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-") or "data")
    if not re.fullmatch(r"\.[A-Za-z0-9]{1,8}", suffix):
        raise InvalidInput(
            "The file's name has no suffix",
            detail=f"the suffix of {shown_name(shown)!r} does not say what kind of file it is",
            remedy="Send a name such as data.csv or data.xlsx: in the query as `name`, or with the form's file.",
        )
    name = stem[: NAME_LENGTH - len(suffix)] + suffix
    patterns = patterns_of(project)
    if not matches(name, patterns):
        raise InvalidInput(
            "The project does not take files of that name",
            detail=f"{name} is not like {' or '.join(patterns)}",
            remedy="Rename the file, or change sources.pattern in project.yaml.",
        )
    return name


def shown_name(given: str) -> str:
    """The client's name as it is shown to people: the last part, printable, not too long."""
    base = re.split(r"[/\\]", given)[-1]
    return "".join(character if character.isprintable() else "?" for character in base)[:200] or "file"


def patterns_of(project: Project) -> list[str]:
    return project.inbox_patterns


def matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _sweep(inbox: Path) -> None:
    """Remove what uploads left that a crash cut off."""
    for left in inbox.glob(".incoming-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > STALE_AFTER:
                left.unlink()
