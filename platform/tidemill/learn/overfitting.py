"""Overfitting: train against cross-validated against held-out, and when the gap is worth a warning.

Here belong the gaps with their intervals. Leaks, which make gaps vanish, are `learn/leakage.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.learn import metrics
from tidemill.learn.metrics import Interval
from tidemill.learn.scoring import Outputs
from tidemill.project import SMALLER_IS_BETTER, Project

# A forest knows its train rows by heart and may still be good: so much of what it seems to gain over the dummy
# model must be lost on new rows before that counts against it.
LOST_SHARE = 0.5


@dataclass(frozen=True)
class Gaps:
    """The metric on train rows, by cross-validation and on held-out rows; losses are positive where it falls.

    `train_loss` is from train to held-out rows, `cv_loss` from cross-validation to them, each with its 95 %
    interval. `warnings` says what of it is more than chance and custom explain.
    """

    metric: str
    train: float
    train_rows: int
    test: float
    train_loss: Interval
    cv: float | None = None
    cv_loss: Interval | None = None
    warnings: list[str] = field(default_factory=list)


def gaps(
    train: tuple[NDArray[Any], Outputs],
    test: tuple[NDArray[Any], Outputs],
    cv_scores: Sequence[float],
    dummy: float,
    project: Project,
) -> Gaps:
    """The gaps of a model; `train` and `test` are labels with answers, `dummy` the dummy's metric on test rows.

    The spread of a cross-validated mean is Nadeau and Bengio's corrected one (2003), which allows for the folds'
    shared rows; with fewer than two folds there is none.
    """
    name, seed = project.metric, project.training.seed
    sign = -1.0 if name in SMALLER_IS_BETTER else 1.0
    on_train, train_draws = _measured(*train, name, seed)
    on_test, test_draws = _measured(*test, name, seed + 1)
    count = min(len(train_draws), len(test_draws))
    loss = metrics.interval_of(sign * (on_train - on_test), sign * (train_draws[:count] - test_draws[:count]))
    cv, cv_loss = None, None
    if len(cv_scores) > 1:
        cv, folds = float(np.mean(cv_scores)), len(cv_scores)
        spread = float(np.std(cv_scores, ddof=1)) * np.sqrt(1 / folds + 1 / (folds - 1))
        around = np.random.default_rng(seed).normal(cv, spread, count)
        cv_loss = metrics.interval_of(sign * (cv - on_test), sign * (around - test_draws[:count]))
    gained = sign * (on_train - dummy)
    warnings = list(_warnings(name, loss, gained, cv_loss))
    return Gaps(name, on_train, len(train[0]), on_test, loss, cv, cv_loss, warnings)


def _measured(truth: NDArray[Any], found: Outputs, name: str, seed: int) -> tuple[float, NDArray[Any]]:
    weighted = {name: metrics.weighted_metrics(truth, found)[name]}
    drawn = metrics.draws(weighted, len(truth), seed=seed, resamples=400)[name]
    return metrics.value(name, truth, found), drawn


def _warnings(name: str, loss: Interval, gained: float, cv_loss: Interval | None) -> Sequence[str]:
    found = []
    if gained > 0 and loss.low > LOST_SHARE * gained:
        found.append(
            f"overfit: {name} is worse by {_shown(loss)} on held-out rows than on train rows, more than half of "
            f"the {gained:.4f} that it gains over the dummy model there: fewer features, a simpler candidate or "
            f"more rows would help"
        )
    if cv_loss is not None and cv_loss.low > 0:
        found.append(
            f"worse than cross-validation: {name} is worse by {_shown(cv_loss)} on held-out rows than in "
            f"cross-validation: the held-out rows differ from the train rows, or the search tried too much"
        )
    return found


def _shown(loss: Interval) -> str:
    return f"{loss.value:.4f} ({loss.low:.4f} to {loss.high:.4f})"
