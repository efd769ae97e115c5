"""Keeping the process beside each challenger alive: started when there is one to watch, ended when it hangs.

Here belong starting, looking after and ending it, from the API's side; what it does is `serve/challenger.py`. Of
several API processes one has it: whoever gets the lock file, which the started process holds as long as it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from tidemill.home import CHECKOUT, Home
from tidemill.monitor.alerts import raise_alert
from tidemill.serve.deployment import Deployment
from tidemill.serve.rollout_report import reports_folder
from tidemill.store.state import State

# A process that has not written its report for so long hangs in a challenger. One in shadow runs at idle priority:
# on a machine that is never idle it is only slow.
HUNG_SECONDS = 300.0
# After a crash it is started again after 1, 2, 4 ... seconds, at most this.
LONGEST_PAUSE = 30.0
# One that lived this long before it crashed is started again at once.
SOUND_SECONDS = 60.0

logger = logging.getLogger("tidemill.rollout")


@dataclass
class _Kept:
    process: subprocess.Popen[bytes]
    since: int
    began: float
    crashes: int
    next_start: float = 0.0


class Keeper:
    """The processes that this API has beside challengers. `look` is called by one thread."""

    def __init__(self, home: Home, state: State, database_url: str | None) -> None:
        self._home = home
        self._state = state
        self._database_url = database_url
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._closed = False

    def look(self, found: Deployment) -> None:
        """Start what is missing beside the challenger of `found`, and end what hangs or is not wanted any more."""
        with self._lock:
            if not self._closed:
                self._look(found)

    def close(self) -> None:
        """End them all."""
        with self._lock:
            self._closed = True
            for kept in self._kept.values():
                _end(kept.process)

    def _look(self, found: Deployment) -> None:
        challenger = found.challenger if found.challenger and not found.challenger.paused else None
        kept = self._kept.get(found.project)
        if kept is not None and kept.process.poll() is None:
            is_wanted = challenger is not None and challenger.since == kept.since
            if self._hangs(found.project, kept):
                self._tell(found, kept, f"hung for {HUNG_SECONDS:.0f} s")
                kept.process.kill()
            elif not is_wanted and time.monotonic() - kept.began > SOUND_SECONDS:
                _end(kept.process)
            return
        if kept is not None and kept.next_start == 0.0:
            kept.next_start = self._ended(found, kept)
        if challenger is None or (kept is not None and time.monotonic() < kept.next_start):
            return
        same = kept is not None and kept.since == challenger.since
        self._start(found.project, challenger.since, kept.crashes if kept is not None and same else 0)

    def _start(self, project: str, since: int, crashes: int) -> None:
        file = self._home.run / f"challenger-{project}.lock"
        with file.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another API process has it
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            if self._database_url:
                environment["TIDEMILL_DATABASE_URL"] = self._database_url
            process = subprocess.Popen(
                [sys.executable, "-m", "tidemill.serve.challenger", str(self._home.root), project],
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[lock.fileno()],
            )
        self._kept[project] = _Kept(process, since, time.monotonic(), crashes)

    def _ended(self, found: Deployment, kept: _Kept) -> float:
        """When to start the next one: at once after a good end."""
        if kept.process.returncode in (0, -signal.SIGTERM):
            return time.monotonic()
        if time.monotonic() - kept.began > SOUND_SECONDS:
            kept.crashes = 0
        kept.crashes += 1
        self._tell(found, kept, f"ended with {kept.process.returncode}")
        return time.monotonic() + min(LONGEST_PAUSE, 2.0 ** (kept.crashes - 1))

    def _hangs(self, project: str, kept: _Kept) -> bool:
        if time.monotonic() - kept.began < HUNG_SECONDS:
            return False
        written = _written(reports_folder(self._home, project) / f"{kept.since:08d}.json")
        return written is None or time.time() - written > HUNG_SECONDS

    def _tell(self, found: Deployment, kept: _Kept, what: str) -> None:
        challenger = found.challenger
        if challenger is None:
            return
        title = f"The process beside challenger {challenger.version} {what}; the live model is not touched"
        logger.warning("project %s: %s", found.project, title)
        detail = {"model_version": challenger.version, "stage": challenger.stage, "crashes": kept.crashes}
        try:
            raise_alert(
                self._state,
                found.project,
                "service",
                f"challenger {challenger.version}",
                title,
                "warning",
                detail,
            )
        except SQLAlchemyError as error:
            logger.warning("the alert could not be raised: %s", type(error).__name__)


def _written(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
            return
        process.kill()
        process.wait(5)
