"""Calibration: by hand, scikit-learn's Brier score, and what chance alone gives."""

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from tidemill.learn import calibration
from tidemill.learn.scoring import Outputs


def binary(scores: np.ndarray) -> Outputs:
    labels = np.where(scores >= 0.5, "b", "a")
    return Outputs(labels, scores, np.column_stack([1 - scores, scores]), ["a", "b"], "b")


def test_the_error_by_hand():
    # Bins 0.1 and 0.8: 1 of 2 at 0.15, 1 of 2 at 0.85; |0.5 - 0.15| and |0.5 - 0.85| on half the rows each.
    truth = np.array(["a", "b", "a", "b"])
    found = calibration.measure(truth, binary(np.array([0.15, 0.15, 0.85, 0.85])), seed=0)
    assert found.error.value == pytest.approx(0.35)
    assert found.brier.value == pytest.approx((0.15**2 + 0.85**2) / 2)


def test_curve_and_brier_are_scikit_learns():
    rng = np.random.default_rng(2)
    scores = rng.uniform(0.001, 0.999, 500)
    truth = np.where(rng.random(500) < scores**2, "b", "a")
    points = calibration.curve(truth, binary(scores))
    shares, means = calibration_curve(truth == "b", scores, n_bins=10)
    assert [point["observed"] for point in points] == pytest.approx(list(shares))
    assert [point["predicted"] for point in points] == pytest.approx(list(means))
    found = calibration.measure(truth, binary(scores), seed=0)
    assert found.brier.value == pytest.approx(sk.brier_score_loss(truth == "b", scores))
    rows = np.array([point["rows"] for point in points])
    assert found.error.value == pytest.approx(float((rows / 500 * np.abs(shares - means)).sum()))
    assert found.is_off
    assert found.brier.low < found.brier.value < found.brier.high


def test_probabilities_that_come_true_are_seldom_off():
    off = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores = rng.random(200)
        truth = np.where(rng.random(200) < scores, "b", "a")
        found = calibration.measure(truth, binary(scores), seed=0)
        assert 0.0 < found.error_by_chance < 0.2
        off += found.is_off
    assert off <= 4


def test_many_classes_sum_the_squares():
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(3), 90)
    names = np.array(["a", "b", "c"])
    truth = names[rng.integers(0, 3, 90)]
    best = probabilities.argmax(axis=1)
    found = Outputs(names[best], probabilities.max(axis=1), probabilities, list(names), None)
    expected = sk.brier_score_loss(truth, probabilities, labels=names)
    assert calibration.measure(truth, found, seed=0).brier.value == pytest.approx(expected)
