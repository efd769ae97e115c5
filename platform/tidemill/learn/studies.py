"""The studies of a model: what stands behind its metrics, on rows enough to tell and few enough to be quick.

Here belongs which studies are made of which rows. Each is in its own module: calibration, slices, fairness,
importance, residuals, learning curve, overfitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tidemill.learn import calibration
from tidemill.learn.evaluation import Evaluation
from tidemill.learn.fairness import fairness
from tidemill.learn.features import TEST, TRAIN
from tidemill.learn.importance import importances, sample
from tidemill.learn.learnable import truth_of
from tidemill.learn.learning_curve import learning_curve
from tidemill.learn.overfitting import gaps
from tidemill.learn.residuals import residuals_by_column
from tidemill.learn.scoring import Outputs, outputs, take
from tidemill.learn.slices import slices
from tidemill.learn.training import THREADS
from tidemill.project import Project


def study(
    pipeline: Any,
    features: pd.DataFrame,
    project: Project,
    evaluation: Evaluation,
    *,
    cv_scores: Sequence[float] = (),
) -> Evaluation:
    """`evaluation` with all studies of the fitted `pipeline` that the task and `project.evaluation` ask for.

    `cv_scores` are the search's own, of the project's metric on each fold. Slices, importance, gaps and learning
    curve look at `project.evaluation.sample` rows at most.
    """
    seed, most = project.training.seed, project.evaluation.sample
    test = features[features["_split"] == TEST].reset_index(drop=True)
    truth = truth_of(test, project)
    with threadpool_limits(limits=THREADS):
        found = _answers(pipeline, test, truth, project)
        chosen = sample(len(test), most, seed)
        few, few_truth = test.iloc[chosen].reset_index(drop=True), truth[chosen]
        few_found = take(found, chosen)
        curve = learning_curve(pipeline, features, few, few_truth, project)
        by_chance = calibration.measure(truth, found, seed=seed) if project.is_classification else None
        return replace(
            evaluation,
            calibration_error=asdict(by_chance) if by_chance is not None else None,
            slices=[asdict(one) for one in slices(few, few_truth, few_found, project)],
            fairness=[asdict(one) for one in fairness(test, truth, found, project)],
            importance=asdict(importances(pipeline, few, few_truth, project)),
            residuals_by=[]
            if project.is_classification
            else [asdict(one) for one in residuals_by_column(test, truth, found.labels, project)],
            learning_curve=_plain(asdict(curve)) if curve is not None else None,
            gaps=_gaps(pipeline, features, (truth, found), cv_scores, project, evaluation),
            studied_rows=len(few),
        )


def _gaps(
    pipeline: Any,
    features: pd.DataFrame,
    test: tuple[NDArray[Any], Outputs],
    cv_scores: Sequence[float],
    project: Project,
    evaluation: Evaluation,
) -> dict[str, Any]:
    train = features[features["_split"] == TRAIN]
    train = train.iloc[sample(len(train), project.evaluation.sample, project.training.seed)]
    labels = truth_of(train, project)
    known = (labels, _answers(pipeline, train, labels, project))
    return asdict(gaps(known, test, cv_scores, evaluation.baseline[project.metric], project))


def _answers(pipeline: Any, rows: pd.DataFrame, truth: NDArray[Any], project: Project) -> Outputs:
    classes = sorted({*map(str, truth), *map(str, pipeline.classes_)}) if project.is_classification else None
    return outputs(pipeline, rows[list(project.feature_columns)], project, classes)


def _plain(curve: dict[str, Any]) -> dict[str, Any]:
    """The points as JSON gives them back: lists."""
    return {**curve, "points": [list(point) for point in curve["points"]]}
