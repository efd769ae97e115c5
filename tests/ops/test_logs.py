from __future__ import annotations

import os

import pytest

from tidemill.errors import NotFound
from tidemill.home import Home
from tidemill.ops import logs


def test_tail_reads_the_last_lines_of_a_large_log(tmp_path):
    log = tmp_path / "api.log"
    log.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert logs.tail(log, 3) == ["line 49997", "line 49998", "line 49999"]
    assert len(logs.tail(log, 60_000)) == 50_000
    assert logs.tail(log, 0) == []
    assert logs.tail(tmp_path / "none.log", 5) == []


def test_tail_shows_an_unfinished_line_and_bytes_that_are_no_text(tmp_path):
    log = tmp_path / "api.log"
    log.write_bytes(b"one\ntwo \xff")
    assert logs.tail(log, 1) == ["two \ufffd"]


def test_colours_are_left_out(tmp_path):
    log = tmp_path / "code.log"
    log.write_bytes(b"\x1b[32m2026\x1b[0m - \x1b[34mINFO\x1b[0m - Started\n")
    assert logs.tail(log, 1) == ["2026 - INFO - Started"]


def test_only_a_large_log_is_put_aside_and_three_are_kept(tmp_path):
    log = tmp_path / "api.log"
    for number in range(6):
        log.write_text(f"{number}" * 20)
        logs.rotate(log, largest=10)
    assert log.read_text() == ""
    kept = ["api.log", "api.log.1", "api.log.2", "api.log.3"]
    assert sorted(file.name for file in tmp_path.iterdir()) == kept
    assert (tmp_path / "api.log.1").read_text().startswith("5")
    assert (tmp_path / "api.log.3").read_text().startswith("3")
    log.write_text("small")
    logs.rotate(log, largest=10)
    assert log.read_text() == "small"


def test_a_service_goes_on_writing_to_a_rotated_log(tmp_path):
    log = tmp_path / "api.log"
    with open(log, "ab", buffering=0) as file:  # as services are started
        file.write(b"before\n")
        logs.rotate(log, largest=3)
        file.write(b"after\n")
    assert log.read_text() == "after\n"
    assert (tmp_path / "api.log.1").read_text() == "before\n"


def test_follow_gives_whole_lines_through_a_rotation(tmp_path):
    log = tmp_path / "api.log"
    log.write_text("old\n")
    batches = logs.follow({"api": log}, every=0)
    assert next(batches) == []
    with open(log, "a") as file:
        file.write("one\ntw")
    assert next(batches) == [("api", "one")]
    with open(log, "a") as file:
        file.write("o\n")
    assert next(batches) == [("api", "two")]
    os.replace(log, tmp_path / "api.log.1")
    log.write_text("three\n")
    assert next(batches) == [("api", "three")]


def test_an_unknown_log_is_answered_with_those_there_are(tmp_path):
    home = Home(tmp_path).ensure()
    with pytest.raises(NotFound, match="no logs yet"):
        logs.find_logs(home, None)
    (home.logs / "api.log").touch()
    assert list(logs.find_logs(home, None)) == ["api"]
    with pytest.raises(NotFound) as error:
        logs.find_logs(home, "ap")
    assert "api" in error.value.detail
