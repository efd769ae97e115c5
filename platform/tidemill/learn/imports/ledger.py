"""What became of each file that was to be imported: one small document a file, named by its content.

Here belongs the import folder and these records. Importing itself is in `take.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidemill.errors import NotFound, TidemillError
from tidemill.home import Home
from tidemill.learn.imports.examine import check_first_bytes, format_of, read_whole
from tidemill.learn.imports.refusal import ModelRefused
from tidemill.store.durable import locked, replace_bytes, replace_json

ID = re.compile(r"[0-9a-f]{16}")


def folder(home: Home, project: str) -> Path:
    """Where people and programs put model files of a project."""
    return home.root / "imports" / home.inbox(project).name


def pending(home: Home, project: str, settle: float = 0.0) -> list[Path]:
    """What lies in the import folder, by name, and has not changed for `settle` seconds: a copy may be under way.

    Names that begin with a dot are not finished either.
    """
    where = folder(home, project)
    if not where.is_dir():
        return []
    until = time.time() - settle
    found = (path for path in where.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.lstat().st_mtime <= until or settle <= 0.0)


@contextmanager
def taking(home: Home, project: str) -> Iterator[None]:
    """Held by whoever takes files out of the import folder: two at once would make two models of one file."""
    where = _records(home, project)
    where.mkdir(parents=True, exist_ok=True)
    with locked(where / ".taking.lock", what="the import folder"):
        yield


def drop(home: Home, project: str, name: str, data: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """Put a file into the import folder and note it. Raises ModelRefused for what its name and beginning tell."""
    check_first_bytes(name, data)
    where = folder(home, project)
    where.mkdir(parents=True, exist_ok=True)
    record = note(home, project, name, data, "received", **options)
    replace_bytes(where / name, data)
    return record


def note(home: Home, project: str, name: str, data: bytes, status: str, **more: Any) -> dict[str, Any]:
    """Write the record of a file: what is known of it already, with `status` and `more` on top."""
    return note_by_hash(home, project, name, hashlib.sha256(data).hexdigest(), len(data), status, **more)


def note_by_hash(
    home: Home, project: str, name: str, sha256: str, size: int, status: str, **more: Any
) -> dict[str, Any]:
    """`note` for a file on disk, of `size` bytes, that was hashed as it came."""
    file = _records(home, project) / f"{sha256[:16]}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.parent / ".lock", what="the records of imported models"):
        before = _read(file) or {"received_at": _now(), "by": None, "columns": None, "classes": None}
        record: dict[str, Any] = {
            **before,
            "id": sha256[:16],
            "name": name,
            "sha256": sha256,
            "size": size,
            "status": status,
            "model_version": None,
            "problem": None,
            **more,
        }
        if status != "received":
            record["decided_at"] = _now()
        replace_json(file, record)
    return record


def record_of(home: Home, project: str, file: str) -> dict[str, Any]:
    """The record of a file by its id. Raises NotFound."""
    found = _read(_records(home, project) / f"{file}.json") if ID.fullmatch(file) else None
    if found is None:
        raise NotFound(
            "There is no such import",
            detail=f"project {project} never received a model file {file[:40]!r}",
            remedy=f"GET /v1/projects/{project}/models/imports lists the files there are.",
        )
    return found


def records(home: Home, project: str) -> list[dict[str, Any]]:
    """All records, the newest first."""
    found = [_read(file) for file in _records(home, project).glob("*.json")]
    return sorted(
        (record for record in found if record), key=lambda record: record["received_at"], reverse=True
    )


def problem_of(error: TidemillError) -> dict[str, Any]:
    """Why a file was not taken, as the record keeps it."""
    return {
        "slug": error.slug,
        "title": error.title,
        "detail": error.detail,
        "remedy": error.remedy,
        "reason": error.extra.get("reason"),
    }


def clear_away(file: Path) -> None:
    """Take a file out of the import folder, whatever it is; a folder stays, under a name that is not looked at."""
    if file.is_dir() and not file.is_symlink():
        file.rename(file.with_name(f".refused-{uuid.uuid4().hex[:8]}-{file.name[:80]}"))
        return
    file.unlink(missing_ok=True)


def read_pending(file: Path) -> tuple[str, bytes]:
    """Format and bytes of a file of the import folder. Raises ModelRefused."""
    kind = format_of(file.name)
    data = read_whole(file)
    return check_first_bytes(file.name, data) or kind, data


def name_refused(home: Home, project: str, file: Path, error: ModelRefused) -> dict[str, Any]:
    """The record of something whose bytes were not even read, such as a link: it is named by its name."""
    name = os.fsdecode(os.fsencode(file.name)).encode("ascii", "backslashreplace").decode()[:120]
    return note(home, project, name, name.encode(), "refused", by="import folder", problem=problem_of(error))


def _records(home: Home, project: str) -> Path:
    return home.store(project) / "imports"


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
