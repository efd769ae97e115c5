import errno
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest

from tidemill.errors import Corrupt, InvalidInput, StorageFull
from tidemill.home import Home
from tidemill.store import events, segments
from tidemill.store.events import EventLog, compact, count, find, load_manifest, read, recent, stream_folder

PROJECT = "ward"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).ensure()


def event(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "at": f"2026-03-{1 + number % 3:02d}T10:00:00.{number % 1000:03d}+00:00",
        "project": PROJECT,
        "model_version": 1,
        "role": "champion",
        "request_id": "r",
        "entity_id": None,
        "input": {"age": number, "site": "a\nb\u2028 'quoted'"},
        "label": "ill",
        "score": 0.25,
        "probabilities": {"ill": 0.25, "well": 0.75},
        "flags": ["out_of_range:age"],
        "latency_ms": 1.5,
        **changes,
    }


def ids(home: Home) -> Counter[str]:
    with duckdb.connect(":memory:") as con:
        view = read(home, PROJECT, "predictions", con).name
        return Counter(row[0] for row in con.execute(f"SELECT id FROM {view}").fetchall())


def test_what_was_appended_can_be_read_at_once(home: Home) -> None:
    log = EventLog(home, PROJECT, "predictions")
    written = [event(number) for number in range(5)]
    log.append(written)
    assert ids(home) == Counter(entry["id"] for entry in written)
    assert count(home, PROJECT, "predictions") == 5
    log.close()


@pytest.mark.parametrize("label", ["ill", 3.5, 7, True, "3.5"])
def test_an_event_comes_back_as_it_was_logged_before_and_after_compaction(home: Home, label: Any) -> None:
    written = event(label=label, score=None, probabilities=None)
    log = EventLog(home, PROJECT, "predictions")
    log.append([event(1), written, event(2)])
    log.close()
    assert find(home, PROJECT, written["id"]) == written
    assert compact(home, PROJECT, "predictions").rows == 3
    assert find(home, PROJECT, written["id"]) == written
    assert find(home, PROJECT, "unknown") is None


def test_the_newest_events_come_first(home: Home) -> None:
    log = EventLog(home, PROJECT, "predictions")
    written = [event(number, at=f"2026-01-01T00:00:{number:02d}.000+00:00") for number in range(9)]
    log.append(written[:5])
    log.close()
    compact(home, PROJECT, "predictions")
    log.append(written[5:])
    assert recent(home, PROJECT, "predictions", 3) == written[:5:-1]
    log.close()


def test_a_segment_of_a_living_writer_is_left_alone_and_a_full_one_is_closed(home: Home) -> None:
    log = EventLog(home, PROJECT, "predictions", segment_bytes=4096)
    log.append([event()])
    assert compact(home, PROJECT, "predictions") == events.Compaction(0, 0)
    log.append([event(number) for number in range(50)])
    log.append([event()])
    assert compact(home, PROJECT, "predictions").rows == 51
    assert len(segments.list_segments(home.log, PROJECT, "predictions")) == 1
    assert sum(ids(home).values()) == 52
    log.close()


def test_parquet_lies_by_day_and_small_files_merge(home: Home) -> None:
    for _ in range(4):
        log = EventLog(home, PROJECT, "predictions")
        log.append([event(number) for number in range(6)])
        log.close()
        compact(home, PROJECT, "predictions")
    manifest = load_manifest(stream_folder(home, PROJECT, "predictions"))
    assert [part.day for part in manifest.files] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert [part.rows for part in manifest.files] == [8, 8, 8]
    assert len(manifest.retired) == 9
    assert set(ids(home).values()) == {1}


def test_streams_and_projects_with_like_names_do_not_mix(home: Home) -> None:
    for project in (PROJECT, f"{PROJECT}_b"):
        log = EventLog(home, project, "predictions")
        log.append([event(project=project)])
        log.close()
    truth = EventLog(home, PROJECT, "ground_truth")
    truth.append(
        [{"id": "t", "at": "2026-01-01T00:00:00Z", "project": PROJECT, "prediction_id": "p", "entity_id": None,
          "label": "ill", "observed_at": "2026-01-01T02:00:00+02:00", "source": "api"}]
    )  # fmt: skip
    truth.close()
    assert sum(ids(home).values()) == 1
    assert recent(home, PROJECT, "ground_truth")[0]["observed_at"] == "2026-01-01T00:00:00.000+00:00"


def test_a_torn_tail_is_skipped_and_a_torn_middle_is_told(home: Home) -> None:
    log = EventLog(home, PROJECT, "predictions")
    log.append([event()])
    log.close()
    (path,) = segments.list_segments(home.log, PROJECT, "predictions")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert sum(ids(home).values()) == 1
    path.write_bytes(whole[:40] + b"\n" + whole)
    with pytest.raises(Corrupt):
        ids(home)
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(Corrupt):
        ids(home)


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


@pytest.mark.parametrize("moment", ["before the manifest", "before the removal"])
def test_a_compaction_killed_half_way_loses_and_doubles_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    log = EventLog(home, PROJECT, "predictions")
    log.append([event(number) for number in range(10)])
    log.close()
    before = ids(home)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "before the manifest":
            patch.setattr(events, "replace_json", killed)
        else:
            patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            compact(home, PROJECT, "predictions")
    assert ids(home) == before
    compact(home, PROJECT, "predictions")
    assert ids(home) == before
    assert segments.list_segments(home.log, PROJECT, "predictions") == []


def test_readers_miss_nothing_while_others_write_and_compact(home: Home) -> None:
    stop = threading.Event()
    log = EventLog(home, PROJECT, "predictions", segment_bytes=8_000)
    acknowledged: list[str] = []
    faults: list[str] = []

    def write() -> None:
        while not stop.is_set():
            batch = [event(number) for number in range(5)]
            log.append(batch)
            acknowledged.extend(one["id"] for one in batch)
            time.sleep(0.002)

    def merge() -> None:
        while not stop.is_set():
            compact(home, PROJECT, "predictions")

    def look() -> None:
        while not stop.is_set():
            known = set(acknowledged)
            found = ids(home)
            if not known <= set(found):
                faults.append(f"{len(known - set(found))} missing of {len(known)}")
            if found and set(found.values()) != {1}:
                faults.append("doubled")

    threads = [threading.Thread(target=guarded(work, faults)) for work in (write, merge, look, look)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    stop.set()
    for thread in threads:
        thread.join()
    log.close()
    assert faults == []
    assert ids(home) == Counter(acknowledged)
    assert load_manifest(stream_folder(home, PROJECT, "predictions")).files


def guarded(work: Any, faults: list[str]) -> Any:
    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            faults.append(repr(error))

    return run


def test_a_damaged_manifest_is_told(home: Home) -> None:
    folder = stream_folder(home, PROJECT, "predictions")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"files": 3}))
    with pytest.raises(Corrupt):
        count(home, PROJECT, "predictions")
