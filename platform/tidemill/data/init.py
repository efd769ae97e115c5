"""`tidemill init`: a file becomes a project, whose first data is that file.

Here belongs what is written, in which order, so that a failure leaves nothing half made. What the contract says
is inferred by `data/infer.py` and put into words by `data/render.py`.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tidemill.data.infer import Inference, infer
from tidemill.data.ingest import safe_name
from tidemill.data.render import render_yaml
from tidemill.errors import Conflict
from tidemill.home import CHECKOUT, Home, check_project_name
from tidemill.project import Project, Task
from tidemill.store.durable import disk_full_is_an_error, replace_bytes, sync_file, sync_folder

__all__ = ["InitResult", "init_project", "render_yaml"]

SCHEMA = Path("docs") / "project.schema.json"


@dataclass(frozen=True)
class InitResult:
    """Where the project file is, the project, and some lines for a person: what was found and what comes next."""

    project_file: Path
    project: Project
    summary: str


def init_project(
    home: Home, file: str | Path, name: str, target: str, task: str | None = None, force: bool = False
) -> InitResult:
    """Write `projects/<name>/project.yaml` inferred from `file`, and drop a copy of the file into the inbox.

    Raises InvalidInput for a file, name, target or task that will not do, and Conflict when the project exists,
    unless `force` says to write its file anew. Nothing is written before all has been checked.
    """
    source = Path(file).expanduser()
    check_project_name(name)
    project_file = home.project_file(name)
    if project_file.exists() and not force:
        raise Conflict(
            "There is such a project already",
            detail=f"{project_file} exists",
            remedy="Choose another name, edit that file, or say --force to write it anew.",
        )
    inferred = infer(source, name=name, target=target, task=cast(Task | None, task))
    text = render_yaml(inferred.project, notes=inferred.notes, schema=_schema_for(project_file))
    # The data first: a project whose first file is missing would look finished and be empty.
    dropped = _drop(source, home.inbox(name))
    try:
        with disk_full_is_an_error(project_file.parent):
            project_file.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(project_file, text.encode())
    except BaseException:
        dropped.unlink(missing_ok=True)
        raise
    return InitResult(project_file, inferred.project, _summary(inferred, source, home))


def _schema_for(project_file: Path) -> str:
    return os.path.relpath(CHECKOUT / SCHEMA, project_file.parent)


def _drop(source: Path, inbox: Path) -> Path:
    """Copy `source` into `inbox`: aside first, then under its name, so that no sensor takes half of it."""
    with disk_full_is_an_error(inbox):
        inbox.mkdir(parents=True, exist_ok=True)
        target = inbox / safe_name(source.name)
        if source.resolve() == target.resolve():
            return target
        aside = inbox / f".init-{uuid.uuid4().hex}"
        try:
            shutil.copyfile(source, aside)
            sync_file(aside)
            # An old time says that it is whole; ingestion would watch a fresh file for two seconds.
            past = time.time() - 60.0
            os.utime(aside, (past, past))
            aside.replace(target)
            sync_folder(inbox)
        finally:
            aside.unlink(missing_ok=True)
    return target


def _summary(inferred: Inference, source: Path, home: Home) -> str:
    project = inferred.project
    roles = Counter(column.role for column in project.columns.values())
    counted = ", ".join(f"{count} {role}" for role, count in roles.items())
    lines = [
        f"{source.name}: {inferred.rows} rows, {len(project.columns)} columns ({counted})",
        f"task: {project.task}, target {project.target}, judged by {project.metric}",
        *inferred.remarks,
        *(f"{name}: {note}" for name, note in inferred.notes.items()),
        f"a copy of the file waits in {home.inbox(project.name)}; drop more files of its kind there",
        "next: ./tidemill up, or materialise the project in Dagster if it runs already",
    ]
    return "\n".join(lines)
