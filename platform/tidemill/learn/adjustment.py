"""Calibration and threshold of a model that was just chosen, from its out-of-fold outputs alone.

Here belongs putting both onto the fitted pipeline; choosing each is in `learn/calibrating.py` and
`learn/adjusting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from tidemill.learn.adjusting import AdjustedModel, choose_threshold
from tidemill.learn.calibrating import choose_calibration, choose_calibrations
from tidemill.learn.folds import Fold
from tidemill.learn.scoring import Outputs, answers, positive_class
from tidemill.project import Project


@dataclass(frozen=True)
class Adjustment:
    """The pipeline with its calibration and threshold, its out-of-fold outputs put right likewise, and what is said
    of both: `threshold` is None unless the task is binary, `calibration` None in a regression, `threshold_choice`
    None unless training.threshold asks for one.
    """

    pipeline: Pipeline
    scored: list[Outputs]
    threshold: float | None = None
    threshold_choice: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None


def adjust(
    pipeline: Pipeline, scored: list[Outputs], truth: NDArray[Any], folds: Sequence[Fold], project: Project
) -> Adjustment:
    """Calibrate a fitted classifier and choose the threshold of a binary one; a regression stays as it is.

    `scored` are the outputs for the held-out rows of each of `folds`, `truth` the labels these count in. The
    out-of-fold scores that come back were each calibrated by the other folds.
    """
    classes = scored[0].classes
    positive = positive_class(classes, project)
    if positive is None:
        return (
            _of_classes(pipeline, scored, truth, folds, project) if classes else Adjustment(pipeline, scored)
        )
    hits = truth[np.concatenate([fold[1] for fold in folds])] == positive
    numbers = np.repeat(np.arange(len(folds)), [len(fold[1]) for fold in folds])
    scores = np.concatenate([found.scores for found in scored])
    calibrating = choose_calibration(project.training.calibration, scores, hits, numbers)
    aim = project.training.threshold
    threshold, choice = project.serving.threshold, None
    if aim is not None:
        threshold, value = choose_threshold(calibrating.values, hits, aim)
        names = ("for", "false_positive", "false_negative") if aim.aim == "cost" else ("for",)
        said = aim.model_dump()
        choice = {**{name: said[name] for name in names}, "threshold": threshold, "out_of_fold": value}
    if calibrating.document is not None or aim is not None:
        chosen = threshold if aim is not None else None
        last = AdjustedModel(pipeline.steps[-1][1], positive, calibrating.document, chosen)
        pipeline = Pipeline([*pipeline.steps[:-1], (pipeline.steps[-1][0], last)])
    parts = []
    for number in range(len(folds)):
        own = calibrating.values[numbers == number]
        pair = np.column_stack([own if name == positive else 1.0 - own for name in classes])
        parts.append(answers(pair, classes, project, threshold))
    return Adjustment(pipeline, parts, threshold, choice, calibrating.said)


def _of_classes(
    pipeline: Pipeline, scored: list[Outputs], truth: NDArray[Any], folds: Sequence[Fold], project: Project
) -> Adjustment:
    """The same for a task without a positive class, which has no threshold."""
    classes = scored[0].classes
    numbers = np.repeat(np.arange(len(folds)), [len(fold[1]) for fold in folds])
    calibrating = choose_calibrations(
        project.training.calibration,
        np.concatenate([found.probabilities for found in scored if found.probabilities is not None]),
        truth[np.concatenate([fold[1] for fold in folds])],
        classes,
        numbers,
    )
    if calibrating.document is None:
        return Adjustment(pipeline, scored, calibration=calibrating.said)
    name, model = pipeline.steps[-1]
    # Maps lie in the model's own order of classes.
    maps = [calibrating.document["maps"][classes.index(str(own))] for own in model.classes_]
    own = [str(name) for name in model.classes_]
    last = AdjustedModel(model, None, {**calibrating.document, "classes": own, "maps": maps}, None)
    parts = [answers(calibrating.values[numbers == number], classes, project) for number in range(len(folds))]
    pipeline = Pipeline([*pipeline.steps[:-1], (name, last)])
    return Adjustment(pipeline, parts, calibration=calibrating.said)
