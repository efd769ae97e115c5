from concurrent.futures import ThreadPoolExecutor

import pytest

from tidemill.errors import Conflict
from tidemill.home import Home
from tidemill.serve.deployment import champions, current, deploy, deployed, history, rollback
from tidemill.store.state import State, open_state

WHO = {"actor": "ada", "reason": "a test"}


@pytest.fixture
def state(home: Home) -> State:
    return open_state(home)


def test_the_first_deployment_and_the_next(state: State) -> None:
    assert current(state, "pets") is None
    assert deploy(state, "pets", 1, **WHO).revision == 1
    second = deploy(state, "pets", 2, expected_revision=1, **WHO)
    assert (second.revision, second.champion, second.previous) == (2, 2, 1)
    assert current(state, "pets") == second
    assert deployed(state) == ["pets"]
    assert [(event["action"], event["version"]) for event in history(state, "pets")] == [
        ("deploy", 2),
        ("deploy", 1),
    ]


def test_deploying_what_is_deployed_changes_nothing(state: State) -> None:
    first = deploy(state, "pets", 1, **WHO)
    assert deploy(state, "pets", 1, **WHO) == first
    assert len(history(state, "pets")) == 1


def test_a_stale_revision_loses(state: State) -> None:
    deploy(state, "pets", 1, expected_revision=0, **WHO)
    with pytest.raises(Conflict, match="changed meanwhile") as caught:
        deploy(state, "pets", 2, expected_revision=0, **WHO)
    assert caught.value.extra["revision"] == 1
    assert (caught.value.extra["champion"], caught.value.extra["changed_by"]) == (1, "ada")
    assert "ada made the last change (deploy of model 1)" in caught.value.detail
    with pytest.raises(Conflict):
        rollback(state, "pets", expected_revision=7, **WHO)


def test_of_many_at_once_one_wins(state: State) -> None:
    deploy(state, "pets", 1, **WHO)

    def attempt(version: int) -> int | None:
        try:
            return deploy(state, "pets", version, expected_revision=1, **WHO).champion
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = [found for found in pool.map(attempt, range(2, 10)) if found is not None]
    now = current(state, "pets")
    assert now is not None
    assert winners == [now.champion]
    assert now.revision == 2


def test_rollback_goes_back_step_by_step_and_never_to_the_model_it_left(state: State) -> None:
    for version in (1, 2, 3):
        deploy(state, "pets", version, **WHO)
    assert rollback(state, "pets", **WHO).champion == 2
    assert rollback(state, "pets", **WHO).champion == 1
    with pytest.raises(Conflict, match="no earlier model"):
        rollback(state, "pets", **WHO)
    assert deploy(state, "pets", 4, **WHO).previous == 1


def test_rollback_of_nothing(state: State) -> None:
    with pytest.raises(Conflict, match="no earlier model"):
        rollback(state, "pets", **WHO)


def test_the_stack_of_champions() -> None:
    def events(text: str) -> list[dict[str, object]]:
        return [
            {"action": "rollback", "version": 0}
            if part == "-"
            else {"action": "deploy", "version": int(part)}
            for part in text.split()
        ]

    assert champions(events("1 2 - 3 4 - -")) == [1]
    assert champions([]) == []
