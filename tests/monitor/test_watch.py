"""One round of monitoring over a real bundle and a real log."""

from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest

from tidemill.home import Home
from tidemill.labels.column import labels_from_column
from tidemill.learn.bundle import write_bundle
from tidemill.learn.evaluation import evaluate
from tidemill.learn.features import build_features
from tidemill.learn.scoring import outputs
from tidemill.learn.training import Training, train
from tidemill.monitor.alerts import list_alerts
from tidemill.monitor.mismatch import compare_live
from tidemill.monitor.report import latest_report
from tidemill.monitor.watch import NOTHING_DEPLOYED, quality_of, watch
from tidemill.project import Project, load_project
from tidemill.serve.deployment import deploy
from tidemill.store.events import EventLog
from tidemill.store.state import State, now, open_state

FILE = """
name: ward
task: binary
columns:
  age: {type: float}
  Pulse: {type: float}
  score: {type: float}
  site: {type: category}
  y: {type: category, role: target}
labels: {positive: ill}
training: {candidates: [linear], trials: 1, folds: 2}
monitoring: {minimum_rows: 50, window: 200, false_alarms: 0.01}
"""


def rows_of(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(count, 3)), columns=["age", "Pulse", "score"])
    frame["site"] = rng.choice(["north", "south"], count)
    frame["y"] = np.where(frame["age"] + rng.normal(scale=0.7, size=count) > 0, "ill", "well")
    return frame


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    file = tmp_path_factory.mktemp("projects") / "ward" / "project.yaml"
    file.parent.mkdir()
    file.write_text(FILE)
    return Project.load(file)


@pytest.fixture(scope="module")
def features(project: Project) -> pd.DataFrame:
    raw = rows_of(400, seed=1).assign(_row=[f"r{index}" for index in range(400)])
    return build_features(raw, labels_from_column(raw, project, 1), project)


@pytest.fixture(scope="module")
def training(project: Project, features: pd.DataFrame) -> Training:
    return train(features, project)


@pytest.fixture
def state(home: Home, project: Project, training: Training, features: pd.DataFrame) -> State:
    file: Path = home.project_file("ward")
    file.parent.mkdir(parents=True)
    file.write_text(FILE)
    evaluation = evaluate(training.best.pipeline, features, project, baseline=training.baseline)
    write_bundle(
        home.models("ward"), project=project, training=training, evaluation=evaluation, reference=features
    )
    return open_state(home)


def answer(
    home: Home, training: Training, project: Project, rows: pd.DataFrame, *, turn: bool = False
) -> None:
    """Log the model's answers to `rows` and their truth, turned round with `turn`."""
    found = outputs(training.best.pipeline, rows, project)
    predictions, truths = [], []
    assert found.probabilities is not None
    for index, record in enumerate(rows.drop(columns="y").to_dict("records")):
        probabilities = dict(zip(found.classes, map(float, found.probabilities[index]), strict=True))
        identity = str(uuid4())
        predictions.append(
            {"id": identity, "at": now(), "project": "ward", "model_version": 1, "role": "champion",
              "request_id": "r", "entity_id": None, "input": record, "label": str(found.labels[index]),
              "score": float(found.scores[index]), "probabilities": probabilities, "flags": [], "latency_ms": 1.0}
        )  # fmt: skip
        truth = rows["y"].iloc[index]
        if turn:
            truth = "well" if truth == "ill" else "ill"
        truths.append(
            {"id": str(uuid4()), "at": now(), "project": "ward", "prediction_id": identity, "entity_id": None,
              "label": truth, "observed_at": now(), "source": "test"}
        )  # fmt: skip
    for stream, events in (("predictions", predictions), ("ground_truth", truths)):
        log = EventLog(home, "ward", stream)
        log.append(events)
        log.close()


def test_without_a_deployment_there_is_nothing_to_watch(home: Home, state: State) -> None:
    assert watch(home, state, load_project(home, "ward")).verdict == NOTHING_DEPLOYED
    assert latest_report(home, "ward") is None


def test_a_drift_opens_one_alert_that_stability_resolves(
    home: Home, state: State, project: Project, training: Training
) -> None:
    deploy(state, "ward", 1, actor="test", reason="first")
    assert watch(home, state, project).verdict == "too few rows"

    shifted = rows_of(200, seed=3)
    shifted["Pulse"] += 2
    shifted["site"] = "west"
    answer(home, training, project, shifted)
    for seen in (1, 2):
        watched = watch(home, state, project)
        assert watched.verdict == "drift"
        assert watched.report is not None
        assert set(watched.report.drifted) == {"Pulse", "site"}
        (alert,) = list_alerts(state, "ward", ["open"])
        assert (alert.kind, alert.times_seen, alert.severity) == ("drift", seen, "warning")
        assert alert.detail["model_version"] == 1
    assert latest_report(home, "ward") == watched.report
    assert "Live roc_auc" in watched.markdown

    answer(home, training, project, rows_of(200, seed=4))
    watched = watch(home, state, project)
    assert (watched.verdict, watched.rows, watched.open_alerts) == ("stable", 200, 0)


def test_worse_live_quality_than_promised_is_an_alert(
    home: Home, state: State, project: Project, training: Training
) -> None:
    deploy(state, "ward", 1, actor="test", reason="first")
    answer(home, training, project, rows_of(150, seed=5), turn=True)
    watched = watch(home, state, project)
    assert watched.quality is not None
    assert watched.quality.matched == 150
    assert watched.quality == quality_of(home, project, 1)
    (alert,) = list_alerts(state, "ward", ["open"])
    assert (alert.kind, alert.subject, alert.severity) == ("performance", "roc_auc", "critical")
    answer(home, training, project, rows_of(3000, seed=6))
    assert watch(home, state, project).open_alerts == 0


def test_records_in_another_form_than_training_had_are_told_by_column(
    home: Home, state: State, training: Training, project: Project
) -> None:
    shown = load_project(home, "ward")
    assert compare_live(home, state, shown).note == "no model is deployed"
    deploy(state, "ward", 1, actor="test", reason="first")
    answer(home, training, project, rows_of(30, seed=8))
    assert compare_live(home, state, shown).note == "50 predictions are the least"
    answer(home, training, project, rows_of(170, seed=9))
    found = compare_live(home, state, shown)
    assert (found.rows, found.model_version, found.mismatches) == (200, 1, [])
    current = rows_of(200, seed=10)
    current["site"] = current["site"].str.title()
    current["Pulse"] *= 1000
    answer(home, training, project, current)
    found = compare_live(home, state, shown)
    assert [(each.column, each.kind) for each in found.mismatches] == [
        ("Pulse", "unit"),
        ("site", "unknown_categories"),
    ]
