"""A box with a home and toy services under a real supervisor, all of which is gone after the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tidemill.home import Home
from tidemill.ops import control, ports
from tidemill.ops.state import ServiceRecord, State, read_state

HERE = Path(__file__).parent


def living(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Box:
    """Start toy services, look at them, hurt them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "a home").ensure()
        self.services: list[dict[str, Any]] = []
        self._started: list[subprocess.Popen[bytes]] = []

    def add(self, name: str, *options: str, **fields: Any) -> dict[str, Any]:
        """A toy service with a free port; `fields` are those of Service."""
        port = fields.pop("port", ports.any_free("127.0.0.1"))
        command = [sys.executable, str(HERE / "toy_service.py"), str(port), str(self.folder), *options]
        told = {
            "name": name,
            "port": port or None,
            "command": command,
            "probe_every": 0.2,
            "grace": 3.0,
            **fields,
        }
        self.services.append(told)
        return told

    @property
    def command(self) -> list[str]:
        file = self.folder / "services.json"
        file.write_text(json.dumps(self.services))
        return [sys.executable, str(HERE / "toy_supervisor.py"), str(self.home.root), str(file)]

    def up(self, **options: Any) -> subprocess.Popen[bytes]:
        with open(self.folder / "supervisor.out", "ab") as out:
            started = subprocess.Popen(self.command, stdout=out, stderr=subprocess.STDOUT, **options)
        self._started.append(started)
        return started

    def output(self) -> str:
        return (self.folder / "supervisor.out").read_text()

    def state(self) -> State:
        state = read_state(self.home)
        assert state is not None
        return state

    def record(self, name: str) -> ServiceRecord:
        record = self.state().service(name)
        assert record is not None
        return record

    def until(self, condition: Callable[[], object], timeout: float = 15.0) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                if condition():
                    return
            except AssertionError:
                pass
            assert time.monotonic() < deadline, f"it never came true\n{self.output()}"
            time.sleep(0.05)

    def until_healthy(self) -> None:
        self.until(lambda: self.state().phase == "running" and self.state().all_healthy())

    def pids(self, role: str | None = None) -> list[int]:
        lines = (self.folder / "pids").read_text().split("\n")[:-1]
        return [int(line.split()[0]) for line in lines if role is None or line.split()[1] == role]

    def clean(self) -> None:
        control.stop(self.home, lambda _line: None)
        for started in self._started:
            if started.poll() is None:
                started.send_signal(signal.SIGKILL)
            started.wait()
        if (self.folder / "pids").exists():
            for pid in filter(living, self.pids()):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    try:
        yield made
    finally:
        made.clean()
