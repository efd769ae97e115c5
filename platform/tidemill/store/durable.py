"""Writing files so that a crash leaves the old bytes or the new ones, never half.

Here belong the few primitives every store builds on: replace a file, sync a folder, hold a lock between
processes. What is written is the callers' business.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidemill.errors import NotReady, StorageFull


@contextmanager
def disk_full_is_an_error(path: Path) -> Iterator[None]:
    """Turn the operating system's "no space" into StorageFull naming `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                "The disk is full",
                detail=f"nothing more could be written under {path}",
                remedy="Free some space on that disk, then try again. What was stored before is whole.",
            ) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(file: Path) -> None:
    """Make the bytes of `file` survive a loss of power."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_bytes(file: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `file` by `data` in one step; readers see the old bytes or the new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        with disk_full_is_an_error(file.parent):
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(aside, file)
            sync_folder(file.parent)
    finally:
        aside.unlink(missing_ok=True)


def replace_json(file: Path, value: Any, *, mode: int = 0o644) -> None:
    """`replace_bytes` of `value` as JSON that a person can read."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    replace_bytes(file, text.encode(), mode=mode)


@contextmanager
def locked(file: Path, *, wait: float = 600.0, what: str = "this") -> Iterator[None]:
    """Hold an advisory lock between processes on `file`, made when absent.

    Raises NotReady after `wait` seconds. The lock ends with the process that holds it, however it ends.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NotReady(
                        f"Another process is busy with {what}",
                        detail=f"{file} has been locked for more than {wait:.0f} s",
                        remedy="Wait for the other run to end, or stop it, then try again.",
                    ) from None
                time.sleep(0.02)
        yield


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, in hex; the file is read in pieces."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
