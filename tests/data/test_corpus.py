"""The corpus of bad files: each gets the right verdict, none leaves part of itself, none takes the memory."""

from __future__ import annotations

import csv
import os
import resource
import runpy
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tidemill.data import ledger
from tidemill.data.ingest import FileOutcome, ingest_pending
from tidemill.home import Home
from tidemill.project import Project
from tidemill.store.state import open_state
from tidemill.store.tables import TableStore

CORPUS = runpy.run_path(str(Path(__file__).parents[1] / "corpus" / "make.py"))


class Taken(NamedTuple):
    """What became of the whole corpus in one ingestion."""

    home: Home
    inbox: Path
    cases: list[Any]
    outcomes: dict[str, FileOutcome]
    grown: int


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    home = Home.find(tmp_path_factory.mktemp("corpus") / "home").ensure()
    file = home.project_file("corpus")
    file.parent.mkdir(parents=True)
    file.write_text(CORPUS["CONTRACT"])
    inbox = home.inbox("corpus")
    cases = CORPUS["make"](inbox)
    for path in inbox.iterdir():
        os.utime(path, (time.time() - 3600.0,) * 2, follow_symlinks=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = ingest_pending(home, open_state(home), Project.load(file))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Taken(home, inbox, cases, {outcome.name: outcome for outcome in found.files}, grown)


def test_every_file_has_the_verdict_it_deserves(taken: Taken) -> None:
    wrong = []
    for case in taken.cases:
        outcome = taken.outcomes.get(case.name)
        if case.verdict == "left":
            wrong += [case.name] if outcome is not None else []
            continue
        assert outcome is not None, f"{case.name} was not taken"
        found = (outcome.status, outcome.rows, outcome.rejected)
        expected = (case.verdict, case.rows, case.rejected if case.rows is not None else None)
        if found != expected:
            wrong.append(f"{case.name}: {found}, not {expected} ({outcome.problem})")
    assert wrong == []


def test_refusals_and_rejects_say_why(taken: Taken) -> None:
    for case in taken.cases:
        outcome = taken.outcomes.get(case.name)
        if outcome is None or not case.says:
            continue
        if outcome.problem is not None:
            assert case.says in f"{outcome.problem['title']} {outcome.problem['detail']}", case.name
            assert outcome.problem["remedy"], case.name
        else:
            rejects = ledger.rejects_file(taken.home, "corpus", outcome.id).read_text()
            assert case.says in rejects, case.name


def test_the_table_holds_the_accepted_rows_and_no_others(taken: Taken) -> None:
    current = TableStore(taken.home.tables("corpus")).current("raw")
    assert current is not None
    assert current.rows == sum(outcome.accepted or 0 for outcome in taken.outcomes.values())
    accepted = {outcome.name for outcome in taken.outcomes.values() if outcome.status == "accepted"}
    assert {source["name"] for source in current.sources} == accepted


def test_no_cell_of_a_rejects_list_is_a_formula(taken: Taken) -> None:
    folder = ledger.rejects_file(taken.home, "corpus", "any").parent
    cells = [
        cell
        for path in folder.glob("*.csv")
        for row in csv.reader(path.read_text().splitlines())
        for cell in row
    ]
    assert any(cell.startswith("'=1+cmd") for cell in cells)
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def test_nothing_is_read_or_written_outside(taken: Taken) -> None:
    assert [path.name for path in taken.inbox.iterdir()] == ["link.csv"]
    assert not list(taken.home.root.parent.rglob("climbed.csv"))
    assert not any(
        b"secret-0" in path.read_bytes() for path in taken.home.store("corpus").rglob("*") if path.is_file()
    )
    assert list((taken.home.store("corpus") / "scratch").iterdir()) == []


def test_memory_stays_bounded(taken: Taken) -> None:
    """A gigabyte is what the largest real file may take; the corpus has none."""
    assert taken.grown < 600_000, f"{taken.grown} kB more than before"
