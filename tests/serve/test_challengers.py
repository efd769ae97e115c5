"""The challenger's part of the deployment: what may follow what, who won, and what is kept of it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tidemill.errors import Conflict, InvalidInput
from tidemill.home import Home
from tidemill.serve.challengers import canary, pause, resume, shadow, withdraw
from tidemill.serve.deployment import current, deploy, history, rollback
from tidemill.store.state import State, open_state

WHO: Any = {"actor": "ada", "reason": "a test"}


@pytest.fixture
def state(home: Home) -> State:
    found = open_state(home)
    deploy(found, "pets", 1, **WHO)
    return found


def test_from_shadow_to_canary_to_champion(state: State) -> None:
    first = shadow(state, "pets", 2, **WHO).challenger
    assert first is not None
    assert (first.version, first.stage, first.percent, first.since) == (2, "shadow", None, 2)
    second = canary(state, "pets", 2, 5, **WHO).challenger
    assert second is not None
    assert (second.stage, second.percent, second.since, second.salt) == ("canary", 5, 3, first.salt)
    third = canary(state, "pets", 2, 50, **WHO).challenger
    assert third is not None
    assert (third.percent, third.since, third.salt) == (50, 3, first.salt)
    done = deploy(state, "pets", 2, **WHO)
    assert (done.champion, done.previous, done.challenger, done.revision) == (2, 1, None, 5)
    assert [(event["action"], event["percent"]) for event in history(state, "pets")] == [
        ("promote", None),
        ("canary", 50),
        ("canary", 5),
        ("shadow", None),
        ("deploy", None),
    ]
    assert rollback(state, "pets", **WHO).champion == 1


def test_pause_keeps_the_stage_and_the_salt(state: State) -> None:
    before = canary(state, "pets", 2, 20, **WHO)
    held = pause(state, "pets", **WHO)
    assert held.challenger is not None
    assert held.challenger.paused
    assert held.canary is None
    assert pause(state, "pets", **WHO) == held
    assert resume(state, "pets", **WHO).challenger == before.challenger


def test_withdrawing_leaves_the_champion_and_says_what_was_found(state: State) -> None:
    canary(state, "pets", 2, 20, **WHO)
    after = withdraw(state, "pets", detail={"kind": "errors"}, **WHO)
    assert (after.champion, after.challenger) == (1, None)
    assert history(state, "pets")[0]["detail"] == {"kind": "errors"}
    assert history(state, "pets")[1]["detail"] is None
    for change in (pause, resume, withdraw):
        with pytest.raises(Conflict, match="no challenger"):
            change(state, "pets", **WHO)


def test_what_may_not_challenge(state: State) -> None:
    with pytest.raises(Conflict, match="no champion"):
        shadow(state, "other", 2, **WHO)
    with pytest.raises(Conflict, match="champion already"):
        canary(state, "pets", 1, 10, **WHO)
    shadow(state, "pets", 2, **WHO)
    with pytest.raises(Conflict, match="a challenger already"):
        canary(state, "pets", 3, 10, **WHO)
    after = shadow(state, "pets", 3, replaces=True, **WHO)
    assert after.challenger is not None
    assert after.challenger.version == 3


@pytest.mark.parametrize("percent", [0, -1, 100.5, float("nan")])
def test_a_share_is_over_0_and_at_most_100(state: State, percent: float) -> None:
    with pytest.raises(InvalidInput):
        canary(state, "pets", 2, percent, **WHO)


def test_going_back_or_deploying_another_ends_the_challenger(state: State) -> None:
    deploy(state, "pets", 2, **WHO)
    shadow(state, "pets", 3, **WHO)
    assert rollback(state, "pets", **WHO).challenger is None
    shadow(state, "pets", 3, **WHO)
    assert deploy(state, "pets", 4, **WHO).challenger is None


def test_of_a_hundred_races_each_has_one_winner(state: State) -> None:
    """A promotion, a rollback and a canary at the same revision: one is made, the others are told who made it."""

    def attempt(change: Any) -> str | Conflict:
        try:
            change()
        except Conflict as told:
            return told
        return "won"

    deploy(state, "pets", 2, **WHO)
    with ThreadPoolExecutor(4) as pool:
        for race in range(100):
            before = current(state, "pets")
            assert before is not None
            who: Any = {"expected_revision": before.revision, "reason": f"race {race}"}
            changes = [
                lambda n=n, who=who, race=race: deploy(
                    state, "pets", 1000 * n + race, actor=f"actor {n}", **who
                )
                for n in (1, 2, 3)
            ]
            changes.append(lambda who=who: rollback(state, "pets", actor="actor 4", **who))
            found = list(pool.map(attempt, changes))
            after = current(state, "pets")
            assert after is not None
            assert found.count("won") == 1
            assert after.revision == before.revision + 1
            losers = [told for told in found if isinstance(told, Conflict)]
            winner = f"actor {found.index('won') + 1}"
            assert {told.extra["changed_by"] for told in losers} == {winner}
            assert {told.extra["champion"] for told in losers} == {after.champion}
