"""The run worker: one warm process that Dagster runs are forked from.

Importing Dagster, pandas and scikit-learn costs a spawned process 4 to 6 s; a fork of a process that has done so
costs milliseconds. This module listens on a private unix socket for the launcher's orders
(`resources/launcher.py`), forks one child a run, keeps to a limit of runs at once, and reports runs whose child
died. It knows nothing of what a run does.

The parent never opens Dagster's storage: a database connection must not be shared by forks. Whatever needs the
storage is done by a short-lived child.

Orders are one JSON object on a line; every answer is one too:
    {"order": "launch", "run_id": ID}  ->  {"ok": true, "waiting": N}
    {"order": "cancel", "run_id": ID}  ->  {"ok": true, "was": "waiting" | "running" | "unknown"}
and `ping` is answered `pong PID`, which is how health checks know it is ours.

Definitions are made anew in each child, so a new or changed project file needs no restart of the worker.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tidemill.home import Home
from tidemill.settings import load_settings

PID_TAG = "tidemill/worker_pid"
STARTED_TAG = "tidemill/worker_started"
# How long the launcher tries to hand a run over, and how long a canceled run may take to end by itself.
LAUNCH_SECONDS = 15.0
GRACE_SECONDS = 10.0

# Imported before the first fork, so that every run has them.
NEEDED_BY_ALL = (
    "dagster._cli.api",
    "dagster._core.instance.factory",
    "dagster._core.scheduler",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.root",
    "dagster._core.storage.sqlite_storage",
    "resources.launcher",
)
# Imported one by one while nothing is asked, so that most runs have them: 200 MB once instead of 8 s in each run.
# The large libraries come piece by piece, since an order waits for the import under way.
NEEDED_BY_MOST = (
    "pandas",
    "pyarrow.parquet",
    "duckdb",
    "scipy.sparse",
    "scipy.stats",
    "sklearn.utils",
    "sklearn.linear_model",
    "sklearn.ensemble",
    "sklearn.compose",
    "sklearn.model_selection",
    "sklearn.feature_extraction.text",
    "matplotlib.figure",
    "tidemill.data.ingest",
    "tidemill.labels.column",
    "tidemill.learn.assess",
    "tidemill.learn.training",
    "tidemill.monitor.watch",
    "skops.io",
    "optuna",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
)


def is_alive(pid: int, started: float) -> bool:
    """Whether process `pid` runs and is the one created at `started` (seconds since the epoch), not a later one."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 0.5 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


DONE = object()


class RunWorker:
    """Forks runs from a warm process, at most `limit` at once; the rest wait in the order they came.

    `execute` is what a child does with a run id and `report_lost` what a child does for a run whose process
    ended without a word; both are called in children only. `when_idle` is gone through step by step while nothing
    is asked.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        execute: Callable[[str], None],
        report_lost: Callable[[str, str], None],
        when_idle: Iterable[object] = (),
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.path = path
        self.limit = limit
        self.execute = execute
        self.report_lost = report_lost
        self.when_idle = iter(when_idle)
        self.is_idle_done = False
        self.running: dict[int, str] = {}  # pid -> run id
        self.grace = grace
        self.ending: dict[int, float] = {}  # pid -> when it is killed, if it has not ended by then
        self.reporters: set[int] = set()
        self.waiting: deque[str] = deque()
        self.stopping = False
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._wake_read, self._wake_write = socket.socketpair()

    def serve(self) -> None:
        """Answer orders until SIGTERM or SIGINT, then end the children and return."""
        self._listen()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        while not self.stopping:
            asked = self._selector.select(timeout=1.0 if self.is_idle_done else 0.02)
            for key, _ in asked:
                if key.fileobj is self._wake_read:
                    self._wake_read.recv(4096)
                else:
                    self._accept()
            if not asked and not self.is_idle_done:
                self.is_idle_done = next(self.when_idle, DONE) is DONE
            self._reap()
            self._kill_stubborn()
            self._start_waiting()
        self._end_children()
        self.path.unlink(missing_ok=True)

    def _listen(self) -> None:
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(self.path))
        finally:
            os.umask(before)
        listener.listen(64)
        self._listener = listener
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def _stop(self, *_: Any) -> None:
        self.stopping = True

    def _accept(self) -> None:
        assert self._listener is not None
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(2.0)
            try:
                line = connection.makefile("rb").readline(65536).strip()
                connection.sendall(self._answer(line))
            except (TimeoutError, ConnectionError) as error:
                print(f"run worker: a caller went away: {error}", file=sys.stderr, flush=True)

    def _answer(self, line: bytes) -> bytes:
        if line == b"ping":
            return f"pong {os.getpid()}\n".encode()
        try:
            order = json.loads(line)
            answer = {"launch": self._launch, "cancel": self._cancel}[order["order"]](str(order["run_id"]))
        except (ValueError, KeyError, TypeError) as error:
            answer = {"ok": False, "error": f"not an order: {error}"}
        return json.dumps(answer).encode() + b"\n"

    def _launch(self, run_id: str) -> dict[str, Any]:
        if run_id not in self.waiting and run_id not in self.running.values():
            self.waiting.append(run_id)
        return {"ok": True, "waiting": max(0, len(self.waiting) - (self.limit - len(self.running)))}

    def _cancel(self, run_id: str) -> dict[str, Any]:
        if run_id in self.waiting:
            self.waiting.remove(run_id)
            return {"ok": True, "was": "waiting"}
        for pid, running in self.running.items():
            if running == run_id:
                os.kill(pid, signal.SIGTERM)
                self.ending.setdefault(pid, time.monotonic() + self.grace)
                return {"ok": True, "was": "running"}
        return {"ok": True, "was": "unknown"}

    def _start_waiting(self) -> None:
        while self.waiting and len(self.running) < self.limit and not self.stopping:
            run_id = self.waiting.popleft()
            self.running[self._fork(self.execute, run_id)] = run_id

    def _fork(self, work: Callable[..., None], *arguments: str) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self._become_child()
            work(*arguments)
            code = 0
        except BaseException:  # noqa: BLE001 - the child's last line of defence: print it, then leave by _exit
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _become_child(self) -> None:
        """Leave behind what belongs to the parent: its group, its signals, its sockets."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        if self._listener is not None:
            self._listener.close()
        self._wake_read.close()
        self._wake_write.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.reporters.discard(pid)
            self.ending.pop(pid, None)
            run_id = self.running.pop(pid, None)
            if run_id is not None and status != 0:
                code = os.waitstatus_to_exitcode(status)
                how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
                self.reporters.add(
                    self._fork(self.report_lost, run_id, f"its process {pid} ended with {how}")
                )

    def _kill_stubborn(self) -> None:
        """End the canceled runs that did not end when told to, such as in a long fit of a compiled library."""
        now = time.monotonic()
        for pid in [pid for pid, deadline in self.ending.items() if now > deadline]:
            del self.ending[pid]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _end_children(self) -> None:
        for pid in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5.0
        while self.running and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.05)
        for pid in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5.0
        while (self.running or self.reporters) and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.05)


def execute_run(run_id: str) -> None:
    """Carry out one Dagster run in this process; its outcome goes to Dagster's event log."""
    from dagster import DagsterInstance
    from dagster._cli.api import _execute_run_command_body
    from dagster._utils.interrupts import setup_interrupt_handlers

    setup_interrupt_handlers()
    started = psutil.Process().create_time()
    with DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return  # it was canceled or given up on its way here
        instance.add_run_tags(run_id, {PID_TAG: str(os.getpid()), STARTED_TAG: f"{started:.3f}"})
        _execute_run_command_body(
            run_id, instance, write_stream_fn=lambda _: None, set_exit_code_on_failure=False
        )


def report_lost(run_id: str, reason: str) -> None:
    """Mark a run as failed, or canceled if that was asked for, unless it has ended by itself."""
    from dagster import DagsterInstance, DagsterRunStatus

    with DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=f"The run was canceled: {reason}.")
        else:
            instance.report_run_failed(run, message=f"The run worker lost this run: {reason}.")


def reap_lost_runs() -> list[str]:
    """Fail every run that Dagster believes under way and whose process is gone. Returns their ids.

    Called when a run worker starts: nothing waits in its queue yet, so a run that is only "starting" is lost too,
    unless the launcher may be waiting with it for this worker. What comes of those, run monitoring sees to.
    """
    from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

    under_way = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    lost = []
    with DagsterInstance.get() as instance:
        for record in instance.get_run_records(RunsFilter(statuses=under_way)):
            run = record.dagster_run
            age = time.time() - record.update_timestamp.timestamp()
            if run.status == DagsterRunStatus.STARTING and age < LAUNCH_SECONDS + 5.0:
                continue
            pid, started = run.tags.get(PID_TAG), run.tags.get(STARTED_TAG)
            if pid and started and is_alive(int(pid), float(started)):
                continue
            report_lost(run.run_id, "its process was gone when the services started again")
            lost.append(run.run_id)
    return lost


def warm_up(home: Home) -> None:
    """Import what every run needs and assemble the definitions once, so that forks have both."""
    for name in NEEDED_BY_ALL:
        importlib.import_module(name)
    from assets.definitions import build_definitions

    build_definitions(home)


def warm_up_further() -> Iterator[str]:
    """Import what most runs need, a module a step."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in NEEDED_BY_MOST:
        importlib.import_module(name)
        yield name
    gc.collect()
    gc.freeze()  # what is here stays: forks share its pages as long as the collector leaves them alone


def main() -> None:
    home = Home.find()
    worker = RunWorker(
        home.worker_socket,
        limit=load_settings().concurrent_runs,
        execute=execute_run,
        report_lost=report_lost,
        when_idle=warm_up_further(),
    )
    warm_up(home)
    _reap_in_child()
    worker.serve()


def _reap_in_child() -> None:
    if (pid := os.fork()) == 0:
        try:
            for run_id in reap_lost_runs():
                print(f"run worker: run {run_id} was lost in a crash and is failed now", flush=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
