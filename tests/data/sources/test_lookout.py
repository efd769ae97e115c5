"""Looks in turns: when they are due, and that one that hangs holds nobody up."""

import os
import threading
import time
from pathlib import Path

import pytest

from tidemill.data.sources.lookout import Lookout, due
from tidemill.data.sources.seen import Memory
from tidemill.data.sources.share import Share
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


@pytest.mark.parametrize("call", ["scandir", "stat", "read"])
def test_a_mount_that_hangs_in_a_system_call_holds_up_no_other_source(
    call: str, home: Home, state: State, shop: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real looks at two folders, one of which stops answering midway, as a mount does whose server is gone."""
    release, stuck = threading.Event(), threading.Event()

    def hang_below_one(path: object) -> None:
        if str(path).startswith(str(tmp_path / "one")):
            stuck.set()
            release.wait(60)

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").write_text(f"{name}\n1\n")
        (tmp_path / name / f"{name}.csv.done").touch()
    sources = [
        ShareSource(kind="share", name=name, path=f"{tmp_path}/{name}/*.csv", every=15, marker=".done")
        for name in ("one", "two")
    ]
    project = shop.model_copy(update={"sources": sources})
    # The mount hangs within the call itself: nothing of ours can see it coming or end it.
    owner, attribute = {
        "scandir": (os, "scandir"),
        "stat": (Share, "_item"),
        "read": (Share, "_open_below_root"),
    }[call]
    real = getattr(owner, attribute)

    def hanging(*arguments: object, **named: object) -> object:
        hang_below_one(arguments[-1] if arguments else ".")
        return real(*arguments, **named)

    monkeypatch.setattr(owner, attribute, hanging)
    lookout = Lookout()
    began = time.monotonic()
    while not list(home.inbox("shop").glob("*two*")) and time.monotonic() - began < 20:
        lookout.turn(home, state, project, Settings(), wait=0.2)
    assert stuck.is_set()
    assert lookout.turn(home, state, project, Settings(), wait=0.1) == ["one"]
    # What else is written meanwhile does not wait either.
    Memory(home, state, "shop", "two").note_look("ok")
    assert time.monotonic() - began < 25
    release.set()
    assert lookout.turn(home, state, project, Settings(), wait=20) == []
    assert list(home.inbox("shop").glob("*one*"))


def test_a_fault_of_ours_is_raised_where_somebody_sees_it(home: Home, state: State, two: Project) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    lookout = Lookout(broken)
    with pytest.raises(ZeroDivisionError):
        lookout.turn(home, state, two, Settings(), wait=5)


def test_real_looks_are_made_and_remembered(home: Home, state: State, two: Project) -> None:
    assert Lookout().turn(home, state, two, Settings(), wait=20) == []
    assert due(state, two) == []
