"""Leases of rows: one a person, seen by others, ending by themselves."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from tidemill.labels import leases
from tidemill.store.state import State

NOON = datetime(2026, 5, 2, 12, tzinfo=UTC)


def take(state: State, who: str, row: str | None, at: datetime = NOON) -> Counter[str]:
    """What is held by others when `who` takes `row`."""
    seen: list[Counter[str]] = []

    def choose(held: Counter[str]) -> str | None:
        seen.append(held)
        return row

    assert leases.take(state, "demo", who, choose, at=at) == row
    return seen[0]


def test_others_see_what_somebody_holds(state: State) -> None:
    assert take(state, "ada", "r1") == {}
    assert take(state, "bob", "r1") == {"r1": 1}
    assert take(state, "ada", "r2") == {"r1": 1}  # not one's own
    assert take(state, "cyd", None) == {"r1": 1, "r2": 1}  # ada has left r1


def test_a_lease_ends_by_itself_and_is_longer_each_time_it_is_shown(state: State) -> None:
    take(state, "ada", "r1")
    take(state, "ada", "r1", NOON + timedelta(minutes=4))
    assert take(state, "bob", None, NOON + timedelta(minutes=6)) == {"r1": 1}
    assert take(state, "bob", None, NOON + timedelta(minutes=9, seconds=1)) == {}


def test_a_lease_can_be_ended(state: State) -> None:
    take(state, "ada", "r1")
    leases.end(state, "demo", "ada")
    assert take(state, "bob", None) == {}
