"""Compaction: finished segments become one Parquet file a day, and no crash on the way costs an event."""

import time
from pathlib import Path
from typing import Any

import pytest

from tidemill.home import Home
from tidemill.store import compaction, segments
from tidemill.store.compaction import Compaction, compact
from tidemill.store.events import EventLog
from tidemill.store.log_manifest import load_manifest, stream_folder

from .conftest import PROJECT, event, ids


def test_a_segment_of_a_living_writer_is_left_alone_and_a_full_one_is_closed(home: Home) -> None:
    log = EventLog(home, PROJECT, "predictions", segment_bytes=4096)
    log.append([event()])
    assert compact(home, PROJECT, "predictions") == Compaction(0, 0)
    log.append([event(number) for number in range(50)])
    log.append([event()])
    until = time.monotonic() + 30
    while (rows := compact(home, PROJECT, "predictions").rows) == 0:  # it is closed behind the writer's back
        assert time.monotonic() < until
        time.sleep(0.02)
    assert rows == 51
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
            patch.setattr(compaction, "save_manifest", killed)
        else:
            patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            compact(home, PROJECT, "predictions")
    assert ids(home) == before
    compact(home, PROJECT, "predictions")
    assert ids(home) == before
    assert segments.list_segments(home.log, PROJECT, "predictions") == []
