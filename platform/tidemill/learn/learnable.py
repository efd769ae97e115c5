"""What can be learnt from at all: the labels of train rows, and why a training is refused before it begins.

Here belongs every reason that can be seen in the rows alone. What fails in a fit is told by `learn/search.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.errors import InvalidInput
from tidemill.project import Project

FEWEST_ROWS = 20


def checked_truth(rows: pd.DataFrame, project: Project, features: pd.DataFrame) -> NDArray[Any]:
    """Labels of the train rows; raises InvalidInput when nothing can be learnt from them."""
    labelled = len(features)
    if labelled < FEWEST_ROWS or len(rows) < FEWEST_ROWS // 2:
        raise InvalidInput(
            "There are too few labelled rows to train on",
            detail=f"project {project.name}: {labelled} labelled rows, {len(rows)} of them for training; "
            f"{FEWEST_ROWS} and {FEWEST_ROWS // 2} are the least",
            remedy="Send more rows whose target is filled in.",
        )
    truth = truth_of(rows, project)
    if not project.is_classification and not np.isfinite(truth).all():
        raise InvalidInput(
            "The target holds values that are not numbers",
            detail=f"project {project.name}: {int((~np.isfinite(truth)).sum())} of {len(rows)} train rows are "
            f"empty or infinite in {project.target!r}",
            remedy="Send those rows again with a number, or without any label.",
        )
    if len(np.unique(truth)) < 2:
        raise InvalidInput(
            "All rows to train on have the same label",
            detail=f"project {project.name}: each of the {len(rows)} train rows is {str(truth[0])!r}",
            remedy="Send rows with at least one other label, or change training.split in project.yaml.",
        )
    if rows[list(project.feature_columns)].isna().all(axis=None):
        raise InvalidInput(
            "Every feature of every row to train on is empty",
            detail=f"project {project.name}: {len(rows)} rows, {len(project.feature_columns)} features",
            remedy="Send rows with values, or correct the columns in project.yaml.",
        )
    if project.task == "binary":
        _check_binary(sorted(set(truth_of(features, project))), project)
    return truth


def _check_binary(classes: list[str], project: Project) -> None:
    shown = ", ".join(repr(str(name)) for name in classes[:10])
    if len(classes) != 2:
        raise InvalidInput(
            "A binary task has two classes",
            detail=f"project {project.name}: the labels of {project.target!r} are {shown}",
            remedy="Set task to multiclass in project.yaml, or correct the labels.",
        )
    positive = project.labels.positive
    if positive is not None and positive not in classes:
        raise InvalidInput(
            "The positive class does not occur",
            detail=f"project {project.name}: labels.positive is {positive!r}, the labels are {shown}",
            remedy="Name one of them under labels.positive in project.yaml.",
        )


def truth_of(rows: pd.DataFrame, project: Project) -> NDArray[Any]:
    """`_label` as an array of str, or of float64 for a regression."""
    if project.is_classification:
        return np.array(rows["_label"].astype(str).tolist(), dtype=str)
    return rows["_label"].to_numpy(dtype=np.float64)
