"""Looks in turns: when they are due, and that one that hangs holds nobody up."""

import threading
import time

import pytest

from tidemill.data.sources.lookout import Lookout, due
from tidemill.data.sources.seen import Memory
from tidemill.home import Home
from tidemill.project import Project
from tidemill.project_sources import ShareSource
from tidemill.settings import Settings
from tidemill.store.state import State


@pytest.fixture
def two(shop: Project) -> Project:
    sources = [ShareSource(kind="share", name=name, path="/mnt/x/*.csv", every=15) for name in ("one", "two")]
    return shop.model_copy(update={"sources": sources})


def test_a_source_is_due_until_it_was_looked_at(home: Home, state: State, two: Project) -> None:
    assert [source.name for source in due(state, two)] == ["one", "two"]
    Memory(home, state, "shop", "one").note_look("ok")
    assert [source.name for source in due(state, two)] == ["two"]


def test_a_look_that_hangs_holds_up_neither_the_others_nor_the_asker(
    home: Home, state: State, two: Project
) -> None:
    release = threading.Event()
    looked: list[str] = []

    def hang(home: Home, state: State, project: Project, source: ShareSource, _: Settings) -> None:
        if source.name == "one":
            release.wait(30)
        looked.append(source.name)
        Memory(home, state, project.name, source.name).note_look("ok")

    lookout = Lookout(hang)
    began = time.monotonic()
    assert lookout.turn(home, state, two, Settings(), wait=0.3) == ["one"]
    assert lookout.turn(home, state, two, Settings(), wait=0.1) == ["one"]  # not started twice
    assert time.monotonic() - began < 5
    assert looked == ["two"]
    release.set()
    assert lookout.turn(home, state, two, Settings(), wait=5) == []
    assert looked == ["two", "one"]


def test_a_fault_of_ours_is_raised_where_somebody_sees_it(home: Home, state: State, two: Project) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    lookout = Lookout(broken)
    with pytest.raises(ZeroDivisionError):
        lookout.turn(home, state, two, Settings(), wait=5)


def test_real_looks_are_made_and_remembered(home: Home, state: State, two: Project) -> None:
    assert Lookout().turn(home, state, two, Settings(), wait=20) == []
    assert due(state, two) == []
