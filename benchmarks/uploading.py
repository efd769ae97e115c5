"""What an upload costs the API: megabytes a second, and the memory that its process grows by.

    ./tidemill bench uploading.py --megabytes 500

The real server takes one file in each of three ways: whole, in parts, and as rows of JSON lines (a million rows at
most). The growth is that of the resident set over its size before, looked at 50 times a second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from tidemill.client import Client
from tidemill.console import table
from tidemill.home import CHECKOUT, Home

PROJECT = """\
name: load
task: regression
columns:
  id: {type: string, role: id}
  a: {type: float}
  b: {type: float}
  y: {type: float, role: target}
"""
LINES = 20_000


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home").ensure()
        home.project_file("load").parent.mkdir(parents=True)
        home.project_file("load").write_text(PROJECT)
        with served(home) as (process, client):
            # The first of each kind imports what it needs; that is no growth by the file.
            client.upload("load", b"id,a,b,y\nw,1,2,3\n", "warm.csv")
            client.upload("load", b"id,a,b,y\nv,1,2,3\n", "warmer.csv", resume=True)
            client.send_records("load", [{"id": "u", "a": 1}])
            found = list(measured(process, client, Path(folder), options.megabytes))
    print(table(["way", "MB", "seconds", "MB/s", "RSS before, MB", "grown by, MB"], found))
    return 0


def measured(
    process: psutil.Process, client: Client, folder: Path, megabytes: int
) -> Iterator[list[str | int | float]]:
    whole, parts = (written(folder / f"{name}.csv", megabytes, name) for name in ("whole", "parts"))
    ways: dict[str, Callable[[], Any]] = {
        "whole": lambda: client.upload("load", whole),
        "in parts": lambda: client.upload("load", parts, resume=True),
        "JSON lines": lambda: client.send_records("load", rows(megabytes)),
    }
    for name, send in ways.items():
        before = process.memory_info().rss
        started = time.perf_counter()
        with highest(process) as seen:
            sent = send()["bytes"] / 1e6
        seconds = time.perf_counter() - started
        grown = (max(seen) - before) / 1e6
        yield [
            name,
            round(sent),
            round(seconds, 1),
            round(sent / seconds),
            round(before / 1e6),
            round(grown, 1),
        ]


def written(file: Path, megabytes: int, mark: str) -> Path:
    block = "".join(f"{mark}{row},{row}.5,{row * 3}.25,{row % 7}\n" for row in range(LINES)).encode()
    with file.open("wb") as handle:
        handle.write(b"id,a,b,y\n")
        while handle.tell() < megabytes * 1_000_000:
            handle.write(block)
    return file


def rows(megabytes: int) -> Iterator[dict[str, object]]:
    size = row = 0
    while size < megabytes * 1_000_000 and row < 1_000_000:
        made: dict[str, object] = {"id": f"r{row}", "a": row + 0.5, "b": row * 3.25, "y": row % 7}
        yield made
        row += 1
        size += len(json.dumps(made)) + 1


@contextlib.contextmanager
def highest(process: psutil.Process) -> Iterator[list[int]]:
    """The resident set while something goes on."""
    seen = [process.memory_info().rss]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            seen.append(process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def served(home: Home) -> Iterator[tuple[psutil.Process, Client]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {**os.environ, "TIDEMILL_HOME": str(home.root), "TIDEMILL_API_PORT": str(port)}
    with subprocess.Popen([sys.executable, "-m", "api"], cwd=CHECKOUT, env=environment) as server:
        try:
            for _ in range(600):
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
                    break
                time.sleep(0.1)
            key = (home.secrets / "owner.key").read_text().strip()
            with Client(f"http://127.0.0.1:{port}", key, timeout=600.0) as client:
                yield psutil.Process(server.pid), client
        finally:
            server.kill()


if __name__ == "__main__":
    sys.exit(main())
