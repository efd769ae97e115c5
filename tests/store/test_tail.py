"""Following a log: nothing twice, nothing torn, and behind by no more than the bound."""

import json

import pytest

from tidemill.home import Home
from tidemill.store.compaction import compact
from tidemill.store.events import EventLog
from tidemill.store.tail import Tail

from .conftest import PROJECT, event


@pytest.fixture
def log(home: Home) -> EventLog:
    return EventLog(home.ensure(), PROJECT, "predictions")


def numbers(lines: list[bytes]) -> list[int]:
    return [json.loads(line)["input"]["age"] for line in lines]


def test_it_begins_at_the_end_and_gives_each_line_once(home: Home, log: EventLog) -> None:
    log.append([event(1)])
    tail = Tail(home, PROJECT, "predictions")
    assert tail.read().lines == []
    log.append([event(2), event(3)])
    assert numbers(tail.read().lines) == [2, 3]
    assert tail.read().lines == []
    other = EventLog(home, PROJECT, "predictions")
    other.append([event(4)])
    log.append([event(5)])
    assert sorted(numbers(tail.read().lines)) == [4, 5]


def test_a_little_of_the_past_can_be_had(home: Home, log: EventLog) -> None:
    log.append([event(1), event(2)])
    tail = Tail(home, PROJECT, "predictions", back=100_000)
    assert numbers(tail.read().lines) == [1, 2]


def test_a_line_that_is_being_written_is_waited_for(home: Home, log: EventLog) -> None:
    tail = Tail(home, PROJECT, "predictions")
    line = json.dumps(event(1)).encode() + b"\n"
    log.write(line[:20])
    assert tail.read().lines == []
    log.write(line[20:])
    assert numbers(tail.read().lines) == [1]


def test_another_process_goes_on_where_one_stopped(home: Home, log: EventLog) -> None:
    tail = Tail(home, PROJECT, "predictions")
    log.append([event(1)])
    tail.read()
    places = tail.places
    tail.close()
    log.append([event(2)])
    EventLog(home, PROJECT, "predictions").append([event(3)])
    assert sorted(numbers(Tail(home, PROJECT, "predictions", places=places).read().lines)) == [2, 3]


def test_behind_by_more_than_the_bound_it_skips_and_counts(home: Home, log: EventLog) -> None:
    tail = Tail(home, PROJECT, "predictions", most_waiting=4_000, most_at_once=1_000)
    for number in range(200):
        log.append([event(number)])
    seen: list[int] = []
    skipped = 0
    while True:
        news = tail.read()
        skipped += news.skipped
        seen += numbers(news.lines)
        if not news.waiting:
            break
        assert news.waiting <= 4_000
    assert len(seen) + skipped == 200
    assert seen == list(range(skipped, 200))
    assert 0 < len(seen) < 20


def test_a_line_longer_than_a_piece_is_read_whole(home: Home, log: EventLog) -> None:
    tail = Tail(home, PROJECT, "predictions", most_at_once=50)
    log.append([event(1)])
    assert numbers(tail.read().lines) == [1]


def test_what_is_compacted_away_meanwhile_is_still_read(home: Home, log: EventLog) -> None:
    tail = Tail(home, PROJECT, "predictions")
    log.append([event(1)])
    tail.read()
    log.append([event(2)])
    log.close()
    compact(home, PROJECT, "predictions")
    assert numbers(tail.read().lines) == [2]
    assert tail.read().lines == []
    assert tail.places == {}
