"""Calibration: whether a probability of 0.8 comes true eight times in ten.

Here belong the curve, the expected calibration error and the Brier score of given answers. Recalibrating a model is
training's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.learn import metrics
from tidemill.learn.metrics import Interval
from tidemill.learn.proportions import wilson
from tidemill.learn.scoring import Outputs

BINS = 10
_SIMULATIONS = 200


@dataclass(frozen=True)
class Calibration:
    """`error` is the expected calibration error, `brier` the Brier score, both with 95 % intervals.

    `error` is above zero by chance alone: a model that is calibrated has at most `error_by_chance` on so many rows
    in 95 of 100 samples.
    """

    error: Interval
    error_by_chance: float
    brier: Interval
    rows: int

    @property
    def is_off(self) -> bool:
        """Whether the error is larger than chance explains."""
        return self.error.value > self.error_by_chance


def _hits(truth: NDArray[Any], found: Outputs) -> NDArray[Any]:
    hits: NDArray[Any] = truth == (found.positive if found.positive is not None else found.labels)
    return hits


def _bins(found: Outputs) -> NDArray[Any]:
    bins: NDArray[Any] = np.minimum((found.scores * BINS).astype(int), BINS - 1)
    return bins


def curve(truth: NDArray[Any], found: Outputs) -> list[dict[str, float]]:
    """Per filled bin of equal width: mean probability, observed share with Wilson's 95 % interval, and rows.

    Of the positive class, or of the label that was given in a task of many classes.
    """
    hits, bins, points = _hits(truth, found), _bins(found), []
    for index in np.unique(bins):
        inside = bins == index
        share = wilson(int(hits[inside].sum()), int(inside.sum()))
        points.append(
            {
                "predicted": float(found.scores[inside].mean()),
                "observed": share.value,
                "low": share.low,
                "high": share.high,
                "rows": int(inside.sum()),
            }
        )
    return points


def measure(truth: NDArray[Any], found: Outputs, *, seed: int) -> Calibration:
    """The errors of the probabilities of `found` (classification).

    Expected calibration error: Naeini et al. (2015), the gap between probability and share averaged over the rows'
    bins of `curve`. Brier score: scikit-learn's, so summed over the classes where there are more than two.
    """
    assert found.probabilities is not None
    gaps = _hits(truth, found).astype(np.float64) - found.scores
    inside = (_bins(found)[:, None] == np.arange(BINS)).astype(np.float64)
    squares = (found.probabilities - (truth[:, None] == np.array(found.classes, dtype=str))) ** 2
    per_row = squares.sum(axis=1) / (2 if len(found.classes) == 2 else 1)
    weighted: dict[str, metrics.Weighted] = {
        "error": partial(_expected_error, gaps, inside),
        "brier": lambda weights: weights @ per_row / weights.sum(axis=1),
    }
    ones = np.ones((1, len(truth)))
    known = {name: float(metric(ones)[0]) for name, metric in weighted.items()}
    chosen = metrics.drawn_rows(len(truth), seed)
    if chosen is not None:
        # Of very many rows a sample is resampled, and its spread scaled, as in `metrics.scaled_draws`.
        weighted = {
            "error": partial(_expected_error, gaps[chosen], inside[chosen]),
            "brier": lambda weights: weights @ per_row[chosen] / weights.sum(axis=1),
        }
    resampled = len(truth) if chosen is None else len(chosen)
    drawn = metrics.draws(weighted, resampled, seed=seed)
    intervals = {}
    for name, metric in weighted.items():
        strayed = drawn[name] - metric(np.ones((1, resampled)))[0]
        spread = strayed * np.sqrt(resampled / len(truth))
        intervals[name] = metrics.interval_of(known[name], known[name] + spread)
    by_chance = _by_chance(found.scores, _bins(found), seed)
    return Calibration(intervals["error"], by_chance, intervals["brier"], len(truth))


def _expected_error(gaps: NDArray[Any], inside: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    # The rows of a bin cancel in rows/all * |sum/rows|: what is left is the sum over all rows.
    error: NDArray[Any] = np.abs((weights * gaps) @ inside).sum(axis=1) / weights.sum(axis=1)
    return error


def _by_chance(scores: NDArray[Any], bins: NDArray[Any], seed: int) -> float:
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(_SIMULATIONS):
        gaps = (rng.random(len(scores)) < scores) - scores
        errors.append(np.abs(np.bincount(bins, gaps, BINS)).sum() / len(scores))
    return float(np.quantile(errors, 0.95))
