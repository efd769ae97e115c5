"""Batch predictions that somebody asked for and will come back to: their folders, their states, their processes.

Here belongs the life of a job: asked for, waiting, under way, done or failed. One job of a home is carried out at
a time, in a process of its own at low priority, so that online predictions do not wait for it. How a file is scored
is `serve/batch.py`, HTTP is `api/batch.py`.

A job is a folder under `store/<project>/batch/`: `job.json` (what was asked), `status.json` (how far it is), the
file and the result. Folders older than a week go when a new job begins.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from tidemill.errors import NotFound, TidemillError
from tidemill.home import CHECKOUT, Home
from tidemill.serve.live import Live
from tidemill.serve.service import PredictionService
from tidemill.store.durable import locked, replace_json
from tidemill.store.state import State, now, open_state

Format = Literal["csv", "parquet"]
JOB_ID = re.compile(r"[0-9a-f]{32}")
KEEP_SECONDS = 7 * 24 * 3600
SHOWN_EVERY = 0.5  # seconds between two writes of how far a job is


@dataclass(frozen=True)
class Job:
    """What was asked for. `file` lies in the job's folder or among the project's files."""

    id: str
    project: str
    name: str
    file: str
    format: Format
    version: int | None
    log: bool
    created_at: str


def model_for(home: Home, state: State, project: str, version: int | None) -> Live:
    """The model that scores: that version, or the deployed one. Raises NotFound or NotReady."""
    service = PredictionService(home, state, project, _NoLog())
    return service.live() if version is None else service.open_version(version)


class _NoLog:
    def append(self, events: Any) -> None:  # noqa: ARG002 - the interface's
        raise AssertionError("a batch writes its own log")

    def write(self, lines: bytes) -> None:  # noqa: ARG002 - the interface's
        raise AssertionError("a batch writes its own log")


def new_folder(home: Home, project: str) -> Path:
    """A folder for a new job; old ones are cleared away."""
    parent = home.store(project) / "batch"
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.iterdir():
        if time.time() - folder.stat().st_mtime > KEEP_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
    folder = parent / uuid.uuid4().hex
    folder.mkdir()
    return folder


def submit(
    home: Home,
    folder: Path,
    project: str,
    name: str,
    file: Path,
    form: Format,
    version: int | None,
    log: bool,
) -> dict[str, Any]:
    """Begin a job whose file is in place, and return its state at once."""
    job = Job(folder.name, project, name, str(file), form, version, log, now())
    replace_json(folder / "job.json", asdict(job))
    command = [sys.executable, "-m", "tidemill.serve.batch_jobs", str(home.root), project, job.id]
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    _note(folder, "queued", process.pid)
    # Collected when it ends, or it would look alive for ever.
    threading.Thread(target=process.wait, name=f"batch {job.id}", daemon=True).start()
    return state_of(home, project, job.id)


def state_of(home: Home, project: str, job_id: str) -> dict[str, Any]:
    """How a job stands: status queued, running, succeeded or failed, rows, errors. Raises NotFound."""
    folder = _folder(home, project, job_id)
    job = json.loads((folder / "job.json").read_text())
    status = json.loads((folder / "status.json").read_text())
    if status["status"] in ("queued", "running") and not _is_alive(status):
        again = json.loads((folder / "status.json").read_text())
        if again["status"] in ("queued", "running"):
            problem = {
                "title": "The work was cut off",
                "detail": "its process is gone",
                "remedy": "Send it again.",
            }
            status = again | {"status": "failed", "problem": problem}
    return {
        "id": job["id"],
        "name": job["name"],
        "format": job["format"],
        "log": job["log"],
        "created_at": job["created_at"],
        **{key: status[key] for key in ("status", "rows", "errors", "model_version", "problem", "ended_at")},
    }


def result_of(home: Home, project: str, job_id: str) -> Path | None:
    """The file that a job made; None while there is none. Raises NotFound."""
    folder = _folder(home, project, job_id)
    form = json.loads((folder / "job.json").read_text())["format"]
    file = folder / f"result.{form}"
    return file if file.is_file() else None


def _folder(home: Home, project: str, job_id: str) -> Path:
    folder = home.store(project) / "batch" / job_id
    if not JOB_ID.fullmatch(job_id) or not (folder / "status.json").is_file():
        raise NotFound(
            "There is no such batch",
            detail=f"project {project} has no batch {job_id[:40]!r}",
            remedy="Batches are kept for a week; send the file again.",
        )
    return folder


def _note(folder: Path, status: str, pid: int, **found: Any) -> None:
    known = {"rows": 0, "errors": 0, "model_version": None, "problem": None, "ended_at": None}
    started = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended already, and said so itself
        started = psutil.Process(pid).create_time()
    if status == "queued" and (folder / "status.json").exists():
        return  # the process was quicker than who started it
    replace_json(
        folder / "status.json", {"status": status, "pid": pid, "pid_started": started, **known, **found}
    )


def _is_alive(status: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(status["pid"])
        is_same = abs(process.create_time() - status["pid_started"]) < 0.5
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def carry_out(home: Home, project: str, job_id: str) -> None:
    """Do the job in this process, once the one before it is done; how it ends is in its state."""
    from tidemill.settings import load_settings

    folder = home.store(project) / "batch" / job_id
    job = Job(**json.loads((folder / "job.json").read_text()))
    _note(folder, "queued", os.getpid())
    with locked(home.run / "batch.lock", wait=KEEP_SECONDS, what="the batch before this one"):
        try:
            _score(home, open_state(home, load_settings().database_url), job, folder)
        except TidemillError as error:
            problem = {"title": error.title, "detail": error.detail, "remedy": error.remedy}
            _note(folder, "failed", os.getpid(), problem=problem, ended_at=now())


def _score(home: Home, state: State, job: Job, folder: Path) -> None:
    from tidemill.serve.batch import Scored, score_file
    from tidemill.store.events import EventLog

    live = model_for(home, state, job.project, job.version)
    version = live.scorer.version
    told = 0.0

    def tell(scored: Scored) -> None:
        nonlocal told
        if time.monotonic() - told > SHOWN_EVERY:
            told = time.monotonic()
            _note(folder, "running", os.getpid(), **scored._asdict(), model_version=version)

    log = EventLog(home, job.project, "predictions") if job.log else None
    try:
        target = folder / f"result.{job.format}"
        scored = score_file(live, Path(job.file), target, name=job.name, log=log, on_progress=tell)
    finally:
        if log is not None:
            log.close()
    _note(folder, "succeeded", os.getpid(), **scored._asdict(), model_version=version, ended_at=now())


if __name__ == "__main__":
    os.nice(10)
    carry_out(Home.find(sys.argv[1]), sys.argv[2], sys.argv[3])
