"""Control state: transactions that exclude each other, and a file that several processes share."""

import threading

import pytest
import sqlalchemy as sa

from tidemill.home import Home
from tidemill.store import state as control
from tidemill.store.state import State, open_state


def count(state: State) -> int:
    found = state.rows(sa.select(control.deployments.c.revision))
    return int(found[0]["revision"]) if found else 0


def add_one(state: State) -> None:
    """Read, then write: the pattern that loses updates where transactions do not exclude each other."""
    with state.begin() as connection:
        now = connection.execute(sa.select(control.deployments.c.revision)).scalar()
        values = {"revision": (now or 0) + 1, "champion": 1, "changed_at": control.now()}
        if now is None:
            connection.execute(sa.insert(control.deployments).values(project="p", **values))
        else:
            connection.execute(sa.update(control.deployments).values(**values))


def test_tables_are_made_once_and_kept(home: Home) -> None:
    add_one(open_state(home))
    assert count(State(f"sqlite:///{home.state_db}").create()) == 1


def test_a_failed_transaction_leaves_nothing(home: Home) -> None:
    state = open_state(home)

    def fail() -> None:
        with state.begin() as connection:
            connection.execute(
                sa.insert(control.deployments).values(project="p", revision=1, champion=1, changed_at="")
            )
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert count(state) == 0


def test_no_update_is_lost(home: Home) -> None:
    url = f"sqlite:///{home.state_db}"
    states = [State(url).create() for _ in range(4)]
    threads = [threading.Thread(target=lambda s=s: [add_one(s) for _ in range(5)]) for s in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(states[0]) == 20


def test_a_read_waits_for_no_writer(home: Home) -> None:
    state, other = open_state(home), State(f"sqlite:///{home.state_db}").create()
    with other.begin():
        assert count(state) == 0


def test_times_sort_as_text() -> None:
    assert control.now() <= control.now()
    assert control.now().endswith("+00:00")


def test_an_older_database_is_given_the_newer_columns(home: Home) -> None:
    home.ensure()
    old = State(f"sqlite:///{home.state_db}")
    with old.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE deployments (project VARCHAR PRIMARY KEY, revision INTEGER NOT NULL, "
            "champion INTEGER NOT NULL, previous INTEGER, changed_at VARCHAR NOT NULL)"
        )
        connection.exec_driver_sql("INSERT INTO deployments VALUES ('pets', 4, 7, 6, 'then')")
    found = old.create().rows(sa.select(control.deployments))
    assert [(row["champion"], row["challenger"], row["paused"]) for row in found] == [(7, None, None)]
    assert State(f"sqlite:///{home.state_db}").create().rows(sa.select(control.deployments)) == found


def test_columns_added_later_may_be_empty() -> None:
    """What `create` adds to a table that has rows must not ask for a value."""
    first = {"project", "revision", "champion", "previous", "changed_at"}
    later = [column for column in control.deployments.columns if column.name not in first]
    assert later
    assert all(column.nullable for column in later)
