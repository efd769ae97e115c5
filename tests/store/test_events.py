"""Writing events: whole or not at all, by any number of threads and processes, whatever happens to them."""

import errno
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from typing import Any

import pytest

from tidemill.errors import InvalidInput, StorageFull
from tidemill.home import Home
from tidemill.store import segments
from tidemill.store.compaction import compact
from tidemill.store.events import EventLog
from tidemill.store.history import count

from .conftest import PROJECT, event, ids


def test_what_was_appended_can_be_read_at_once(home: Home) -> None:
    log = EventLog(home, PROJECT, "predictions")
    written = [event(number) for number in range(5)]
    log.append(written)
    assert ids(home) == Counter(entry["id"] for entry in written)
    assert count(home, PROJECT, "predictions") == 5
    log.close()


def test_a_full_disk_keeps_nothing_of_the_batch_and_the_next_append_works(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(home, PROJECT, "predictions")
    first, lost, last = event(1), event(2), event(3)
    log.append([first])
    real = os.write
    calls = iter([lambda fd, data: real(fd, bytes(data)[:100]), _full])

    def write(descriptor: int, data: Any) -> int:
        return next(calls, real)(descriptor, data)

    monkeypatch.setattr(segments.os, "write", write)
    with pytest.raises(StorageFull):
        log.append([lost])
    log.append([last])
    log.close()
    assert ids(home) == Counter([first["id"], last["id"]])
    assert compact(home, PROJECT, "predictions").rows == 2


def _full(_descriptor: int, _data: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_json_cannot_hold_is_refused_and_nothing_is_kept(home: Home) -> None:
    log = EventLog(home, PROJECT, "predictions")
    for value in (float("nan"), float("inf"), "\ud800", object()):
        with pytest.raises(InvalidInput):
            log.append([event(), event(input={"age": value})])
    assert count(home, PROJECT, "predictions") == 0
    log.append([event(input={"age": 10**400, "site": "\x00"})])
    assert sum(ids(home).values()) == 1
    log.close()


def test_threads_share_a_log(home: Home) -> None:
    log = EventLog(home, PROJECT, "predictions", segment_bytes=20_000)
    written = [[event(number) for number in range(20)] for _ in range(8)]
    threads = [
        threading.Thread(target=lambda part=part: [log.append([one]) for one in part]) for part in written
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert ids(home) == Counter(one["id"] for part in written for one in part)


def test_a_fork_writes_to_a_segment_of_its_own(home: Home) -> None:
    log = EventLog(home, PROJECT, "predictions")
    log.append([event()])
    # A fresh interpreter forks: forking this one, which has threads, is a warning and so an error.
    code = (
        "import os, sys\n"
        "from tidemill.home import Home\nfrom tidemill.store.events import EventLog\n"
        "log = EventLog(Home(__import__('pathlib').Path(sys.argv[1])), 'ward', 'predictions')\n"
        "log._syncer = __import__('threading').main_thread()\n"
        "log.append([{'id': 'parent'}])\n"
        "pid = os.fork()\n"
        "log.append([{'id': 'child' if pid == 0 else 'parent again'}])\n"
        "os._exit(0) if pid == 0 else os.waitpid(pid, 0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(home.root)], check=True, timeout=60)
    assert len(segments.list_segments(home.log, PROJECT, "predictions")) == 3
    assert {"parent", "child", "parent again"} < set(ids(home))
    log.close()


WRITER = """
import sys, uuid
from pathlib import Path
from tidemill.home import Home
from tidemill.store.events import EventLog
log = EventLog(Home(Path(sys.argv[1])), "ward", "predictions", segment_bytes=30_000)
while True:
    batch = [{"id": str(uuid.uuid4()), "at": "2026-03-01T10:00:00.000+00:00", "label": "x" * 200} for _ in range(7)]
    log.append(batch)
    sys.stdout.write("".join(event["id"] + "\\n" for event in batch))
    sys.stdout.flush()
"""


def start_writer(home: Home) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(home.root)], stdout=subprocess.PIPE)


def acknowledged_until_killed(writer: subprocess.Popen[bytes], seconds: float) -> list[str]:
    timer = threading.Timer(seconds, writer.kill)
    assert writer.stdout is not None
    lines = [writer.stdout.readline()]  # the interpreter is up
    timer.start()
    with writer.stdout:
        data = b"".join(lines) + writer.stdout.read()
    writer.wait()
    timer.join()
    return [line for line in data.decode().split("\n")[:-1] if len(line) == 36]


def test_kill_9_loses_and_doubles_nothing(home: Home) -> None:
    acknowledged: list[str] = []
    for _ in range(3):
        acknowledged += acknowledged_until_killed(start_writer(home), random.uniform(0.05, 0.3))
        before = ids(home)
        assert set(acknowledged) <= set(before)
        assert set(before.values()) == {1}
        compact(home, PROJECT, "predictions")
        assert ids(home) == before
    assert segments.list_segments(home.log, PROJECT, "predictions") == []
