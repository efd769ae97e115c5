import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from tidemill.monitor.performance import live_quality
from tidemill.project import Project


def make_project(task: str) -> Project:
    target = {"type": "float" if task == "regression" else "category", "role": "target"}
    labels = {"positive": "ill"} if task == "binary" else {}
    return Project.model_validate(
        {"name": "ward", "task": task, "columns": {"x": {"type": "float"}, "y": target}, "labels": labels}
    )


def classified(classes: list[str], rows: int = 200, positive: str | None = None) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    truth = rng.choice(classes, rows)
    table = rng.dirichlet(np.ones(len(classes)), rows)
    table[np.arange(rows), [classes.index(name) for name in truth]] += 0.5
    table /= table.sum(axis=1, keepdims=True)
    if positive:
        other = next(name for name in classes if name != positive)
        predicted = np.where(table[:, classes.index(positive)] >= 0.5, positive, other)
    else:
        predicted = np.array(classes)[table.argmax(axis=1)]
    probabilities = [json.dumps(dict(zip(classes, map(float, row), strict=True))) for row in table]
    return pd.DataFrame(
        {"role": "champion", "predicted": predicted, "truth": truth, "probabilities": probabilities}
    )


def test_binary_metrics_are_those_of_scikit_learn() -> None:
    rows = classified(["ill", "well"], positive="ill")
    found = live_quality(rows, make_project("binary")).metrics
    score = rows["probabilities"].map(lambda text: json.loads(text)["ill"])
    ill = rows["truth"] == "ill"
    assert found["roc_auc"].value == sk.roc_auc_score(ill, score)
    assert found["average_precision"].value == sk.average_precision_score(ill, score)
    assert found["log_loss"].value == pytest.approx(sk.log_loss(ill, score), abs=1e-12)
    assert found["accuracy"].value == sk.accuracy_score(rows["truth"], rows["predicted"])
    assert found["f1"].value == sk.f1_score(rows["truth"], rows["predicted"], pos_label="ill")
    assert found["balanced_accuracy"].value == pytest.approx(
        sk.balanced_accuracy_score(rows["truth"], rows["predicted"])
    )
    assert all(value.low <= value.value <= value.high for value in found.values())
    assert all(value.low < value.high for value in found.values())


def test_multiclass_metrics_are_those_of_scikit_learn() -> None:
    classes = ["a", "b", "c"]
    rows = classified(classes)
    found = live_quality(rows, make_project("multiclass")).metrics
    table = np.array([list(json.loads(text).values()) for text in rows["probabilities"]])
    assert found["roc_auc"].value == pytest.approx(sk.roc_auc_score(rows["truth"], table, multi_class="ovr"))
    assert found["log_loss"].value == pytest.approx(sk.log_loss(rows["truth"], table, labels=classes))
    assert found["f1"].value == sk.f1_score(rows["truth"], rows["predicted"], average="macro")


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=100)
    rows = pd.DataFrame({"predicted": truth + rng.normal(size=100), "truth": truth})
    rows.loc[:9, "truth"] = np.nan
    quality = live_quality(rows, make_project("regression"))
    assert (quality.rows, quality.matched, quality.unmatched) == (100, 90, 10)
    known = rows[10:]
    assert quality.metrics["mae"].value == sk.mean_absolute_error(known["truth"], known["predicted"])
    assert quality.metrics["rmse"].value == sk.root_mean_squared_error(known["truth"], known["predicted"])
    assert quality.metrics["r2"].value == sk.r2_score(known["truth"], known["predicted"])


def change(rows: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    return rows.assign(**columns)


def test_only_champions_and_known_truths_count() -> None:
    rows = classified(["ill", "well"], positive="ill")
    role = np.where(np.arange(200) < 150, "champion", "shadow")
    truth = rows["truth"].where(np.arange(200) >= 50)
    quality = live_quality(change(rows, role=role, truth=truth), make_project("binary"))
    assert (quality.rows, quality.matched, quality.unmatched) == (150, 100, 50)
    alone = live_quality(rows[50:150], make_project("binary"))
    assert quality.metrics == alone.metrics


def test_without_probabilities_only_metrics_of_labels_are_given() -> None:
    rows = classified(["ill", "well"], positive="ill").assign(probabilities=None)
    found = live_quality(rows, make_project("binary")).metrics
    assert set(found) == {"accuracy", "balanced_accuracy", "f1"}
    assert found["accuracy"].value == sk.accuracy_score(rows["truth"], rows["predicted"])


def test_truths_that_are_no_class_are_counted_apart() -> None:
    rows = classified(["ill", "well"], positive="ill")
    truth = rows["truth"].where(np.arange(200) >= 5, "unclear")
    quality = live_quality(change(rows, truth=truth), make_project("binary"))
    assert (quality.matched, quality.unknown_labels) == (200, 5)
    assert quality.metrics == live_quality(rows[5:], make_project("binary")).metrics


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_too_little_truth_gives_a_note_instead_of_numbers(task: str) -> None:
    rows = pd.DataFrame({"predicted": ["1", "2"], "truth": [None, "1"], "probabilities": [None, None]})
    for known in (rows, rows.iloc[:0], rows.iloc[:1]):
        quality = live_quality(known, make_project(task))
        assert quality.metrics == {}
        assert quality.note


def test_truth_of_one_class_alone_gives_a_note() -> None:
    rows = classified(["ill", "well"], positive="ill").assign(truth="ill")
    quality = live_quality(rows, make_project("binary"))
    assert (quality.metrics, quality.matched) == ({}, 200)
    assert "same label" in quality.note
    json.dumps(quality.to_json(), allow_nan=False)
