"""The ledger of files: what was received for a project, and what became of it.

Here belong the records of files in the control state and the list of files that wait in an inbox. What is read
from a file belongs to `data/read.py`; taking files into the table to `data/ingest.py`. The table's manifest is
the truth about what is in the table: when the two differ after a crash, ingestion mends the ledger from it.
"""

from __future__ import annotations

import fnmatch
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from tidemill.errors import NotFound
from tidemill.home import Home
from tidemill.project import Project, load_project
from tidemill.store.state import State, files, now

Origin = Literal["api", "inbox", "share", "sftp", "s3", "sql"]
Final = Literal["accepted", "refused"]

ID_LENGTH = 16
# What programs call a file that they are still writing.
UNFINISHED = (".part", ".partial", ".crdownload", ".filepart", ".tmp", ".swp", "~")
SETTLED_AFTER = 2.0


@dataclass(frozen=True)
class Receipt:
    """The ledger's answer to a file.

    `wanted` says whether its bytes should be put into the inbox: not when the table holds them already. `new`
    says whether the ledger had no record of these bytes.
    """

    record: dict[str, Any]
    wanted: bool
    new: bool


def receive(state: State, project: str, *, sha256: str, name: str, size: int, origin: Origin) -> Receipt:
    """Note that a file was received: call it first, and put the file into the inbox if it is `wanted`.

    Bytes that were refused before are taken again, because the contract may have been mended since. Bytes still
    waiting are wanted too: a crash may have come between this note and the move, and ingestion takes equal
    bytes once only.
    """
    file_id = sha256[:ID_LENGTH]
    with state.begin() as connection:
        found = connection.execute(sa.select(files).where(*_key(project, file_id))).mappings().first()
        if found is not None and found["status"] == "accepted":
            return Receipt(dict(found), wanted=False, new=False)
        values = {
            "name": name,
            "sha256": sha256,
            "bytes": size,
            "origin": origin,
            "status": "received",
            "received_at": now(),
            "finished_at": None,
            "dataset_version": None,
            "rows": None,
            "accepted": None,
            "rejected": None,
            "problem": None,
        }
        if found is None:
            connection.execute(sa.insert(files).values(id=file_id, project=project, **values))
        elif found["status"] == "refused":
            connection.execute(sa.update(files).where(*_key(project, file_id)).values(**values))
        record = connection.execute(sa.select(files).where(*_key(project, file_id))).mappings().one()
        return Receipt(dict(record), wanted=True, new=found is None)


def finish(
    state: State,
    project: str,
    file_id: str,
    status: Final,
    *,
    rows: int | None = None,
    accepted: int | None = None,
    rejected: int | None = None,
    dataset_version: int | None = None,
    problem: Mapping[str, Any] | None = None,
) -> None:
    """Write down what became of a received file."""
    values = {
        "status": status,
        "finished_at": now(),
        "rows": rows,
        "accepted": accepted,
        "rejected": rejected,
        "dataset_version": dataset_version,
        "problem": dict(problem) if problem is not None else None,
    }
    with state.begin() as connection:
        connection.execute(sa.update(files).where(*_key(project, file_id)).values(**values))


def file_record(state: State, project: str, file_id: str) -> dict[str, Any] | None:
    """The record of one file by its id (the first 16 hex digits of its SHA-256), or None."""
    found = state.rows(sa.select(files).where(*_key(project, file_id)))
    return found[0] if found else None


def find_file(state: State, project: str, wanted: str) -> dict[str, Any]:
    """The record of a file by its id, or the newest of that name. Raises NotFound."""
    found = file_record(state, project, wanted)
    if found is None:
        found = next((each for each in list_files(state, project) if each["name"] == wanted), None)
    if found is None:
        raise NotFound(
            "There is no such file",
            detail=f"project {project} never received a file {wanted[:80]!r}",
            remedy="`GET /v1/projects/NAME/files` and the dashboard's data page list the files there are.",
        )
    return found


def list_files(state: State, project: str) -> list[dict[str, Any]]:
    """The records of a project's files, newest first."""
    query = sa.select(files).where(files.c.project == project)
    return state.rows(query.order_by(files.c.received_at.desc(), files.c.id))


def rejects_file(home: Home, project: str, file_id: str) -> Path:
    """Where the rejected rows of one file are listed (line, column, value, reason), as CSV."""
    return home.store(project) / "rejects" / f"{file_id}.csv"


def pending_files(home: Home, project: Project | str) -> list[Path]:
    """Files that wait in the project's inbox, oldest first. Cheap: names and times only, nothing is opened.

    Dotfiles, files that bear the name of an unfinished copy, folders, links (they could name any file of this
    machine), and names outside the project's pattern are left out.
    """
    described = load_project(home, project) if isinstance(project, str) else project
    patterns = described.landed_patterns
    inbox = home.inbox(described.name)
    waiting = []
    for path in inbox.iterdir() if inbox.is_dir() else ():
        named = any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
        if path.name.startswith(".") or path.name.lower().endswith(UNFINISHED) or not named:
            continue
        # None: taken by another process since the folder was listed.
        if path.is_file() and not path.is_symlink() and (found := _stat(path)) is not None:
            waiting.append((found.st_mtime_ns, path))
    return [path for _, path in sorted(waiting)]


def settled(waiting: Sequence[Path]) -> list[Path]:
    """Those of `waiting` that nobody is writing any more: their size and time stand still.

    A file untouched for two seconds is settled at once, and so is one that was moved, or had its time set, after
    its last byte. The others are watched together, for two seconds at most.
    """
    before = {path: found for path in waiting if (found := _stat(path)) is not None}
    ages = [time.time() - found.st_mtime for found in before.values() if not _finished(found)]
    if ages:
        # A clock ahead of ours (a network share) gives a negative age: then only standing still counts.
        time.sleep(SETTLED_AFTER - max(min(ages), 0.0))
    return [path for path, found in before.items() if _finished(found) or _same(found, _stat(path))]


def _finished(found: os.stat_result) -> bool:
    # Writing sets both times alike; a rename or a copied time stamp sets the time of change only.
    return found.st_ctime_ns > found.st_mtime_ns or time.time() - found.st_mtime > SETTLED_AFTER


def _same(before: os.stat_result, after: os.stat_result | None) -> bool:
    return after is not None and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _key(project: str, file_id: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return files.c.project == project, files.c.id == file_id
