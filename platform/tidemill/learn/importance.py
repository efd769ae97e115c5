"""Permutation importance: how much worse a model does when one column's values are shuffled among the rows.

Here belong the importance and the notes that keep it from being misread. It tells what this model leans on, not
what causes the outcome.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from tidemill.learn import metrics
from tidemill.learn.scoring import outputs, take
from tidemill.project import NUMERIC, SMALLER_IS_BETTER, Project

REPEATS = 5
CORRELATED = 0.7
# Predicted rows in all, which keeps wide tables to some seconds.
_WORK = 50_000
_FEWEST_ROWS = 200
_ROWS_AT_ONCE = 20_000
_MOST_SECONDS = 20.0


@dataclass(frozen=True)
class Importance:
    """Mean `drop` of the metric over the repeats (positive: the column helps) and its spread `std`.

    `correlated` names the columns that move with this one: the model can read the one from the other, so each alone
    looks less important than they are together.
    """

    column: str
    drop: float
    std: float
    correlated: list[str]


@dataclass(frozen=True)
class Importances:
    """The columns, the most important first; `columns_left_out` could not be looked at in the time."""

    metric: str
    rows: int
    repeats: int
    columns: list[Importance]
    columns_left_out: list[str]


def importances(pipeline: Any, rows: pd.DataFrame, truth: NDArray[Any], project: Project) -> Importances:
    """The importance of each feature for `pipeline` on `rows` (held-out), whose labels are `truth`.

    Breiman (2001), as scikit-learn's `permutation_importance`: with the same seed, rows and metric the shuffles are
    the same. Many shuffles are answered in one call. Spread is the population's, as there.
    """
    names = list(project.feature_columns)
    table = rows[names].reset_index(drop=True)
    chosen = sample(len(table), max(_FEWEST_ROWS, _WORK // (REPEATS * len(names))), project.training.seed)
    table, truth = table.iloc[chosen].reset_index(drop=True), truth[chosen]
    classes = sorted({*map(str, truth), *map(str, pipeline.classes_)}) if project.is_classification else None
    orders = _orders(len(table), project.training.seed)
    sign = -1.0 if project.metric in SMALLER_IS_BETTER else 1.0
    whole = metrics.value(project.metric, truth, outputs(pipeline, table, project, classes))
    at_once = max(1, _ROWS_AT_ONCE // (REPEATS * len(table)))
    found: list[tuple[str, float, float]] = []
    began = time.monotonic()
    for start in range(0, len(names), at_once):
        if time.monotonic() - began > _MOST_SECONDS:
            break
        batch = names[start : start + at_once]
        copies = pd.concat([_shuffled(table, name, order) for name in batch for order in orders])
        answers = outputs(pipeline, copies.reset_index(drop=True), project, classes)
        for place, name in enumerate(batch):
            first = place * REPEATS * len(table)
            ends = [first + repeat * len(table) for repeat in range(REPEATS + 1)]
            parts = [take(answers, slice(low, high)) for low, high in pairwise(ends)]
            drops = [sign * (whole - metrics.value(project.metric, truth, part)) for part in parts]
            found.append((name, float(np.mean(drops)), float(np.std(drops))))
    friends = correlated(table, project)
    shown = [Importance(name, drop, std, friends.get(name, [])) for name, drop, std in found]
    shown.sort(key=lambda one: -one.drop)
    return Importances(project.metric, len(table), REPEATS, shown, names[len(found) :])


def sample(rows: int, most: int, seed: int) -> NDArray[Any]:
    """Positions of at most `most` rows, in order; all of them where they are no more."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _orders(rows: int, seed: int) -> list[NDArray[Any]]:
    # scikit-learn draws one seed from the given one, and in each repeat shuffles again what was shuffled before.
    drawn = np.random.RandomState(np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1))
    shuffle, order = np.arange(rows), np.arange(rows)
    orders: list[NDArray[Any]] = []
    for _ in range(REPEATS):
        drawn.shuffle(shuffle)
        order = order[shuffle]
        orders.append(order)
    return orders


def _shuffled(table: pd.DataFrame, name: str, order: NDArray[Any]) -> pd.DataFrame:
    copy = table.copy(deep=False)
    copy[name] = table[name].iloc[order].reset_index(drop=True)
    return copy


def correlated(table: pd.DataFrame, project: Project) -> dict[str, list[str]]:
    """For each column those that move with it: rank correlation (Spearman) of numbers, Cramér's V of categories."""
    numbers: dict[str, NDArray[Any]] = {}
    categories: dict[str, NDArray[Any]] = {}
    for name, column in project.feature_columns.items():
        values = table[name]
        if column.type in NUMERIC | {"boolean"}:
            known: NDArray[Any] = values.astype("float64").to_numpy(dtype=np.float64, na_value=np.nan)
            known = np.where(
                np.isnan(known), np.nanmedian(known) if not np.isnan(known).all() else 0.0, known
            )
            numbers[name] = rankdata(known)
        elif column.type != "text" and 1 < values.nunique() <= 50:
            categories[name] = pd.factorize(values)[0]
    friends: dict[str, list[str]] = {}
    varied = {name: ranks for name, ranks in numbers.items() if ranks.std() > 0}
    if len(varied) > 1:
        near = np.abs(np.corrcoef(np.vstack(list(varied.values()))))
        _befriend(friends, list(varied), near)
    if len(categories) > 1:
        named = list(categories)
        near = np.array([[_cramers_v(categories[a], categories[b]) for b in named] for a in named])
        _befriend(friends, named, near)
    return friends


def _befriend(friends: dict[str, list[str]], names: list[str], near: NDArray[Any]) -> None:
    for index, name in enumerate(names):
        order = np.argsort(-near[index], kind="stable")
        found = [names[other] for other in order if other != index and near[index, other] >= CORRELATED]
        if found:
            friends[name] = found


def _cramers_v(first: NDArray[Any], second: NDArray[Any]) -> float:
    table = pd.crosstab(first, second).to_numpy(dtype=np.float64)
    least = min(table.shape) - 1
    if least < 1:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum() / least))
