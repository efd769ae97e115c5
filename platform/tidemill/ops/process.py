"""Operating-system processes: starting one in a group of its own, knowing it again, and ending all of it.

Here belongs what is true of any process. What Tidemill starts, when and why is in `services.py` and
`supervisor.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# Every process below a service inherits this variable, so that one which left its process group is still found.
MARK = "SUPERVISED_BY"

_RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class ProcessId:
    """A process for good: its pid, and when it was created (seconds since 1970), since pids are used again."""

    pid: int
    create_time: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The process that has `pid` now. Raises ProcessLookupError when there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess as error:
            raise ProcessLookupError(pid) from error

    def alive(self) -> bool:
        """Whether it still runs. A zombie does not: it only waits for a parent that may never ask."""
        try:
            process = psutil.Process(self.pid)
            # The clock may be stepped between two looks; a pid is not used again within a second.
            same = abs(process.create_time() - self.create_time) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def spawn(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start `command` as the leader of a new session, its output appended to `log`, its signals at default."""
    with open(log, "ab", buffering=0) as output, _default_signals():
        return subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextlib.contextmanager
def _default_signals() -> Iterator[None]:
    """Hand down no ignored or blocked signal.

    A script's background job ignores SIGINT; so would each child of it, and Dagster then ignores SIGTERM too.
    Handlers are reset by exec, but "ignored" is inherited.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = [number for number in _RESET if signal.getsignal(number) == signal.SIG_IGN]
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether `process` is over, WITHOUT collecting it: until then its pid, and so its group's id, stays ours."""
    if process.returncode is not None:
        return True
    if hasattr(os, "waitid"):
        try:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, process.pid, flags) is not None
        except ChildProcessError:
            return True
    try:
        return psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def signal_group(group: int, number: int) -> None:
    """Send a signal to every process of `group`; none left is fine."""
    # macOS says "not permitted" for a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def signal_process(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def group_members(group: int) -> list[ProcessId]:
    """Living processes of `group`, zombies left out."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(ProcessId(process.pid, process.create_time()))
    return found


def marked(prefix: str) -> list[ProcessId]:
    """Living processes whose mark starts with `prefix`, never this process or one it descends from."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.environ().get(MARK, "").startswith(prefix)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(ProcessId(process.pid, process.create_time()))
    return found


def end_all(targets: Iterable[ProcessId], *, grace: float) -> int:
    """SIGTERM each living target, SIGKILL those alive after `grace` seconds; how many there were."""
    living = [target for target in set(targets) if target.alive()]
    for target in living:
        signal_process(target.pid, signal.SIGTERM)
    left = wait_gone(living, grace)
    for target in left:
        signal_process(target.pid, signal.SIGKILL)
    wait_gone(left, 5.0)
    return len(living)


def wait_gone(targets: Iterable[ProcessId], timeout: float) -> list[ProcessId]:
    """Wait until all are gone or `timeout` seconds have passed; those that are left."""
    deadline = time.monotonic() + timeout
    left = [target for target in targets if target.alive()]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [target for target in left if target.alive()]
    return left


def with_descendants(pid: int) -> list[psutil.Process]:
    """The process and all below it; empty when it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(pid: int) -> int:
    """Bytes of memory of a process and all below it: proportional shares (PSS) where the system knows them."""
    return sum(_memory_of(one) for one in with_descendants(pid))


def memory_alone(pid: int) -> int:
    """The same for one process without its children."""
    return sum(_memory_of(one) for one in with_descendants(pid)[:1])


def _memory_of(one: psutil.Process) -> int:
    try:
        full = one.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:
        return int(one.memory_info().rss)
