"""Records of received files, and which files of an inbox are whole."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.data import ledger
from tidemill.home import Home
from tidemill.project import InboxSource, Project
from tidemill.store.state import State

SHA = "ab" * 32


def receive(state: State, name: str = "f.csv") -> ledger.Receipt:
    return ledger.receive(state, "shop", sha256=SHA, name=name, size=3, origin="api")


def test_a_received_file_is_wanted_until_it_is_in(state: State) -> None:
    first = receive(state)
    assert (first.new, first.wanted, first.record["status"]) == (True, True, "received")
    again = receive(state)
    assert (again.new, again.wanted) == (False, True)
    ledger.finish(state, "shop", first.record["id"], "accepted", rows=2, accepted=2, rejected=0)
    done = receive(state)
    assert (done.new, done.wanted, done.record["accepted"]) == (False, False, 2)


def test_a_refused_file_is_taken_again(state: State) -> None:
    file_id = receive(state).record["id"]
    ledger.finish(state, "shop", file_id, "refused", problem={"title": "no"})
    again = receive(state, "renamed.csv")
    assert again.wanted
    assert (again.record["status"], again.record["name"], again.record["problem"]) == (
        "received",
        "renamed.csv",
        None,
    )


def test_records_belong_to_their_project(state: State) -> None:
    file_id = receive(state).record["id"]
    assert ledger.file_record(state, "other", file_id) is None
    assert ledger.list_files(state, "other") == []
    assert [record["id"] for record in ledger.list_files(state, "shop")] == [file_id]


def test_unfinished_hidden_and_unmatched_files_do_not_wait(
    home: Home, shop: Project, drop: Callable[..., Path]
) -> None:
    for name in ("b.csv", "a.csv", ".hidden.csv", "c.csv.part", "d.tmp", "e.txt"):
        drop(name)
    (home.inbox("shop") / "folder.csv").mkdir()
    (home.inbox("shop") / "dangling.csv").symlink_to("nowhere.csv")
    (home.inbox("shop") / "linked.csv").symlink_to(home.project_file("shop"))
    only_csv = shop.model_copy(update={"sources": [InboxSource(pattern="*.csv")]})
    assert [path.name for path in ledger.pending_files(home, only_csv)] == ["b.csv", "a.csv"]
    assert len(ledger.pending_files(home, "shop")) == 3


def test_a_file_that_grows_is_not_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, growing, gone = tmp_path / "quiet.csv", tmp_path / "growing.csv", tmp_path / "gone.csv"
    quiet.write_text("x")
    os.utime(quiet, (1, 1))
    growing.write_text("x")

    def grow(_: float) -> None:
        growing.write_text("xyz")

    monkeypatch.setattr(time, "sleep", grow)
    assert ledger.settled([quiet, growing, gone]) == [quiet]


def test_a_file_that_was_moved_into_place_is_settled_at_once(tmp_path: Path) -> None:
    aside = tmp_path / ".aside"
    aside.write_text("x")
    time.sleep(0.02)
    placed = aside.rename(tmp_path / "placed.csv")
    began = time.monotonic()
    assert ledger.settled([placed]) == [placed]
    assert time.monotonic() - began < 1.0
