"""The audit log: entries without gaps, and a chain that shows what was altered."""

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from tidemill.errors import Corrupt, NotFound
from tidemill.home import Home
from tidemill.store import audit
from tidemill.store.state import State, audit_entries, open_state


@pytest.fixture
def state(home: Home) -> State:
    state = open_state(home)
    for index in range(5):
        audit.append(state, "ada", "POST /x", project="pets", subject={"n": index}, request_id=str(index))
    return state


def test_an_empty_log_is_sound(home: Home) -> None:
    assert audit.verify(open_state(home)) == (0, audit.START)


def test_entries_are_numbered_and_sealed(state: State) -> None:
    entries = list(audit.entries(state))
    assert [entry["seq"] for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry["previous"] for entry in entries] == [
        audit.START,
        *(entry["hash"] for entry in entries[:-1]),
    ]
    assert audit.verify(state) == (5, entries[-1]["hash"])
    assert [entry["seq"] for entry in audit.newest(state, 2)] == [5, 4]
    assert [entry["seq"] for entry in audit.newest(state, 9, before=3)] == [2, 1]


@pytest.mark.parametrize(
    "change",
    [
        sa.update(audit_entries).where(audit_entries.c.seq == 3).values(actor="eve"),
        sa.update(audit_entries).where(audit_entries.c.seq == 3).values(subject={"n": 9}),
        sa.update(audit_entries).where(audit_entries.c.seq == 3).values(hash="0" * 64),
        sa.delete(audit_entries).where(audit_entries.c.seq == 3),
        sa.delete(audit_entries).where(audit_entries.c.seq == 1),
    ],
)
def test_what_was_altered_or_removed_is_seen(state: State, change: Any) -> None:
    with state.begin() as connection:
        connection.execute(change)
    with pytest.raises(Corrupt, match="tampered"):
        audit.verify(state)


def test_a_noted_head_shows_a_log_that_was_cut_or_made_anew(state: State) -> None:
    _, head = audit.verify(state)
    audit.append(state, "ada", "POST /y")
    assert audit.verify(state, head)[0] == 6
    with state.begin() as connection:
        connection.execute(sa.delete(audit_entries).where(audit_entries.c.seq > 4))
    assert audit.verify(state)[0] == 4
    with pytest.raises(NotFound, match="does not hold that head"):
        audit.verify(state, head)


def test_writers_at_once_make_one_chain(home: Home) -> None:
    states = [State(f"sqlite:///{home.state_db}").create() for _ in range(4)]

    def write(state: State) -> None:
        for _ in range(5):
            audit.append(state, "ada", "POST /x")

    threads = [threading.Thread(target=write, args=(state,)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert audit.verify(states[0])[0] == 20
