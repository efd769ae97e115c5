"""Metrics equal scikit-learn's, and the bootstrap's fast forms equal the metrics."""

import numpy as np
import pytest
from sklearn import metrics as sk

from tidemill.errors import InvalidInput
from tidemill.learn import metrics
from tidemill.learn.scoring import Outputs, answers
from tidemill.project import Column, Project


def found(classes: int, rows: int, seed: int) -> tuple[np.ndarray, Outputs]:
    rng = np.random.default_rng(seed)
    names = [f"c{index}" for index in range(classes)]
    # Rounded, so that scores tie.
    probabilities = np.round(rng.dirichlet(np.ones(classes), rows), 1) + 0.01
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    truth = np.array(names)[np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])]
    task = "binary" if classes == 2 else "multiclass"
    columns = {"x": Column(type="float"), "y": Column(type="category", role="target")}
    return truth, answers(probabilities, names, Project(name="demo", task=task, columns=columns))


def regression(rows: int, seed: int) -> tuple[np.ndarray, Outputs]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=rows) * 10 + 500
    values = truth + rng.normal(size=rows)
    return truth, Outputs(values, values, None, [], None)


CASES = [found(2, 40, 0), found(2, 200, 1), found(3, 60, 2), found(5, 150, 3), regression(50, 4)]


@pytest.mark.parametrize(("truth", "outputs"), CASES)
def test_values_are_scikit_learns(truth, outputs):
    values = metrics.values(truth, outputs)
    if outputs.probabilities is None:
        assert values["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, outputs.labels), abs=1e-12)
        assert values["r2"] == pytest.approx(sk.r2_score(truth, outputs.labels), abs=1e-12)
        return
    binary = outputs.positive is not None
    score = outputs.scores if binary else outputs.probabilities
    hits = truth == outputs.positive if binary else truth
    assert values["roc_auc"] == pytest.approx(sk.roc_auc_score(hits, score, multi_class="ovr"), abs=1e-12)
    assert values["average_precision"] == pytest.approx(sk.average_precision_score(hits, score), abs=1e-12)
    assert values["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, outputs.labels))
    average = {"pos_label": outputs.positive} if binary else {"average": "macro"}
    assert values["f1"] == sk.f1_score(truth, outputs.labels, **average)
    assert values["log_loss"] == sk.log_loss(truth, outputs.probabilities, labels=outputs.classes)


@pytest.mark.parametrize(("truth", "outputs"), CASES)
def test_a_resample_is_the_metric_on_the_drawn_rows(truth, outputs):
    rng = np.random.default_rng(9)
    weights = np.vstack([np.ones(len(truth)), *rng.multinomial(len(truth), [1 / len(truth)] * len(truth), 5)])
    weighted = metrics.weighted_metrics(truth, outputs)
    for line in weights:
        drawn = np.repeat(np.arange(len(truth)), line.astype(int))
        probabilities = outputs.probabilities[drawn] if outputs.probabilities is not None else None
        sample = Outputs(
            outputs.labels[drawn], outputs.scores[drawn], probabilities, outputs.classes, outputs.positive
        )
        expected = metrics.values(truth[drawn], sample)
        for name, metric in weighted.items():
            assert metric(line[None, :])[0] == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.parametrize(("truth", "outputs"), CASES)
def test_intervals_hold_the_value_and_repeat(truth, outputs):
    first = metrics.intervals(truth, outputs, seed=3)
    assert first == metrics.intervals(truth, outputs, seed=3)
    assert all(interval.low <= interval.value <= interval.high for interval in first.values())


def test_a_perfect_model_on_few_rows_keeps_finite_ends():
    truth, names = np.array(["a", "b"]), ["a", "b"]
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]])
    outputs = Outputs(truth, probabilities[:, 1], probabilities, names, "b")
    for interval in metrics.intervals(truth, outputs, seed=0).values():
        assert np.isfinite([interval.value, interval.low, interval.high]).all()


@pytest.mark.parametrize("truth", [np.array([], dtype=str), np.array(["a"]), np.array(["a", "a"])])
def test_rows_without_two_classes_cannot_be_measured(truth):
    with pytest.raises(InvalidInput):
        metrics.check_measurable(truth, True, "test rows")


def test_of_very_many_rows_a_sample_is_resampled_and_its_spread_scaled(monkeypatch):
    truth, outputs = found(2, 6_000, 5)
    whole = metrics.intervals(truth, outputs, seed=1)
    monkeypatch.setattr(metrics, "MOST_RESAMPLED_ROWS", 1_500)
    scaled = metrics.intervals(truth, outputs, seed=1)
    for name, interval in scaled.items():
        assert interval.value == whole[name].value
        assert interval.low < interval.value < interval.high
        ratio = (interval.high - interval.low) / (whole[name].high - whole[name].low)
        assert 0.75 < ratio < 1.33, name
    again = metrics.differences(truth, outputs, outputs, seed=1)
    assert all(each.low == each.value == each.high == 0.0 for each in again.values())
