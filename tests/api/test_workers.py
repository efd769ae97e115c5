"""Several workers on one port: one that is killed is replaced, all are counted, and one signal ends them."""

import signal
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from api.workers import Workers
from tidemill.home import Home

from .served import Served

SECONDS = 90


def until_two_answer(served: Served, gone: int = 0) -> set[int]:
    """The workers, once there are two without `gone` and the port answers."""
    parent, deadline = psutil.Process(served.pid), time.monotonic() + SECONDS
    while True:
        found = {child.pid for child in parent.children()}
        try:
            if len(found) == 2 and gone not in found:
                httpx.get(f"{served.url}/healthz", trust_env=False).raise_for_status()
                return found
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_killed_worker_is_replaced_and_one_signal_ends_all(home: Home) -> None:
    with Served(home, api_workers="2") as served:
        first = until_two_answer(served)
        victim = min(first)
        psutil.Process(victim).kill()
        second = until_two_answer(served, victim)
        assert first - {victim} < second
        workers = [psutil.Process(pid) for pid in second]
        assert served.process is not None
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(SECONDS) == 0
        assert not any(worker.is_running() for worker in workers)
        served.start()
        workers = [psutil.Process(pid) for pid in until_two_answer(served)]
    # Leaving it killed the parent with -9.
    assert psutil.wait_procs(workers, timeout=SECONDS)[1] == []


def test_workers_that_cannot_start_end_the_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's own stay
    command = [sys.executable, "-c", "import sys; sys.exit(2)"]
    monkeypatch.setattr("api.workers.TOO_SOON", 60.0)
    assert Workers(command, 2, tmp_path / "counts").run() == 2
