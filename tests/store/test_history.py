"""Reading the logs: every event once and as it was logged, whoever writes and compacts meanwhile."""

import threading
import time
from collections import Counter
from typing import Any

import pytest

from tidemill.errors import Corrupt
from tidemill.home import Home
from tidemill.store import segments
from tidemill.store.compaction import compact
from tidemill.store.events import EventLog
from tidemill.store.history import find, recent
from tidemill.store.log_manifest import load_manifest, stream_folder

from .conftest import PROJECT, event, ids


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
