"""Evaluation: how good a model is on the rows that training never saw.

Here belong the held-out metrics and the points of their plots. Drawing is in `learn/plots.py`, judging in
`learn/gate.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics as sk

from tidemill.learn import calibration, metrics
from tidemill.learn.comparison import Comparison
from tidemill.learn.features import TEST, TRAIN
from tidemill.learn.learnable import truth_of
from tidemill.learn.metrics import Interval
from tidemill.learn.scoring import Outputs, outputs
from tidemill.learn.training import Baseline, dummy_of
from tidemill.project import Project

MOST_POINTS = 100
MOST_RESIDUALS = 300
MOST_CURVES = 10

Points = list[list[float]]


@dataclass(frozen=True)
class Evaluation:
    """Metrics on the held-out rows, the dummy's on the same rows, and points for plots.

    `confusion` is {"classes": [...], "counts": [[...]]} with a line per true class. `roc` and `pr` map a class to
    [false positive rate, true positive rate] and [recall, precision]. `calibration` lists, for ten equal bins of
    the positive class's probability, {"predicted", "observed", "low", "high", "rows"}. `residuals` lists
    [predicted, actual].
    `comparison` is with the model that was live. What follows it is from the studies (`learn/studies.py`), as plain
    values of the dataclasses there; `studied_rows` is how many held-out rows the costly ones looked at, and
    `resampled_rows` of how many the intervals of `metrics` were drawn.
    """

    metric: str
    metrics: dict[str, Interval]
    baseline: dict[str, float]
    rows: int
    classes: list[str] = field(default_factory=list)
    positive: str | None = None
    threshold: float | None = None
    confusion: dict[str, Any] | None = None
    roc: dict[str, Points] = field(default_factory=dict)
    pr: dict[str, Points] = field(default_factory=dict)
    calibration: list[dict[str, float]] = field(default_factory=list)
    residuals: Points = field(default_factory=list)
    comparison: Comparison | None = None
    calibration_error: dict[str, Any] | None = None
    slices: list[dict[str, Any]] = field(default_factory=list)
    fairness: list[dict[str, Any]] = field(default_factory=list)
    importance: dict[str, Any] | None = None
    residuals_by: list[dict[str, Any]] = field(default_factory=list)
    learning_curve: dict[str, Any] | None = None
    gaps: dict[str, Any] | None = None
    studied_rows: int = 0
    resampled_rows: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The evaluation that `to_json` gave."""
        intervals = {name: Interval(**value) for name, value in document["metrics"].items()}
        beside = document.get("comparison")
        comparison = Comparison.from_json(beside) if beside is not None else None
        return cls(**{**document, "metrics": intervals, "comparison": comparison})


def evaluate(
    pipeline: Any, features: pd.DataFrame, project: Project, *, baseline: Baseline | None = None
) -> Evaluation:
    """Measure the fitted `pipeline` on the rows of `features` whose `_split` is test.

    `baseline` is the training's; without one a dummy is fitted on the train rows here. Raises InvalidInput when
    the held-out rows are fewer than two or of one class.
    """
    rows = features[features["_split"] == TEST]
    truth = truth_of(rows, project)
    metrics.check_measurable(truth, project.is_classification, "held-out test rows")
    dummy = baseline.model if baseline is not None else _dummy(features, project)
    classes = _classes(truth, pipeline, dummy, project)
    table = rows[list(project.feature_columns)]
    found = outputs(pipeline, table, project, classes)
    return Evaluation(
        metric=project.metric,
        metrics=metrics.intervals(truth, found, seed=project.training.seed),
        baseline=metrics.values(truth, outputs(dummy, table, project, classes)),
        rows=len(rows),
        resampled_rows=min(len(rows), metrics.MOST_RESAMPLED_ROWS),
        **(_classification_points(truth, found) if classes else _regression_points(truth, found)),
    )


def _dummy(features: pd.DataFrame, project: Project) -> Any:
    rows = features[features["_split"] == TRAIN]
    return dummy_of(project).fit(rows[list(project.feature_columns)], truth_of(rows, project))


def _classes(truth: NDArray[Any], pipeline: Any, dummy: Any, project: Project) -> list[str] | None:
    """The classes of model, dummy and truth together: a class the model never saw counts against it."""
    if not project.is_classification:
        return None
    return sorted({str(name) for source in (truth, pipeline.classes_, dummy.classes_) for name in source})


def _classification_points(truth: NDArray[Any], found: Outputs) -> dict[str, Any]:
    assert found.probabilities is not None
    counts = sk.confusion_matrix(truth, found.labels, labels=found.classes)
    common = sorted(found.classes, key=lambda name: -int((truth == name).sum()))
    shown = [found.positive] if found.positive is not None else common
    roc, pr = {}, {}
    for name in [str(name) for name in shown][:MOST_CURVES]:
        is_class = truth == name
        if is_class.any() and not is_class.all():
            score = found.probabilities[:, found.classes.index(name)]
            false_rate, true_rate, _ = sk.roc_curve(is_class, score)
            precision, recall, _ = sk.precision_recall_curve(is_class, score)
            roc[name] = _thin(false_rate, true_rate)
            pr[name] = _thin(recall[::-1], precision[::-1])
    return {
        "classes": found.classes,
        "positive": found.positive,
        "threshold": found.threshold,
        "confusion": {"classes": found.classes, "counts": counts.tolist()},
        "roc": roc,
        "pr": pr,
        "calibration": calibration.curve(truth, found),
    }


def _regression_points(truth: NDArray[Any], found: Outputs) -> dict[str, Any]:
    step = max(1, -(-len(truth) // MOST_RESIDUALS))
    pairs = np.column_stack([found.labels, truth])[::step]
    return {"residuals": pairs.astype(float).tolist()}


def _thin(x: NDArray[Any], y: NDArray[Any]) -> Points:
    """At most MOST_POINTS points of a curve, its ends among them."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int))
    points: Points = np.column_stack([x[keep], y[keep]]).astype(float).tolist()
    return points
