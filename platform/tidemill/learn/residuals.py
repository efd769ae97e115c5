"""Residuals of a regression by column: where the model errs to one side.

Here belongs the mean residual per group of rows, and how much of the residuals a column explains. A column that
explains some of them holds something that the model has not learnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from scipy.special import fdtrc

from tidemill.learn.fairness import mean_interval
from tidemill.learn.groups import groups_of
from tidemill.learn.metrics import Interval
from tidemill.learn.slices import holm
from tidemill.project import Project

MOST_COLUMNS = 6


@dataclass(frozen=True)
class ResidualGroup:
    """Rows of one group and their mean residual (truth less prediction); None of fewer than two rows."""

    name: str
    rows: int
    mean: Interval | None


@dataclass(frozen=True)
class ResidualsBy:
    """`explained` is the share of the residuals' variance between the groups (eta squared).

    `p` is of the analysis of variance, adjusted by Holm for the number of columns.
    """

    column: str
    explained: float
    p: float
    groups: list[ResidualGroup]


def residuals_by_column(
    rows: pd.DataFrame, truth: NDArray[Any], values: NDArray[Any], project: Project
) -> list[ResidualsBy]:
    """Residuals by the columns that explain most of them, at most MOST_COLUMNS; numbers are in four bins."""
    residual = truth - values
    found = []
    for name, column in project.feature_columns.items():
        if column.type == "text":
            continue
        groups = [(one.name, one.rows) for one in groups_of(rows[name], name, column.type) if one.rows.any()]
        if 1 < len(groups) < len(rows) / 2:
            explained, p = _anova(residual, [inside for _, inside in groups])
            shown = [
                ResidualGroup(each, int(inside.sum()), mean_interval(residual[inside]))
                for each, inside in groups
            ]
            found.append(ResidualsBy(name, explained, p, shown))
    adjusted = holm([one.p for one in found])
    shown_by = [
        ResidualsBy(one.column, one.explained, p, one.groups) for one, p in zip(found, adjusted, strict=True)
    ]
    return sorted(shown_by, key=lambda one: -one.explained)[:MOST_COLUMNS]


def _anova(residual: NDArray[Any], groups: list[NDArray[Any]]) -> tuple[float, float]:
    total = float(((residual - residual.mean()) ** 2).sum())
    between = sum(float(inside.sum() * (residual[inside].mean() - residual.mean()) ** 2) for inside in groups)
    if total <= 0:
        return 0.0, 1.0
    freedom = len(residual) - len(groups)
    within = total - between
    if within <= 0 or freedom < 1:
        return 1.0, 0.0
    ratio = (between / (len(groups) - 1)) / (within / freedom)
    return between / total, float(fdtrc(len(groups) - 1, freedom, ratio))
