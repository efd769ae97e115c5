import threading
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import InvalidInput, TidemillError
from tidemill.home import Home
from tidemill.store import idempotency
from tidemill.store.idempotency import Claim, StillUnderWay, answer_once
from tidemill.store.state import State, open_state


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(Home(tmp_path).ensure())


def ask(state: State, request: str = "r", actor: str = "ada", do: Any = None, keep: float = 60.0) -> Any:
    return answer_once(state, actor, "k", request, do or (lambda claim: {"n": claim.mark}), keep_seconds=keep)


def test_the_first_answer_is_given_again(state: State) -> None:
    first, is_replay = ask(state)
    assert not is_replay
    assert ask(state) == (first, True)


def test_a_key_belongs_to_its_sender(state: State) -> None:
    assert ask(state)[0] != ask(state, actor="bob")[0]


def test_another_request_is_refused(state: State) -> None:
    ask(state)
    with pytest.raises(InvalidInput, match="another request"):
        ask(state, "other")


def test_an_expired_key_may_stand_for_something_new(state: State) -> None:
    ask(state, keep=-1.0)
    assert ask(state, "other")[1] is False


def test_a_try_that_failed_is_made_again_under_the_same_mark(state: State) -> None:
    seen: list[Claim] = []

    def fail(claim: Claim) -> Any:
        seen.append(claim)
        raise TidemillError("no")

    with pytest.raises(TidemillError, match="no"):
        ask(state, do=fail)
    answer, _ = ask(state, do=lambda claim: seen.append(claim) or {})
    assert answer == {}
    assert [claim.is_again for claim in seen] == [False, True]
    assert seen[0].mark == seen[1].mark


def test_two_at_once_are_done_once(state: State) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(claim: Claim) -> Any:
        begun.set()
        assert go_on.wait(10)
        return {"n": claim.mark}

    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(ask(state, do=slow)))
    thread.start()
    assert begun.wait(10)
    with pytest.raises(StillUnderWay):
        ask(state)
    go_on.set()
    thread.join()
    assert ask(state)[0] == first[0][0]


def test_a_try_that_a_crash_cut_off_is_taken_up(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    idempotency.claim_or_answer(state, "ada", "k", "r", 60.0)  # and the process dies
    with pytest.raises(StillUnderWay):
        ask(state)
    monkeypatch.setattr(idempotency, "CLAIM_SECONDS", 0.0)
    taken_up: list[Claim] = []
    ask(state, do=lambda claim: taken_up.append(claim) or {})
    assert taken_up[0].is_again
