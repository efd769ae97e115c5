"""Waiting for the very first file of a project."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.data import first
from tidemill.data.first import require_raw, waits_for_first
from tidemill.data.ingest import ingest_pending
from tidemill.errors import Conflict, NotReady
from tidemill.home import Home
from tidemill.project import Project
from tidemill.store.state import State

GOOD = "a0,40,9.5,basic,yes,,no"


def test_without_a_file_it_says_where_to_put_one(home: Home, state: State, shop: Project) -> None:
    with pytest.raises(Conflict, match="no data yet") as caught:
        require_raw(home, state, shop.name)
    assert str(home.inbox("shop")) in caught.value.remedy


def test_a_file_that_was_refused_is_named(
    home: Home, state: State, shop: Project, drop: Callable[..., Path]
) -> None:
    drop("other.csv", "1", header="nothing_of_ours")
    ingest_pending(home, state, shop)
    with pytest.raises(Conflict, match="no data yet") as caught:
        waits_for_first(home, state, shop.name)
    assert "other.csv was refused" in caught.value.detail


def test_it_waits_until_the_file_is_taken_in(
    home: Home, state: State, shop: Project, drop: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first, "LOOK_SECONDS", 0.01)
    drop("first.csv", GOOD)
    assert waits_for_first(home, state, shop.name)
    somebody = threading.Timer(0.2, lambda: ingest_pending(home, state, shop))
    somebody.start()
    assert require_raw(home, state, shop.name, seconds=60).rows == 1
    somebody.join()
    assert not waits_for_first(home, state, shop.name)


def test_a_file_that_nobody_takes_is_told(
    home: Home, state: State, shop: Project, drop: Callable[..., Path]
) -> None:
    drop("first.csv", GOOD)
    with pytest.raises(NotReady, match="first file has not been taken in yet") as caught:
        require_raw(home, state, shop.name, seconds=0)
    assert "first.csv" in caught.value.detail
