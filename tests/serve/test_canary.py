"""A canary in the prediction path: its share, who belongs to it, and that its faults are nobody's."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import Corrupt
from tidemill.home import Home
from tidemill.monitor.alerts import list_alerts
from tidemill.project import Project
from tidemill.serve.canary import MOST_LATE, share_of
from tidemill.serve.challengers import canary, pause, resume, shadow, withdraw
from tidemill.serve.deployment import current, deploy, history
from tidemill.serve.scorer import Score, Scorer
from tidemill.serve.service import PredictionService
from tidemill.store.state import State, open_state

WHO: Any = {"actor": "ada", "reason": "a test"}
TEXT = """\
name: pets
task: binary
columns:
  pet_id: {type: string, role: id}
  weight: {type: float}
  sick: {type: category, role: target, values: ["no", "yes"]}
rollout: {timeout_ms: 100}
"""
BROKEN, HUNG, NAN, GONE = 7, 8, 9, 13


class Scripted(Scorer):
    """Answers, or fails in the way of its version; a hung one answers once it is let go."""

    classes = ("no", "yes")
    let_go = threading.Event()

    def __init__(self, _: Path, version: int, project: Project) -> None:
        if version == GONE:
            raise Corrupt("The model is broken", detail=project.name, remedy="Train again.")
        self.version = version

    def score(self, records: Sequence[Mapping[str, Any]]) -> list[Score]:
        if self.version == BROKEN:
            raise ZeroDivisionError("of the canary")
        if self.version == HUNG:
            self.let_go.wait(30)
        value = float("nan") if self.version == NAN else 0.5
        return [Score("yes", value, {"no": 1 - value, "yes": value}) for _ in records]


class ListLog:
    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        self.events += events

    def write(self, lines: bytes) -> None:
        raise AssertionError(lines)


@pytest.fixture
def state(home: Home) -> State:
    file = home.project_file("pets")
    file.parent.mkdir(parents=True)
    file.write_text(TEXT)
    made = open_state(home)
    deploy(made, "pets", 1, **WHO)
    return made


@pytest.fixture
def log() -> ListLog:
    return ListLog()


@pytest.fixture
def failures() -> ListLog:
    return ListLog()


@pytest.fixture
def service(home: Home, state: State, log: ListLog, failures: ListLog) -> Iterator[PredictionService]:
    Scripted.let_go.clear()
    made = PredictionService(home, state, "pets", log, challenger_log=failures, make_scorer=Scripted)
    made.follow()
    yield made
    Scripted.let_go.set()


def roles(service: PredictionService, pets: Sequence[Any]) -> list[str]:
    records = [{"pet_id": pet, "weight": 1} for pet in pets]
    return [one.role for one in service.predict(records, "r")]


def test_an_entity_belongs_to_one_model_and_a_larger_share_keeps_it(
    service: PredictionService, state: State, log: ListLog
) -> None:
    pets = [f"p{number}" for number in range(2000)]
    canary(state, "pets", 2, 10, **WHO)
    service.follow()
    first = roles(service, pets)
    assert [roles(service, [pet])[0] for pet in pets[:200]] == first[:200]
    assert {(event["role"], event["model_version"]) for event in log.events} == {
        ("champion", 1),
        ("canary", 2),
    }
    # Four standard deviations of a binomial share: 2000 entities at 10 %.
    assert 146 <= first.count("canary") <= 254
    pause(state, "pets", **WHO)
    service.follow()
    assert set(roles(service, pets)) == {"champion"}
    resume(state, "pets", **WHO)
    service.follow()
    assert roles(service, pets) == first
    canary(state, "pets", 2, 50, **WHO)
    service.follow()
    second = roles(service, pets)
    assert 910 <= second.count("canary") <= 1090
    kept = [after for before, after in zip(first, second, strict=True) if before == "canary"]
    assert set(kept) == {"canary"}
    withdraw(state, "pets", **WHO)
    service.follow()
    assert set(roles(service, pets)) == {"champion"}


def test_another_challenger_gets_other_entities() -> None:
    keys = [f"p{number}" for number in range(10_000)]
    one, other = ([share_of(salt, key) < 20 for key in keys] for salt in ("a", "b"))
    both = sum(x and y for x, y in zip(one, other, strict=True))
    assert 1840 <= sum(one) <= 2160
    assert 320 <= both <= 480  # independent: 4 % of them


def test_without_an_entity_the_request_decides(service: PredictionService, state: State) -> None:
    canary(state, "pets", 2, 30, **WHO)
    service.follow()
    found = []
    for number in range(300):
        records: list[dict[str, Any]] = [{"weight": 1}, {"weight": 2}]
        answers = service.predict(records, f"request-{number}")
        assert answers[0].role == answers[1].role
        assert service.predict(records, f"request-{number}")[0].role == answers[0].role
        found.append(answers[0].role)
    assert 58 <= found.count("canary") <= 122


def test_whole_numbers_and_texts_name_the_same_entity(service: PredictionService, state: State) -> None:
    canary(state, "pets", 2, 50, **WHO)
    service.follow()
    numbers = list(range(1, 100))
    assert roles(service, numbers) == roles(service, [str(number) for number in numbers])


@pytest.mark.parametrize(
    ("version", "said"), [(BROKEN, "ZeroDivisionError: of the canary"), (NAN, "its answer is not a number")]
)
def test_what_a_canary_fails_at_the_champion_answers(
    service: PredictionService, state: State, log: ListLog, failures: ListLog, version: int, said: str
) -> None:
    canary(state, "pets", version, 100, **WHO)
    service.follow()
    answers = service.predict([{"pet_id": "a", "weight": 1}, {"weight": 2}], "r1")
    assert [(one.role, one.model_version) for one in answers] == [("champion", 1)] * 2
    assert [(event["prediction_id"], event["error"]) for event in failures.events] == [
        (one.id, said) for one in answers
    ]
    event = failures.events[0]
    assert (event["role"], event["model_version"], event["entity_id"]) == ("canary", version, "a")
    assert [event["id"] for event in log.events] == [one.id for one in answers]


def test_a_hung_canary_is_given_up_and_then_waited_for_no_more(
    service: PredictionService, state: State, failures: ListLog
) -> None:
    canary(state, "pets", HUNG, 100, **WHO)
    service.follow()
    for _ in range(MOST_LATE):
        assert roles(service, ["a"]) == ["champion"]
    assert "no answer within 100 ms" in failures.events[0]["error"]
    began = time.monotonic()
    for _ in range(50):
        assert roles(service, ["a"]) == ["champion"]
    assert time.monotonic() - began < 4  # and not the 5 s of 50 that wait
    assert "have not come back" in failures.events[-1]["error"]
    Scripted.let_go.set()
    deadline = time.monotonic() + 10
    while roles(service, ["a"]) != ["canary"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_canary_that_does_not_load_is_withdrawn_with_an_alert(
    service: PredictionService, state: State
) -> None:
    canary(state, "pets", GONE, 50, **WHO)
    service.follow()
    found = current(state, "pets")
    assert found is not None
    assert (found.champion, found.challenger) == (1, None)
    last = history(state, "pets")[0]
    assert (last["action"], last["actor"]) == ("withdraw", "rollout policy")
    assert last["detail"]["kind"] == "load"
    assert [alert.subject for alert in list_alerts(state, "pets")] == ["canary 13"]
    assert roles(service, ["a"]) == ["champion"]


def test_a_promoted_canary_is_not_loaded_again(home: Home, state: State, log: ListLog) -> None:
    made: list[int] = []

    def counted(models: Path, version: int, project: Project) -> Scorer:
        made.append(version)
        return Scripted(models, version, project)

    service = PredictionService(home, state, "pets", log, make_scorer=counted)
    service.follow()
    shadow(state, "pets", 2, **WHO)
    service.follow()
    canary(state, "pets", 2, 50, **WHO)
    service.follow()
    deploy(state, "pets", 2, **WHO)
    service.follow()
    assert roles(service, ["a"]) == ["champion"]
    assert made == [1, 2]


def test_a_champion_that_does_not_load_leaves_the_old_one_and_an_alert(
    service: PredictionService, state: State
) -> None:
    deploy(state, "pets", GONE, **WHO)
    service.follow()
    assert service.predict([{"weight": 1}], "r")[0].model_version == 1
    alert = list_alerts(state, "pets", ["open"])[0]
    assert (alert.kind, alert.severity) == ("service", "critical")
    assert alert.title == "Model 13 did not load; model 1 still answers"
    assert alert.detail["title"] == "The model is broken"


def test_a_model_that_loads_after_all_resolves_its_alert(home: Home, state: State, log: ListLog) -> None:
    broken = [2]

    def sometimes(models: Path, version: int, project: Project) -> Scorer:
        if version in broken:
            raise Corrupt("The model is broken", detail="for now", remedy="Wait.")
        return Scripted(models, version, project)

    service = PredictionService(home, state, "pets", log, make_scorer=sometimes)
    service.follow()
    deploy(state, "pets", 2, **WHO)
    service.follow()
    assert list_alerts(state, "pets", ["open"])
    broken.clear()
    assert service.load_now().scorer.version == 2
    assert list_alerts(state, "pets", ["open"]) == []
