"""Slices: where among the held-out rows a model does worse than elsewhere.

Here belongs the metric per group of rows. Cutting rows into groups is `learn/groups.py`; comparing groups of people
is `learn/fairness.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from tidemill.learn import metrics
from tidemill.learn.groups import OTHERS, Group, column_of, groups_of, kind_of, missing_or_not
from tidemill.learn.metrics import Interval
from tidemill.learn.scoring import Outputs, take
from tidemill.project import CATEGORICAL, SMALLER_IS_BETTER, Project

# Fewer rows, or fewer of a class, say nothing of a slice.
FEWEST_ROWS = 30
FEWEST_OF_CLASS = 5
MOST_SLICES = 200
_CELLS = 200_000
_Z = 1.959963984540054


@dataclass(frozen=True)
class Slice:
    """The metric where `column` is `name`, and on all other rows.

    `worse_by` is positive where the slice is worse than the rest; its interval is the bootstrap's by the normal
    curve. `p` is two-sided and adjusted by Holm for all slices that were judged. Of a slice too small to judge, or
    of one class only, there are the rows alone, and `note` says so.
    """

    column: str
    name: str
    rows: int
    metric: Interval | None = None
    rest: float | None = None
    worse_by: Interval | None = None
    p: float | None = None
    is_worse: bool = False
    note: str = ""


def slices(rows: pd.DataFrame, truth: NDArray[Any], found: Outputs, project: Project) -> list[Slice]:
    """Every slice of `rows` (held-out, with their `truth` and answers), those surely worse first.

    The order is by the smallest loss that the interval allows, so that a small slice does not lead by luck; what is
    too small to judge comes last.
    """
    spread = _spread(truth, found, np.ones(len(rows), dtype=bool), project)
    judged: list[Slice] = []
    left: list[Slice] = []
    for group in _groups(rows, project):
        one = _slice(group, truth, found, project, spread)
        (judged if one.worse_by is not None else left).append(one)
    judged.sort(key=lambda one: -(one.worse_by.low if one.worse_by is not None else 0.0))
    left.sort(key=lambda one: -one.rows)
    return [*_adjusted(judged), *left][:MOST_SLICES]


def _groups(rows: pd.DataFrame, project: Project) -> Iterator[Group]:
    if "_time" in rows.columns:
        yield from _telling(groups_of(rows["_time"], project.by_role("time")[0], "datetime"), len(rows))
    for name, column in project.feature_columns.items():
        if name in project.evaluation.slices:
            continue
        if column.type in CATEGORICAL | {"boolean"}:
            # Where each row has a value of its own the values are no groups.
            found = groups_of(rows[name], name, column.type)
            others = sum(int(group.rows.sum()) for group in found if group.name == OTHERS)
            yield from _telling(found if others <= len(rows) / 2 else [], len(rows))
        else:
            yield from missing_or_not(rows[name], name)
    for name in project.evaluation.slices:
        values = column_of(rows, name)
        if values is not None:
            yield from _telling(groups_of(values, name, kind_of(name, project)), len(rows))


def _telling(found: list[Group], rows: int) -> list[Group]:
    """Without the group that is all rows."""
    return [group for group in found if int(group.rows.sum()) < rows]


def _slice(group: Group, truth: NDArray[Any], found: Outputs, project: Project, spread: float) -> Slice:
    inside, count = group.rows, int(group.rows.sum())
    plain = Slice(group.column, group.name, count)
    if count < FEWEST_ROWS or len(truth) - count < FEWEST_ROWS:
        return Slice(group.column, group.name, count, note="too few rows to judge")
    if project.is_classification:
        for side in (inside, ~inside):
            classes, counts = np.unique(truth[side], return_counts=True)
            if len(classes) < 2 or (len(classes) == 2 and counts.min() < FEWEST_OF_CLASS):
                return Slice(group.column, group.name, count, note="too few rows of a class to judge")
    name, seed = project.metric, project.training.seed
    part = take(found, inside)
    value = metrics.value(name, truth[inside], part)
    rest = metrics.value(name, truth[~inside], take(found, ~inside))
    weighted = {name: metrics.weighted_metrics(truth[inside], part)[name]}
    drawn = metrics.draws(weighted, count, seed=seed, resamples=_resamples(count))[name]
    # The spread of the rest is that of all rows, scaled to its number: a bootstrap of each rest would cost most.
    deviation = float(np.hypot(np.nanstd(drawn), spread * np.sqrt(len(truth) / (len(truth) - count))))
    worse_by = (value - rest) * (1.0 if name in SMALLER_IS_BETTER else -1.0)
    p = float(2 * ndtr(-abs(worse_by) / deviation)) if deviation > 0 else float(worse_by == 0)
    half = _Z * deviation
    return Slice(
        plain.column,
        plain.name,
        count,
        metrics.interval_of(value, drawn),
        rest,
        Interval(worse_by, worse_by - half, worse_by + half),
        p,
    )


def _spread(truth: NDArray[Any], found: Outputs, inside: NDArray[Any], project: Project) -> float:
    weighted = {"all": metrics.weighted_metrics(truth[inside], take(found, inside))[project.metric]}
    count = int(inside.sum())
    drawn = metrics.draws(weighted, count, seed=project.training.seed, resamples=_resamples(count))
    return float(np.nanstd(drawn["all"]))


def _resamples(rows: int) -> int:
    return int(np.clip(_CELLS // rows, 100, 200))


def _adjusted(judged: list[Slice]) -> list[Slice]:
    ps = holm([one.p if one.p is not None else 1.0 for one in judged])
    return [
        Slice(**{**vars(one), "p": p, "is_worse": p < 0.05 and one.worse_by.value > 0})
        for one, p in zip(judged, ps, strict=True)
        if one.worse_by is not None
    ]


def holm(ps: list[float]) -> list[float]:
    """P-values adjusted for their number by Holm (1979): the chance of one false alarm among all is kept."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(np.argsort(ps, kind="stable")):
        largest = max(largest, min(1.0, ps[index] * (len(ps) - rank)))
        adjusted[index] = largest
    return adjusted
