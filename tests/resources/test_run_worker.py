"""The run worker with real forks: orders, the limit, lost runs, a clean end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

# Runs are plain functions here: `sleep` runs until told to end, `die` is killed, `quick` writes its name.
WORKER = """
import os, signal, sys, time
from pathlib import Path
from resources.run_worker import RunWorker

folder = Path(sys.argv[1])

def execute(run_id):
    (folder / f"{run_id}.began").write_text(str(os.getpid()))
    if run_id.startswith("sleep"):
        time.sleep(60)
    if run_id.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"{run_id}.ended").touch()

def report_lost(run_id, reason):
    (folder / f"{run_id}.lost").write_text(reason)

RunWorker(folder / "worker.sock", limit=2, execute=execute, report_lost=report_lost).serve()
"""


class Caller:
    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.process = process

    def send(self, line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.folder / "worker.sock"))
            connection.sendall(line + b"\n")
            return connection.makefile("rb").readline()

    def order(self, order: str, run_id: str) -> dict:
        return json.loads(self.send(json.dumps({"order": order, "run_id": run_id}).encode()))

    def wait(self, name: str) -> str:
        return wait_for(lambda: (self.folder / name).exists() and ((self.folder / name).read_text() or " "))

    def pid_of(self, run_id: str) -> int:
        return int(wait_for(lambda: self.wait(f"{run_id}.began").strip()))


def wait_for(probe: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


@contextmanager
def running_worker(folder: Path) -> Iterator[Caller]:
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(folder)], cwd=Path(__file__).parents[2])
    try:
        wait_for(lambda: (folder / "worker.sock").exists())
        yield Caller(folder, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Caller]:
    with running_worker(tmp_path) as caller:
        yield caller


def test_ping_names_the_process(worker: Caller) -> None:
    assert worker.send(b"ping") == f"pong {worker.process.pid}\n".encode()


def test_the_socket_is_private(worker: Caller) -> None:
    assert (worker.folder / "worker.sock").stat().st_mode & 0o777 == 0o600


def test_a_run_is_carried_out_in_a_child_of_its_own(worker: Caller) -> None:
    assert worker.order("launch", "quick") == {"ok": True, "waiting": 0}
    worker.wait("quick.ended")
    assert int(worker.wait("quick.began")) != worker.process.pid


def test_no_more_runs_than_the_limit_and_the_rest_wait_in_order(worker: Caller) -> None:
    for name in ("sleep1", "sleep2"):
        worker.order("launch", name)
        worker.wait(f"{name}.began")
    assert worker.order("launch", "quick3")["waiting"] == 1
    assert worker.order("launch", "quick4")["waiting"] == 2
    time.sleep(0.3)
    assert not (worker.folder / "quick3.began").exists()
    worker.order("cancel", "sleep1")
    worker.wait("quick3.ended")
    worker.wait("quick4.ended")


def test_the_same_run_is_not_started_twice(worker: Caller) -> None:
    worker.order("launch", "sleep")
    pid = worker.pid_of("sleep")
    worker.order("launch", "sleep")
    time.sleep(0.3)
    children = [child.pid for child in psutil.Process(worker.process.pid).children()]
    assert children == [pid]


def test_a_waiting_run_can_be_canceled(worker: Caller) -> None:
    for name in ("sleep1", "sleep2", "quick"):
        worker.order("launch", name)
    assert worker.order("cancel", "quick") == {"ok": True, "was": "waiting"}
    assert worker.order("cancel", "sleep1")["was"] == "running"
    assert worker.order("cancel", "nobody")["was"] == "unknown"
    time.sleep(0.3)
    assert not (worker.folder / "quick.began").exists()


def test_a_killed_run_is_reported_with_its_signal(worker: Caller) -> None:
    worker.order("launch", "die")
    assert "SIGKILL" in wait_for(lambda: worker.wait("die.lost").strip())


@pytest.mark.parametrize(
    "line", [b"", b"nonsense", b"{}", b'{"order": "explode", "run_id": "1"}', b"[1]", b"\xff\xfe"]
)
def test_what_is_not_an_order_gets_an_answer_and_harms_nobody(worker: Caller, line: bytes) -> None:
    assert json.loads(worker.send(line))["ok"] is False
    assert worker.send(b"ping").startswith(b"pong")


def test_a_caller_that_goes_away_does_not_end_the_worker(worker: Caller) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(worker.folder / "worker.sock"))
    assert worker.send(b"ping").startswith(b"pong")


def test_the_end_of_the_worker_ends_its_runs(tmp_path: Path) -> None:
    with running_worker(tmp_path) as caller:
        caller.order("launch", "sleep")
        pid = caller.pid_of("sleep")
    wait_for(lambda: not psutil.pid_exists(pid))
    assert "SIGTERM" in caller.wait("sleep.lost")
    assert not (tmp_path / "worker.sock").exists()


def test_a_process_is_known_by_its_start_time_too() -> None:
    from resources.run_worker import is_alive

    started = psutil.Process().create_time()
    assert is_alive(os.getpid(), started)
    assert not is_alive(os.getpid(), started - 10)


def test_idle_work_goes_step_by_step_and_never_before_an_order(tmp_path: Path) -> None:
    idle = "(time.sleep(0.2) or (folder / 'idle').write_text(str(n)) for n in range(5))"
    code = WORKER.replace("report_lost=report_lost)", f"report_lost=report_lost, when_idle={idle})")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    try:
        caller = Caller(tmp_path, process)
        wait_for(lambda: (tmp_path / "worker.sock").exists())
        caller.order("launch", "quick")
        caller.wait("quick.ended")
        assert not (tmp_path / "idle").exists() or (tmp_path / "idle").read_text() != "4"
        wait_for(lambda: (tmp_path / "idle").exists() and (tmp_path / "idle").read_text() == "4")
        assert caller.send(b"ping").startswith(b"pong")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)
