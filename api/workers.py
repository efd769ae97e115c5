"""Several processes of the API on one port: started, started again when they end, and ended together.

Here belongs the parent, which serves nothing itself. Each worker binds the port (SO_REUSEPORT: the kernel deals out
connections), loads the models, and writes segments of the log of its own. What they count is put together in
`api/metrics.py`. Logins for Label Studio stay with the worker that gave the ticket, so a home where people label
runs one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

LOOK_SECONDS = 0.1
# A worker that ends so soon after its start will not do better at the next.
TOO_SOON = 2.0
PARENT_SECONDS = 0.5


class Workers:
    """`count` processes of `command`. `counts` is the folder of what they count; an earlier run's are dropped."""

    def __init__(self, command: list[str], count: int, counts: Path) -> None:
        self._command = command
        self._count = count
        self._counts = counts
        self._running: list[tuple[subprocess.Popen[bytes], float]] = []
        self._is_stopping = False

    def run(self) -> int:
        """Until told to stop, or until a worker cannot even start; gives the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        shutil.rmtree(self._counts, ignore_errors=True)
        self._counts.mkdir(parents=True)
        status = 0
        while not self._is_stopping and status == 0:
            status = self._replace_ended()
            time.sleep(LOOK_SECONDS)
        self._tell_all()
        for process, _ in self._running:
            process.wait()
        return status

    def _replace_ended(self) -> int:
        """The status of a worker that ended at its start, else 0."""
        for process, began in self._running:
            status = process.poll()
            if status is not None and status > 0 and time.monotonic() - began < TOO_SOON:
                return status
        self._running = [(process, began) for process, began in self._running if process.poll() is None]
        while len(self._running) < self._count:
            self._running.append((subprocess.Popen(self._command), time.monotonic()))
        return 0

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._is_stopping = True

    def _tell_all(self) -> None:
        for process, _ in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def end_with_parent(parent: int) -> None:
    """End this worker when its parent is gone: killed with -9 it tells nobody, and the port would stay taken.

    `parent` is its process id as the parent gave it, which may be gone before this worker looks.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()


def worker_command() -> list[str]:
    """The command of a worker of this process."""
    return [sys.executable, "-m", "api", "--worker", str(os.getpid())]
