"""A warm process whose children do one thing to a home each, and are killed at a chosen operation on the disk.

Operations are counted as they happen: a file opened for writing, synced, renamed or removed, a folder made or
removed, a transaction of the control state committed. So the points follow the code, wherever its lines are. It
reads one request a line (`home`, `action`, `at`: the operation that is not reached, 0 for none) and answers with
the operations seen and how the child ended.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tidemill.data.ingest import ingest_pending
from tidemill.data.versions import roll_back
from tidemill.home import Home
from tidemill.project import load_project
from tidemill.store.state import open_state

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {
    "os.rename": "rename",
    "os.remove": "remove",
    "os.mkdir": "make folder",
    "shutil.rmtree": "remove folder",
}


def ingest(home: Home) -> None:
    ingest_pending(home, open_state(home), load_project(home, "shop"))


def rollback(home: Home) -> None:
    roll_back(home, open_state(home), "shop", 1, "the newer one was wrong")


ACTIONS: dict[str, Callable[[Home], None]] = {"ingest": ingest, "rollback": rollback}


def watch(root: str, tell: Callable[[str], None]) -> None:
    """Call `tell` before each operation under `root`, from now to the end of this process."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, str) and path.startswith(root) and (flags or 0) & WRITING:
                tell(f"open {name(path)} {mode or ''}")
        elif event in CHANGES and os.fspath(arguments[0]).startswith(root):
            tell(f"{CHANGES[event]} {name(os.fspath(arguments[-3 if event == 'os.rename' else 0]))}")

    def name(path: str) -> str:
        return path.removeprefix(root)

    true_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(root):
            tell(f"sync {name(path)}")
        true_fsync(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    sa.event.listen(sa.Engine, "commit", lambda _: tell("commit"))
    sys.addaudithook(hook)


def child(home: str, action: str, at: int, pipe: int) -> None:
    seen = 0

    def tell(what: str) -> None:
        nonlocal seen
        seen += 1
        os.write(pipe, (what + "\n").encode())
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

    watch(home, tell)
    ACTIONS[action](Home(Path(home)))


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            os.close(reading)
            failed = True
            try:
                child(request["home"], request["action"], request["at"], writing)
                failed = False
            finally:
                sys.stderr.flush()
                if not failed:
                    os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            operations = pipe.read().splitlines()
        _, status = os.waitpid(process, 0)
        ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        answer = {"operations": operations, "signal": ended, "code": os.waitstatus_to_exitcode(status)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
