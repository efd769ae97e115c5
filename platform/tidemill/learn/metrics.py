"""Metrics by scikit-learn's definitions, and intervals for them by the bootstrap.

Values come from scikit-learn itself. The resamples of the bootstrap are computed with row weights in numpy (a row
drawn twice weighs 2), because a thousand calls of scikit-learn per metric would take seconds; a test holds that
weight 1 for each row gives scikit-learn's value.

Multiclass: roc_auc and average_precision are one class against the rest, macro averaged; f1 is macro. A class
without a row (or with all rows) in the data has no such curve and is left out of the average.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from tidemill.errors import InvalidInput
from tidemill.learn.scoring import Outputs, take
from tidemill.project import SMALLER_IS_BETTER

RESAMPLES = 1000
# Resamples are as many as a second or so allows, down to this many.
FEWEST_RESAMPLES = 200
_CELLS_IN_ALL = 1_500_000
# Of more rows so many are resampled, and the spread is scaled to all (see `scaled_draws`).
MOST_RESAMPLED_ROWS = 20_000
_CELLS_AT_ONCE = 4_000_000

# From weights (resamples x rows) to values (resamples).
Weighted = Callable[[NDArray[Any]], NDArray[Any]]
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def worse_end(self, metric: str) -> float:
        """The end of the interval that speaks against the model."""
        return self.high if metric in SMALLER_IS_BETTER else self.low


def is_better(metric: str, value: float, than: float) -> bool:
    """Whether `value` of `metric` is strictly better than `than`."""
    return value < than if metric in SMALLER_IS_BETTER else value > than


def check_measurable(truth: NDArray[Any], classification: bool, what: str) -> None:
    """Raise InvalidInput unless the metrics have a value on these rows: two rows, and two classes."""
    if len(truth) < 2:
        raise InvalidInput(
            f"There are too few {what}",
            detail=f"{len(truth)} found; metrics need at least 2",
            remedy="Send more labelled rows, or change training.split.test in project.yaml.",
        )
    if classification and len(set(truth)) < 2:
        raise InvalidInput(
            f"All {what} have the same label",
            detail=f"each of the {len(truth)} rows is {str(truth[0])!r}; metrics need at least two classes",
            remedy="Send more labelled rows, or change training.split in project.yaml.",
        )


def values(truth: NDArray[Any], found: Outputs) -> dict[str, float]:
    """Every metric of the task on these rows. `truth` holds str labels, or float64 for a regression."""
    if found.probabilities is None:
        return {
            "mae": float(sk.mean_absolute_error(truth, found.labels)),
            "rmse": float(sk.root_mean_squared_error(truth, found.labels)),
            "r2": float(sk.r2_score(truth, found.labels)),
        }
    f1 = (
        sk.f1_score(truth, found.labels, pos_label=found.positive, zero_division=0.0)
        if found.positive is not None
        else sk.f1_score(truth, found.labels, average="macro", zero_division=0.0)
    )
    curves = _curve_targets(truth, found)
    return {
        "roc_auc": float(np.mean([sk.roc_auc_score(is_class, score) for is_class, score in curves])),
        "accuracy": float(sk.accuracy_score(truth, found.labels)),
        "balanced_accuracy": float(_recalls(truth, found.labels).mean()),
        "f1": float(f1),
        "log_loss": float(sk.log_loss(truth, found.probabilities, labels=found.classes)),
        "average_precision": float(
            np.mean([sk.average_precision_score(is_class, score) for is_class, score in curves])
        ),
    }


def value(name: str, truth: NDArray[Any], found: Outputs) -> float:
    """One metric on these rows, as in `values` and many times quicker; NaN where it is not defined."""
    return float(weighted_metrics(truth, found)[name](np.ones((1, len(truth))))[0])


def _recalls(truth: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    # balanced_accuracy_score itself warns when a class is predicted that is not in the truth.
    return np.array([np.mean(labels[truth == name] == name) for name in np.unique(truth)])


def _curve_targets(truth: NDArray[Any], found: Outputs) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """For each class with a curve: which rows are of it, and its probability."""
    assert found.probabilities is not None
    names = [found.positive] if found.positive is not None else found.classes
    pairs = [(truth == name, found.probabilities[:, found.classes.index(str(name))]) for name in names]
    return [(is_class, score) for is_class, score in pairs if is_class.any() and not is_class.all()]


def intervals(
    truth: NDArray[Any], found: Outputs, *, seed: int, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Every metric with its 95 % percentile bootstrap interval (Efron 1979), rows drawn with replacement.

    Resamples on which a metric is not defined (one class drawn only) are left out of its interval.
    """
    known = values(truth, found)
    drawn = scaled_draws(truth, [found], [known], seed=seed, resamples=resamples)[0]
    return {name: interval_of(value, drawn[name]) for name, value in known.items()}


def differences(
    truth: NDArray[Any], found: Outputs, other: Outputs, *, seed: int, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Every metric of `found` less that of `other`, paired: both are measured on the same drawn rows.

    Two models that err on the same rows differ by far less than their separate intervals make believe; only the
    paired bootstrap sees that (Efron and Tibshirani 1993, chapter 8). Both must answer for the rows of `truth`.
    """
    mine, theirs = values(truth, found), values(truth, other)
    drawn = scaled_draws(truth, [found, other], [mine, theirs], seed=seed, resamples=resamples)
    return {name: interval_of(mine[name] - theirs[name], drawn[0][name] - drawn[1][name]) for name in mine}


def scaled_draws(
    truth: NDArray[Any],
    sides: Sequence[Outputs],
    known: Sequence[Mapping[str, float]],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> list[dict[str, NDArray[Any]]]:
    """For each of `sides` the draws of every metric, on the same drawn rows; `known` are its values on all rows.

    Beyond MOST_RESAMPLED_ROWS it is the m out of n bootstrap (Bickel, Goetze, van Zwet: Resampling fewer than n
    observations, 1997): a sample of m rows is resampled, and what the draws stray from the sample's value is
    shrunk by the root of m / n.
    """
    count = len(truth)
    chosen = drawn_rows(count, seed)
    if chosen is not None:
        truth, sides = truth[chosen], [take(side, chosen) for side in sides]
    weighted = [weighted_metrics(truth, side) for side in sides]
    both = {(place, name): metric for place, of in enumerate(weighted) for name, metric in of.items()}
    drawn = draws(both, len(truth), seed=seed, resamples=resamples)
    found = [{name: drawn[place, name] for name in of} for place, of in enumerate(weighted)]
    if chosen is None:
        return found
    ones, shrunk = np.ones((1, len(truth))), np.sqrt(len(truth) / count)
    return [
        {name: values[name] + shrunk * (each - of[name](ones)[0]) for name, each in side.items()}
        for side, of, values in zip(found, weighted, known, strict=True)
    ]


def drawn_rows(rows: int, seed: int) -> NDArray[Any] | None:
    """Positions of the rows that are resampled, in order; None where it is all of them."""
    if rows <= MOST_RESAMPLED_ROWS:
        return None
    return np.sort(np.random.default_rng(seed).choice(rows, MOST_RESAMPLED_ROWS, replace=False))


def draws(
    weighted: Mapping[Name, Weighted], rows: int, *, seed: int, resamples: int = RESAMPLES
) -> dict[Name, NDArray[Any]]:
    """Values of each metric on the same `resamples` (of many rows fewer, but 200), NaN where undefined."""
    parts: dict[Name, list[NDArray[Any]]] = {name: [] for name in weighted}
    rng = np.random.default_rng(seed)
    chance = np.full(rows, 1.0 / rows)
    left = min(resamples, max(FEWEST_RESAMPLES, _CELLS_IN_ALL // rows))
    while left > 0:
        count = min(left, max(1, _CELLS_AT_ONCE // rows))
        weights = rng.multinomial(rows, chance, size=count).astype(np.float64)
        for name, metric in weighted.items():
            parts[name].append(metric(weights))
        left -= count
    return {name: np.concatenate(part) for name, part in parts.items()}


def interval_of(value: float, draws: NDArray[Any]) -> Interval:
    """`value` with the middle 95 % of `draws`; NaN among them are left out."""
    defined = draws[np.isfinite(draws)]
    if len(defined) == 0:
        return Interval(value, value, value)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def weighted_metrics(truth: NDArray[Any], found: Outputs) -> dict[str, Weighted]:
    """Each metric as a function from weights (resamples x rows) to values (resamples), NaN where undefined."""
    if found.probabilities is None:
        error = truth - found.labels
        return {
            "mae": partial(_mean, np.abs(error)),
            "rmse": lambda weights: np.sqrt(_mean(error**2, weights)),
            "r2": partial(_r2, truth, error**2),
        }
    curves = _curve_targets(truth, found)
    classes = np.array(found.classes, dtype=str)
    own = found.probabilities[np.arange(len(truth)), np.searchsorted(classes, truth)]
    total = found.probabilities.sum(axis=1)
    tiny = np.finfo(np.float64).eps
    loss = -np.log(np.clip(own / total, tiny, 1 - tiny))
    return {
        "roc_auc": lambda weights: _average([_auc(*curve, weights) for curve in curves]),
        "accuracy": partial(_mean, (truth == found.labels).astype(np.float64)),
        "balanced_accuracy": partial(_balanced, truth, found.labels),
        "f1": partial(_f1, truth, found),
        "log_loss": partial(_mean, loss),
        "average_precision": lambda weights: _average([_precision(*curve, weights) for curve in curves]),
    }


def _mean(per_row: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    mean: NDArray[Any] = weights @ per_row / weights.sum(axis=1)
    return mean


def _average(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Mean over the classes that have a value in each resample; NaN where none has."""
    stacked = np.vstack(parts)
    known = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        average: NDArray[Any] = np.where(known, stacked, 0.0).sum(axis=0) / known.sum(axis=0)
    return average


def _r2(truth: NDArray[Any], squared: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    centred = truth - truth.mean()
    spread = _mean(centred**2, weights) - _mean(centred, weights) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        r2: NDArray[Any] = np.where(spread > 0, 1.0 - _mean(squared, weights) / spread, np.nan)
    return r2


def _balanced(truth: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    recalls = []
    for name in np.unique(truth):
        of_class = (truth == name).astype(np.float64)
        with np.errstate(invalid="ignore"):
            recalls.append((weights @ (of_class * (labels == name))) / (weights @ of_class))
    return _average(recalls)


def _f1(truth: NDArray[Any], found: Outputs, weights: NDArray[Any]) -> NDArray[Any]:
    # scikit-learn's macro average runs over the classes that are in the truth or among the answers.
    names = [found.positive] if found.positive is not None else np.union1d(truth, found.labels)
    scores = []
    for name in names:
        is_true, is_found = truth == name, found.labels == name
        hits = weights @ (is_true & is_found).astype(np.float64)
        both = weights @ (is_true.astype(np.float64) + is_found.astype(np.float64))
        with np.errstate(invalid="ignore"):
            # A class that is neither drawn nor answered in a resample is not in its average.
            score = np.where(both > 0, 2 * hits / both, 0.0 if found.positive is not None else np.nan)
        scores.append(score)
    return _average(scores)


def _steps(
    is_class: NDArray[Any], score: NDArray[Any], weights: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights of hits and of false alarms at and above each distinct score, from the largest down."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    drawn = weights[:, order]
    hits = np.cumsum(drawn * is_class[order], axis=1)[:, last_of_tie]
    return hits, np.cumsum(drawn, axis=1)[:, last_of_tie] - hits


def _auc(is_class: NDArray[Any], score: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Area under the ROC curve by trapezoids: ties count half."""
    hits, alarms = _steps(is_class, score, weights)
    before = np.hstack([np.zeros((len(weights), 1)), hits[:, :-1]])
    widths = np.diff(alarms, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        area: NDArray[Any] = (widths * (hits + before) / 2).sum(axis=1) / (hits[:, -1] * alarms[:, -1])
    return area


def _precision(is_class: NDArray[Any], score: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Average precision: precision at each threshold, weighted by the gain in recall; no interpolation."""
    hits, alarms = _steps(is_class, score, weights)
    gains = np.diff(hits, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(hits > 0, hits / (hits + alarms), 0.0)
        average: NDArray[Any] = (gains * precision).sum(axis=1) / hits[:, -1]
    return average
