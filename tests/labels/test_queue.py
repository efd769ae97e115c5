"""A round of labelling: who competes for its places, and that nobody is asked twice."""

import uuid
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from tidemill.errors import Conflict, NotFound
from tidemill.home import Home
from tidemill.labels import ledger
from tidemill.labels.built_in import BuiltIn
from tidemill.labels.queue import Round, plan_round, start_round
from tidemill.learn.bundle import write_bundle
from tidemill.learn.features import build_features, share_of
from tidemill.learn.training import train
from tidemill.monitor.drift import DriftReport
from tidemill.monitor.report import write_report
from tidemill.project import Project
from tidemill.serve.deployment import deploy
from tidemill.store.events import EventLog
from tidemill.store.state import State, now, open_state
from tidemill.store.tables import TableStore

FILE = """\
name: ward
task: binary
columns:
  patient: {type: string, role: id}
  age: {type: float}
  site: {type: category, values: [north, south]}
  since: {type: date}
  secret: {type: string, role: ignore}
  ill: {type: category, role: target, values: ["no", "yes"]}
labels: {kind: built-in, positive: "yes", budget: 20SETTINGS}
training: {candidates: [linear], trials: 1, folds: 2}
"""


def make(home: Home, settings: str = "") -> Project:
    file = home.project_file("ward")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(FILE.replace("SETTINGS", settings))
    return Project.load(file)


def fill(home: Home, labelled: int, rows: int = 300, wrong: int = 0) -> pd.DataFrame:
    """Patients who are ill above 50; the first `labelled` are labelled, of those the first `wrong` wrongly."""
    rng = np.random.default_rng(3)
    age = rng.uniform(0, 100, rows)
    age[:wrong] = rng.choice([0, 70], wrong) + rng.uniform(0, 30, wrong)
    truth = np.where(age > 50, "yes", "no")
    said = truth.copy()
    said[:wrong] = np.where(said[:wrong] == "yes", "no", "yes")
    frame = pd.DataFrame(
        {
            "_row": [f"p{index}" for index in range(rows)],
            "patient": [f"p{index}" for index in range(rows)],
            "age": age,
            "site": rng.choice(["north", "south"], rows),
            "since": pd.to_datetime("2026-01-05").date(),
            "secret": "s",
            "ill": np.where(np.arange(rows) < labelled, said, None),
        }
    )
    TableStore(home.tables("ward")).publish_frame("raw", frame)
    return frame


def rows_of(found: Round, reason: str) -> list[str]:
    return [task.row for task in found.tasks if task.reason == reason]


@pytest.fixture
def state(home: Home) -> State:
    return open_state(home)


def test_a_round_is_uncertain_rows_and_rows_by_chance(home: Home, state: State) -> None:
    described = make(home)
    frame = fill(home, 60).set_index("_row")
    found = plan_round(home, state, described)
    assert found.number == 1
    assert found.reasons == {"held-out": 5, "uncertain": 15}
    assert len({task.row for task in found.tasks}) == 20
    assert frame.loc[[task.row for task in found.tasks], "ill"].isna().all()
    doubtful = (frame.loc[rows_of(found, "uncertain"), "age"] - 50).abs().mean()
    assert doubtful < 0.5 * (frame["age"] - 50).abs().mean()
    for task in found.tasks:
        assert (share_of(task.row, described.training.seed) < 0.25) == (task.reason == "held-out")
    assert plan_round(home, state, described) == found


def test_people_see_the_columns_in_the_contracts_order(home: Home, state: State) -> None:
    described = make(home)
    fill(home, 60)
    task = plan_round(home, state, described).tasks[0]
    assert list(task.fields) == ["patient", "age", "site", "since"]
    assert task.fields["since"] == "2026-01-05"
    assert task.annotators == 1


def test_before_the_first_labels_the_rows_cover_the_data(home: Home, state: State) -> None:
    described = make(home)
    frame = fill(home, 0).set_index("_row")
    found = plan_round(home, state, described)
    assert len(found.tasks) == 20
    assert "too few labels" in found.remarks[0]
    assert np.ptp(frame.loc[rows_of(found, "uncertain"), "age"]) > 80


def test_by_chance_means_by_chance(home: Home, state: State) -> None:
    described = make(home)
    fill(home, 60)
    found = plan_round(home, state, described, budget=8, strategy="random")
    assert found.reasons == {"held-out": 2, "random": 6}


def test_nobody_is_asked_twice_and_the_rows_run_out(home: Home, state: State) -> None:
    described = make(home)
    fill(home, 20, rows=60)
    asked: Counter[str] = Counter()
    for number in range(1, 6):
        found = start_round(home, state, described)
        assert found.number == number or not found.tasks
        asked.update(task.row for task in found.tasks)
    assert set(asked.values()) == {1}
    assert len(asked) == 40
    assert "was asked about" in " ".join(found.remarks)
    assert len(ledger.tasks(state, "ward")) == 40


def test_gold_rows_are_mixed_in(home: Home, state: State) -> None:
    described = make(home, ", gold: 0.2, annotators: 2")
    frame = fill(home, 60).set_index("_row")
    found = start_round(home, state, described)
    assert found.reasons["gold"] == 4
    assert frame.loc[rows_of(found, "gold"), "ill"].notna().all()
    again = start_round(home, state, described)
    assert not set(rows_of(again, "gold")) & set(rows_of(found, "gold"))


def test_contradicting_answers_get_one_more_person(home: Home, state: State) -> None:
    described = make(home, ", annotators: 2")
    fill(home, 60)
    row = start_round(home, state, described).tasks[0].row
    page = BuiltIn(state, "ward")
    page.answer(row, "yes", "ada")
    page.answer(row, "no", "bob")
    found = start_round(home, state, described)
    assert rows_of(found, "disagreement") == [row]
    assert ledger.task(state, "ward", "built-in", row).annotators == 3
    assert rows_of(start_round(home, state, described), "disagreement") == []
    page.answer(row, "no", "cyd")
    assert rows_of(start_round(home, state, described), "disagreement") == []


def test_labels_that_the_features_speak_against_get_a_second_look(home: Home, state: State) -> None:
    described = make(home)
    fill(home, 200, wrong=15)
    found = start_round(home, state, described)
    looks = rows_of(found, "suspect")
    assert len(looks) == 4  # a fifth of the round
    assert set(looks) <= {f"p{index}" for index in range(15)}
    assert not set(rows_of(start_round(home, state, described), "suspect")) & set(looks)


def new_id(*, held_out: bool) -> str:
    """An id of a prediction on the side of the split that is wanted."""
    while (share_of(f"prediction:{(made := str(uuid.uuid4()))}", 7) < 0.25) is not held_out:
        pass
    return made


def predict(
    home: Home, *sure: float, age: float = 49.0, entity: str | None = None, held_out: bool = False
) -> list[str]:
    events = [
        {
            "id": new_id(held_out=held_out), "at": now(), "project": "ward", "model_version": 1, "role": "champion",
            "request_id": "r", "entity_id": entity, "input": {"age": age + index, "site": "north"},
            "label": "yes", "score": each, "probabilities": {"no": 1 - each, "yes": each}, "flags": [],
            "latency_ms": 1.0,
        }
        for index, each in enumerate(sure)
    ]  # fmt: skip
    log = EventLog(home, "ward", "predictions")
    log.append(events)
    log.close()
    return [f"prediction:{event['id']}" for event in events]


def test_unsure_predictions_come_back_the_least_sure_first(home: Home, state: State) -> None:
    described = make(home, ", review_below: 0.8")
    fill(home, 60)
    ids = predict(home, 0.7, 0.55, 0.95)
    predict(home, 0.5, entity="p3")  # a row of the data, which can be asked about itself
    predict(home, 0.7)  # the same input again
    predict(home, 0.6, age=30.0, held_out=True)  # models would be judged by it
    found = start_round(home, state, described)
    low = rows_of(found, "low-confidence")
    assert low[0] == ids[1]
    assert len(low) == 2
    assert ids[2] not in low
    assert next(task.fields for task in found.tasks if task.row == ids[1]) == {"age": 50.0, "site": "north"}
    assert rows_of(start_round(home, state, described), "low-confidence") == []


def test_predictions_of_a_drifting_window_are_asked_about(home: Home, state: State) -> None:
    described = make(home)
    fill(home, 60)
    early = predict(home, *[0.9] * 5, age=10.0)
    import time

    time.sleep(0.01)
    began = now()
    late = predict(home, *[0.9] * 20, age=150.0)
    report = DriftReport("ward", now(), "drift", 20, 10, 100, began, now(), 1, 0.01, 10)
    write_report(home, "ward", report)
    found = plan_round(home, state, described)
    drifted = rows_of(found, "drift")
    assert len(drifted) == 6  # three tenths of the round
    assert set(drifted) <= set(late)
    assert not set(drifted) & set(early)


def test_the_deployed_model_suggests_but_not_for_rows_it_is_judged_by(home: Home, state: State) -> None:
    described = make(home)
    frame = fill(home, 120)
    labels = frame.loc[frame["ill"].notna(), ["_row", "ill"]].rename(columns={"ill": "label"})
    training = train(build_features(frame, labels, described), described)
    write_bundle(home.models("ward"), project=described, training=training)
    deploy(state, "ward", 1, actor="test", reason="")
    found = plan_round(home, state, described)
    for task in found.tasks:
        if task.reason == "held-out":
            assert task.suggestion is None
            continue
        assert task.suggestion is not None
        assert task.suggestion.model_version == 1
        assert task.suggestion.label in ("no", "yes")
        assert 0.4 < (task.suggestion.score or 0) <= 1


def test_rows_that_wait_get_what_a_later_model_says(home: Home, state: State) -> None:
    described = make(home)
    frame = fill(home, 120)
    labels = frame.loc[frame["ill"].notna(), ["_row", "ill"]].rename(columns={"ill": "label"})
    training = train(build_features(frame, labels, described), described)
    for version in (1, 2):
        write_bundle(home.models("ward"), project=described, training=training)
        deploy(state, "ward", version, actor="test", reason="")
        found = start_round(home, state, described, budget=10)
        if version == 1:
            first = {task.row for task in found.tasks if task.suggestion}
            BuiltIn(state, "ward").answer(min(first), "yes", "ada")
            assert not found.refreshed
    assert first
    assert {task.row for task in found.refreshed} == first - {min(first)}
    asked = {task.row: task for task in ledger.tasks(state, "ward")}
    for row in first:
        task = asked[row]
        assert task.suggestion is not None
        assert (task.suggestion["model_version"], task.round) == (1 if row == min(first) else 2, 1)
    assert not start_round(home, state, described, budget=10).refreshed


def test_where_nobody_can_be_asked_or_there_is_no_data_it_is_said(home: Home, state: State) -> None:
    described = make(home)
    with pytest.raises(NotFound):
        start_round(home, state, described)
    column = described.model_copy(update={"labels": described.labels.model_copy(update={"kind": "column"})})
    with pytest.raises(Conflict, match="Nobody can be asked"):
        start_round(home, state, column)
