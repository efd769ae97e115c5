import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import Corrupt, InvalidInput, NotReady, StorageFull
from tidemill.home import Home
from tidemill.project import Project
from tidemill.serve.deployment import deploy
from tidemill.serve.scorer import Score, Scorer
from tidemill.serve.service import PredictionService
from tidemill.store.state import State, open_state

TEXT = """\
name: pets
task: binary
columns:
  pet_id: {type: string, role: id}
  weight: {type: float, max: 100}
  sick: {type: category, role: target, values: ["no", "yes"]}
"""


class Echo(Scorer):
    """Answers with its own version."""

    classes = ("no", "yes")

    def __init__(self, models_dir: Path, version: int, project: Project) -> None:
        if version == 13:
            raise Corrupt("The model is broken", detail="version 13", remedy="Train again.")
        if version == 99:
            raise ZeroDivisionError("nobody foresaw this")
        self.version = version
        self.where = (models_dir, project.name)

    def score(self, records: Sequence[Mapping[str, Any]]) -> list[Score]:
        return [Score("yes", self.version / 100, {"no": 0.0, "yes": 1.0}) for _ in records]


class ListLog:
    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.full = False

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        if self.full:
            raise StorageFull("The disk is full")
        self.events += events


@pytest.fixture
def state(home: Home) -> State:
    file = home.project_file("pets")
    file.parent.mkdir(parents=True)
    file.write_text(TEXT)
    return open_state(home)


@pytest.fixture
def log() -> ListLog:
    return ListLog()


@pytest.fixture
def service(home: Home, state: State, log: ListLog) -> PredictionService:
    return PredictionService(home, state, "pets", log, make_scorer=Echo, check_every=0.0)


def put_live(state: State, version: int) -> None:
    deploy(state, "pets", version, actor="ada", reason="a test")


def until_version(service: PredictionService, version: int) -> None:
    deadline = time.monotonic() + 5
    while service.predict([{"weight": 1}], "r")[0].model_version != version:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_a_deployment_it_says_what_to_do(service: PredictionService) -> None:
    with pytest.raises(NotReady, match="No model is deployed"):
        service.predict([{"weight": 1}], "r")
    assert service.readiness() == ("nothing deployed", "")


def test_an_answer_is_what_was_logged(service: PredictionService, state: State, log: ListLog) -> None:
    put_live(state, 1)
    answers = service.predict([{"pet_id": "p1", "weight": 500}, {"weight": None}], "request-1")
    assert [one.id for one in answers] == [event["id"] for event in log.events]
    event = log.events[0]
    assert event["input"] == {"weight": 500.0}
    assert event["entity_id"] == "p1"
    assert event["flags"] == [{"field": "weight", "problem": "out_of_range", "action": "flagged"}]
    assert (event["model_version"], event["request_id"]) == (1, "request-1")
    assert event["latency_ms"] >= 0
    assert service.readiness() == ("ready", "model 1")


def test_what_cannot_be_logged_is_not_answered(
    service: PredictionService, state: State, log: ListLog
) -> None:
    put_live(state, 1)
    log.full = True
    with pytest.raises(StorageFull):
        service.predict([{"weight": 1}], "r")


def test_one_bad_record_refuses_all(service: PredictionService, state: State, log: ListLog) -> None:
    put_live(state, 1)
    with pytest.raises(InvalidInput):
        service.predict([{"weight": 1}, {"weight": "x"}], "r")
    assert log.events == []


def test_a_swap_drops_no_request(home: Home, state: State, log: ListLog) -> None:
    loading = threading.Event()

    def slowly(models_dir: Path, version: int, project: Project) -> Scorer:
        if version == 2:
            loading.wait(5)
        return Echo(models_dir, version, project)

    service = PredictionService(home, state, "pets", log, make_scorer=slowly, check_every=0.0)
    put_live(state, 1)
    service.load_now()
    put_live(state, 2)
    assert service.predict([{"weight": 1}], "r")[0].model_version == 1
    assert service.readiness() == ("loading model", "2")
    loading.set()
    until_version(service, 2)


def test_a_model_that_does_not_load_leaves_the_old_one_answering(
    service: PredictionService, state: State
) -> None:
    put_live(state, 1)
    service.load_now()
    put_live(state, 13)
    service.follow()
    assert service.predict([{"weight": 1}], "r")[0].model_version == 1
    assert service.readiness() == ("failed", "model 13: The model is broken; model 1 still answers")
    put_live(state, 2)
    until_version(service, 2)


def test_the_first_model_that_does_not_load_is_named(service: PredictionService, state: State) -> None:
    put_live(state, 13)
    for _ in range(2):
        with pytest.raises(Corrupt, match="broken"):
            service.predict([{"weight": 1}], "r")


def test_an_unforeseen_failure_to_load_is_not_ready(service: PredictionService, state: State) -> None:
    put_live(state, 99)
    with pytest.raises(NotReady, match="could not be loaded"):
        service.predict([{"weight": 1}], "r")


def test_what_cannot_be_loaded_is_not_prepared(service: PredictionService) -> None:
    with pytest.raises(Corrupt):
        service.prepare(13)


def test_a_prepared_model_is_not_loaded_twice(home: Home, state: State, log: ListLog) -> None:
    made: list[int] = []

    def counted(models_dir: Path, version: int, project: Project) -> Scorer:
        made.append(version)
        return Echo(models_dir, version, project)

    service = PredictionService(home, state, "pets", log, make_scorer=counted)
    service.prepare(1)
    put_live(state, 1)
    assert service.load_now().scorer.version == 1
    assert made == [1]


def test_the_models_own_contract_rules_and_todays_policies_apply(
    service: PredictionService, state: State, home: Home
) -> None:
    bundle = home.models("pets") / "1"
    bundle.mkdir(parents=True)
    (bundle / "contract.yaml").write_text(TEXT)
    put_live(state, 1)
    service.load_now()
    renamed = TEXT.replace("weight:", "mass:") + "serving: {out_of_range: reject}\n"
    home.project_file("pets").write_text(renamed)
    with pytest.raises(InvalidInput, match="contract") as caught:
        service.predict([{"weight": 1000}], "r")
    assert "must not be above 100" in caught.value.detail
    home.project_file("pets").write_text("broken: [")
    assert service.predict([{"weight": 1}], "r")[0].model_version == 1
