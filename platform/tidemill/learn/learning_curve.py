"""Learning curve: the same settings fitted on parts of the train rows, measured on the held-out rows.

It answers one question: would more labelled rows help? It chooses nothing, so that the held-out rows stay honest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from tidemill.learn import metrics
from tidemill.learn.features import TRAIN
from tidemill.learn.importance import sample
from tidemill.learn.learnable import truth_of
from tidemill.learn.metrics import Interval
from tidemill.learn.pipeline import is_refittable
from tidemill.learn.scoring import Outputs, outputs
from tidemill.project import Project

SHARES = (0.125, 0.25, 0.5)
FEWEST_ROWS = 40
# Beyond so many train cells a fit takes longer than an answer is worth, unless it was asked for.
MOST_CELLS = 500_000
_MOST_SECONDS = 1.5
_MOST_SECONDS_ASKED = 60.0


@dataclass(frozen=True)
class LearningCurve:
    """Metric by train rows, ascending; the last point is the model itself. `note` says why points are absent."""

    metric: str
    points: list[tuple[int, Interval]]
    note: str = ""


def learning_curve(
    pipeline: Any,
    features: pd.DataFrame,
    test: pd.DataFrame,
    truth: NDArray[Any],
    project: Project,
) -> LearningCurve | None:
    """The curve of the fitted `pipeline`, whose settings are fitted again; `test` rows have the labels `truth`.

    The parts are drawn by chance, but whole groups of a split by group and the newest rows of a split by time. None
    where it was switched off or, unless asked for, where the train rows are many.
    """
    wanted = project.evaluation.learning_curve
    train = features[features["_split"] == TRAIN]
    names = list(project.feature_columns)
    is_large = len(train) * len(names) > MOST_CELLS
    if wanted is False or (wanted is None and is_large) or not is_refittable(pipeline):
        return None
    labels = truth_of(train, project)
    most = _MOST_SECONDS_ASKED if wanted else _MOST_SECONDS
    chosen = sample(len(test), project.evaluation.sample, project.training.seed)
    shown, held = test[names].iloc[chosen], truth[chosen]
    classes = sorted({*map(str, held), *map(str, labels)}) if project.is_classification else None
    order = _order(train, project)
    points: list[tuple[int, Interval]] = []
    note, began = "", time.monotonic()
    for share in SHARES:
        part = order[: int(np.ceil(share * len(train)))]
        if len(part) < FEWEST_ROWS or (project.is_classification and len(np.unique(labels[part])) < 2):
            continue
        # A fit on twice the rows takes about twice as long.
        if (spent := time.monotonic() - began) * 2 > most and points:
            note = f"stopped after {spent:.1f} s: larger parts would take longer"
            break
        again = clone(pipeline).fit(train[names].iloc[part], labels[part])
        points.append((len(part), _measured(held, outputs(again, shown, project, classes), project)))
    if not points:
        return None
    points.append((len(train), _measured(held, outputs(pipeline, shown, project, classes), project)))
    return LearningCurve(project.metric, points, note)


def _order(train: pd.DataFrame, project: Project) -> NDArray[Any]:
    """Positions of the train rows, of which a part is the first ones."""
    rng = np.random.default_rng(project.training.seed)
    kind = project.training.split.kind
    if kind == "time":
        return np.arange(len(train))[::-1]
    if kind == "group":
        codes = pd.factorize(train["_group"].astype("string").fillna(""))[0]
        return np.argsort(rng.permutation(codes.max() + 1)[codes], kind="stable")
    return rng.permutation(len(train))


def _measured(truth: NDArray[Any], found: Outputs, project: Project) -> Interval:
    name = project.metric
    weighted = {name: metrics.weighted_metrics(truth, found)[name]}
    drawn = metrics.draws(weighted, len(truth), seed=project.training.seed, resamples=200)[name]
    return metrics.interval_of(metrics.value(name, truth, found), drawn)
