"""What a fitted pipeline says about rows: labels, probabilities, scores.

Here belongs turning a model's output into Tidemill's terms (positive class, threshold, score). How good it is
belongs to `learn/metrics.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.learn.adjusting import threshold_of
from tidemill.project import Project


@dataclass(frozen=True)
class Outputs:
    """A model's answers for some rows.

    Classification: `labels` (str), `probabilities` (rows x classes, in the order of `classes`) and `scores` (the
    positive class's probability in a binary task, else that of the label). Regression: `values` alone, and
    `scores` are the values. `threshold` is the one that the labels of a binary task were made with.
    """

    labels: NDArray[Any]
    scores: NDArray[Any]
    probabilities: NDArray[Any] | None
    classes: list[str]
    positive: str | None
    threshold: float | None = None


def positive_class(classes: Sequence[str], project: Project) -> str | None:
    """The class that counts as positive: the project's, else the second of two; None unless the task is binary."""
    if project.task != "binary" or len(classes) != 2:
        return None
    return project.labels.positive if project.labels.positive in classes else classes[1]


def outputs(
    model: Any, rows: pd.DataFrame, project: Project, classes: Sequence[str] | None = None
) -> Outputs:
    """The answers of the fitted `model` for `rows` (frame with the contract's features).

    With `classes` the probabilities have exactly these columns: a class the model never saw has probability 0.
    """
    if not project.is_classification:
        values = np.asarray(model.predict(rows), dtype=np.float64)
        return Outputs(values, values, None, [], None)
    own = [str(name) for name in model.classes_]
    probabilities = np.asarray(model.predict_proba(rows), dtype=np.float64)
    if classes is not None and list(classes) != own:
        aligned = np.zeros((len(probabilities), len(classes)))
        for index, name in enumerate(own):
            aligned[:, list(classes).index(name)] = probabilities[:, index]
        probabilities = aligned
    threshold = threshold_of(model, project.serving.threshold)
    return answers(probabilities, list(classes) if classes is not None else own, project, threshold)


def answers(
    probabilities: NDArray[Any], classes: list[str], project: Project, threshold: float | None = None
) -> Outputs:
    """Labels and scores from probabilities: by threshold in a binary task, else the most probable class.

    `threshold` is the model's own; without one it is serving.threshold.
    """
    positive = positive_class(classes, project)
    names = np.array(classes, dtype=str)
    if positive is None:
        best = probabilities.argmax(axis=1)
        scores = probabilities[np.arange(len(best)), best]
        return Outputs(names[best], scores, probabilities, classes, None)
    index = classes.index(positive)
    scores = probabilities[:, index]
    least = project.serving.threshold if threshold is None else threshold
    labels = np.where(scores >= least, names[index], names[1 - index])
    return Outputs(labels, scores, probabilities, classes, positive, least)


def take(found: Outputs, chosen: NDArray[Any] | slice) -> Outputs:
    """The answers for some of the rows, by mask, positions or slice."""
    probabilities = found.probabilities[chosen] if found.probabilities is not None else None
    return replace(
        found, labels=found.labels[chosen], scores=found.scores[chosen], probabilities=probabilities
    )
