"""Folds of cross-validation in keeping with the split of a project.

Here belongs which train rows are held out together. What is fitted on them is in `learn/training.py`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from tidemill.errors import InvalidInput
from tidemill.project import Project

Fold = tuple[NDArray[Any], NDArray[Any]]


def usable_folds(rows: pd.DataFrame, truth: NDArray[Any], project: Project, notes: list[str]) -> list[Fold]:
    """Positions of the rows fitted on and held out, for each fold that has two classes (or rows) on both sides.

    By group, by time (past predicts future), else stratified or shuffled. What is left out is added to `notes`.
    Raises InvalidInput when no fold is left.
    """
    folds = _folds(rows, truth, project, notes)
    if project.is_classification:
        usable = [fold for fold in folds if all(len(np.unique(truth[side])) > 1 for side in fold)]
    else:
        usable = [fold for fold in folds if all(len(side) > 1 for side in fold)]
    if len(usable) < len(folds):
        notes.append(f"{len(folds) - len(usable)} of {len(folds)} folds had one class only: left out")
    if not usable:
        raise InvalidInput(
            "Cross-validation is not possible on these rows",
            detail=f"project {project.name}: no fold has at least two classes on both sides",
            remedy="Send more labelled rows, or lower training.folds or change training.split in project.yaml.",
        )
    return usable


def _folds(rows: pd.DataFrame, truth: NDArray[Any], project: Project, notes: list[str]) -> list[Fold]:
    """Folds in keeping with the split: by group, by time (past predicts future), else stratified or shuffled."""
    seed, wanted = project.training.seed, project.training.folds
    kind = project.training.split.kind
    if kind == "time":
        return list(TimeSeriesSplit(n_splits=min(wanted, len(rows) - 1)).split(rows))
    if kind == "group":
        groups = rows["_group"].astype("string").fillna("").to_numpy(dtype=object)
        count = min(wanted, len(set(groups)))
        if count < 2:
            raise InvalidInput(
                "Cross-validation by group needs two groups",
                detail=f"project {project.name}: all {len(rows)} train rows are of one group",
                remedy="Send rows of more groups, or set training.split.kind to random in project.yaml.",
            )
        if project.is_classification:
            with warnings.catch_warnings():
                # A class rarer than the folds is noted through the folds that it leaves unusable.
                warnings.filterwarnings("ignore", "The least populated class", UserWarning)
                grouped = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
                return list(grouped.split(rows, truth, groups))
        return list(GroupKFold(n_splits=count).split(rows, truth, groups))
    if not project.is_classification:
        return list(KFold(min(wanted, len(rows)), shuffle=True, random_state=seed).split(rows))
    rarest = int(np.unique(truth, return_counts=True)[1].min())
    if rarest < wanted:
        notes.append(f"the rarest class has {rarest} train rows, fewer than the {wanted} folds")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        commonest = int(np.unique(truth, return_counts=True)[1].max())
        stratified = StratifiedKFold(min(wanted, commonest), shuffle=True, random_state=seed)
        return list(stratified.split(rows, truth))
