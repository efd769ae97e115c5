"""What the API's process grows by while it takes a file that is far larger than that."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tidemill.home import Home

from .conftest import add_project
from .served import Served

LARGE = 150_000_000
BOUND = 60_000_000


@contextlib.contextmanager
def highest(pid: int) -> Iterator[list[int]]:
    process = psutil.Process(pid)
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


@pytest.mark.parametrize("resume", [False, True])
def test_no_file_is_in_memory(home: Home, tmp_path: Path, resume: bool) -> None:
    add_project(home)
    file = tmp_path / "large.csv"
    with file.open("wb") as handle:
        handle.write(b"pet_id,kind\n")
        while handle.tell() < LARGE:
            handle.write(b"%d,cat\n" % handle.tell() * 100_000)
    with Served(home) as served, served.client() as client:
        client.upload("pets", b"pet_id,kind\np,cat\n", "warm.csv", resume=resume)
        with highest(served.pid) as seen:
            assert client.upload("pets", file, resume=resume)["bytes"] > LARGE
        assert max(seen) - seen[0] < BOUND
