"""When more labels stop changing what the model says.

Stabilising predictions (Bloodgood & Vijay-Shanker, 2009, A method for stopping active learning based on stabilizing
predictions and the need for user-adjustable stopping): a fixed set of rows, whose labels need not be known, is
predicted by each model in turn. When Cohen's kappa of two successive models is at least 0.99 three times running,
new labels no longer change the model. For numbers, which the paper does not treat, Lin's concordance correlation
stands in for kappa.

It says that labelling more *of the same* is of little use; it does not say that the model is good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.home import Home
from tidemill.learn.bundle import load_model
from tidemill.learn.bundle_info import BundleInfo, list_bundles
from tidemill.learn.features import share_of
from tidemill.learn.scoring import outputs
from tidemill.project import Project
from tidemill.store.tables import TableStore

STABLE = 0.99
TIMES = 3
# The paper's stop sets have 2,000 rows.
STOP_ROWS = 2_000


@dataclass(frozen=True)
class Stability:
    """`kappas` of successive models, oldest first; `stop` says that labelling can rest, `text` why or why not."""

    kappas: list[float]
    models: list[int]
    rows: int
    stop: bool
    text: str


def stability(home: Home, project: Project) -> Stability:
    """How far the newest models agree on the stop set: models that were made from different labels."""
    models = _different(list_bundles(home.models(project.name)))[-(TIMES + 1) :]
    raw = TableStore(home.tables(project.name)).current("raw")
    if len(models) <= TIMES or raw is None:
        text = (
            f"{len(models)} models from different labels; {TIMES + 1} are needed to see whether they settle."
        )
        return Stability([], [info.version for info in models], 0, False, text)
    rows = stop_set(raw.to_pandas(), project)
    said = [
        outputs(load_model(home.models(project.name), info.version), rows, project).labels for info in models
    ]
    return judge([agreement(one, other) for one, other in pairwise(said)], models, len(rows))


def judge(kappas: Sequence[float], models: Sequence[BundleInfo], rows: int) -> Stability:
    """The verdict on the agreement of successive models."""
    last = list(kappas)[-TIMES:]
    stop = len(last) == TIMES and min(last) >= STABLE
    shown = ", ".join(f"{each:.3f}" for each in last)
    text = f"Successive models agree by kappa {shown} on {rows} rows: " + (
        "more labels of this kind would change little."
        if stop
        else f"labels still change the model (below {STABLE} at least once)."
    )
    return Stability(list(kappas), [info.version for info in models], rows, stop, text)


def stop_set(rows: pd.DataFrame, project: Project) -> pd.DataFrame:
    """Up to 2,000 rows, the same as long as they are there, whatever is added."""
    keys = np.array([share_of(f"stop:{row}", project.training.seed) for row in rows["_row"]])
    return rows.iloc[np.sort(np.argsort(keys, kind="stable")[:STOP_ROWS])].reset_index(drop=True)


def agreement(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Cohen's kappa of two models' labels, or Lin's concordance (1989) of their numbers; 1 where they are equal."""
    if np.array_equal(one, other):
        return 1.0
    if one.dtype.kind == "f":
        apart = float(np.mean((one - other) ** 2))
        return 1.0 - apart / float(one.var() + other.var() + (one.mean() - other.mean()) ** 2)
    names, codes = np.unique(np.concatenate([one, other]), return_inverse=True)
    first, second = (np.bincount(part, minlength=len(names)) / len(one) for part in np.split(codes, 2))
    chance = float(first @ second)
    agreed = float(np.mean(one == other))
    return (agreed - chance) / (1 - chance) if chance < 1 else 1.0


def _different(bundles: Sequence[BundleInfo]) -> list[BundleInfo]:
    """The models without those that were made from the same labels as the one before."""
    kept: list[BundleInfo] = []
    for info in bundles:
        if not kept or info.provenance.get("labels") != kept[-1].provenance.get("labels"):
            kept.append(info)
    return kept
