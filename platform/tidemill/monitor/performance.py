"""Live quality: the live model's metrics on the predictions whose truth is known by now.

Here belongs matching answers with truth into the metrics of `learn/metrics.py`; the join itself is the view
`outcomes` of `store/sql.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.learn import metrics
from tidemill.learn.metrics import Interval
from tidemill.learn.scoring import Outputs, positive_class
from tidemill.project import Project

# Metrics that labels alone give, for predictions logged without probabilities.
BY_LABEL = frozenset({"accuracy", "balanced_accuracy", "f1"})
RESAMPLES = 500


@dataclass(frozen=True)
class Quality:
    """Metrics on `matched` of `rows` predictions. `metrics` is empty when `note` says why there are none.

    `unknown_labels` counts truths that are no class of the model; they are matched, but in no metric.
    """

    rows: int
    matched: int
    unmatched: int
    unknown_labels: int = 0
    metrics: dict[str, Interval] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def live_quality(outcomes: pd.DataFrame, project: Project) -> Quality:
    """Metrics, equal to scikit-learn's on the same rows, with 95 % bootstrap intervals.

    `outcomes` has the view's columns `predicted` and `truth`, for classification `probabilities` (JSON text or a
    dict) as well. With `role`, only the champion's answers count.
    """
    if "role" in outcomes.columns:
        outcomes = outcomes[outcomes["role"] == "champion"]
    known = outcomes[outcomes["truth"].notna() & outcomes["predicted"].notna()]
    quality = Quality(len(outcomes), len(known), len(outcomes) - len(known))
    if len(known) < 2:
        return replace(quality, note="Truth is known for fewer than 2 predictions.")
    if project.is_classification:
        return _classification(known, project, quality)
    truth = known["truth"].to_numpy(dtype=np.float64)
    predicted = known["predicted"].to_numpy(dtype=np.float64)
    found = Outputs(predicted, predicted, None, [], None)
    return replace(quality, metrics=_intervals(truth, found, project))


def _classification(known: pd.DataFrame, project: Project, quality: Quality) -> Quality:
    rows = [
        _parsed(value) for value in known.get("probabilities", pd.Series(None, known.index, dtype=object))
    ]
    predicted: NDArray[Any] = known["predicted"].astype(str).to_numpy(dtype=str)
    truth: NDArray[Any] = known["truth"].astype(str).to_numpy(dtype=str)
    complete = all(rows)
    classes = sorted({name for row in rows for name in row} if complete else {*predicted, *truth})
    usable = np.isin(truth, classes) & np.isin(predicted, classes)
    unknown = int((~usable).sum())
    truth, predicted = truth[usable], predicted[usable]
    if len(set(truth)) < 2:
        return replace(quality, unknown_labels=unknown, note="All known truths have the same label.")
    table = _table([row for row, use in zip(rows, usable, strict=True) if use], classes, predicted, complete)
    positive = positive_class(classes, project)
    scores = table[:, classes.index(positive)] if positive else table.max(axis=1)
    values = _intervals(truth, Outputs(predicted, scores, table, classes, positive), project)
    if not complete:
        values = {name: value for name, value in values.items() if name in BY_LABEL}
    return replace(quality, unknown_labels=unknown, metrics=values)


def _parsed(value: Any) -> dict[str, float]:
    if isinstance(value, str):
        value = json.loads(value)
    return dict(value) if isinstance(value, dict) else {}


def _table(
    rows: list[dict[str, float]], classes: list[str], predicted: NDArray[Any], complete: bool
) -> NDArray[np.float64]:
    """Probabilities, rows x classes; certainty in the answered label where none were logged."""
    if complete:
        return np.array([[row.get(name, 0.0) for name in classes] for row in rows], dtype=np.float64)
    certain: NDArray[np.float64] = (predicted[:, None] == np.array(classes, dtype=str)).astype(np.float64)
    return certain


def _intervals(truth: NDArray[Any], found: Outputs, project: Project) -> dict[str, Interval]:
    return metrics.intervals(truth, found, seed=project.training.seed, resamples=RESAMPLES)
