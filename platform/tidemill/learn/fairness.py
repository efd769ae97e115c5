"""Fairness: how a model treats the groups of a named column, such as sex or district.

Here belong rates per group and their differences, with intervals. Which difference is unjust is people's to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from tidemill.learn.groups import column_of, groups_of, kind_of
from tidemill.learn.metrics import Interval
from tidemill.learn.proportions import difference, wilson
from tidemill.learn.scoring import Outputs
from tidemill.project import Project

# Fewer rows behind a rate: it is shown, and said to be of few rows.
FEW_ROWS = 30
MOST_CLASSES = 5


@dataclass(frozen=True)
class Treatment:
    """One group: its rates by name, each with its interval, the rows behind each, and the differences.

    A difference is the group's rate less the reference group's, which has none.
    """

    name: str
    rows: int
    rates: dict[str, Interval | None]
    counts: dict[str, int]
    differences: dict[str, Interval | None] = field(default_factory=dict)
    few: bool = False


@dataclass(frozen=True)
class Fairness:
    """The groups of `column`, the largest first: it is the `reference`. `outcome` is the class the rates are of.

    `largest` is for each rate the largest difference between two groups that have at least FEW_ROWS rows behind it:
    of the selection rate it is the demographic parity difference, of true and false positive rate together, the
    larger one is the equalized odds difference.
    """

    column: str
    outcome: str | None
    reference: str
    groups: list[Treatment]
    largest: dict[str, float]
    note: str = ""


def fairness(rows: pd.DataFrame, truth: NDArray[Any], found: Outputs, project: Project) -> list[Fairness]:
    """The treatment of the groups of each column under `evaluation.fairness`.

    Classification: selection rate, true and false positive rate (Hardt, Price and Srebro 2016) of the positive
    class, or of each of the commonest classes; shares by Wilson, differences by Newcombe. Regression: mean error
    (prediction less truth) and mean absolute error, by Student and Welch.
    """
    shown = []
    for name in project.evaluation.fairness:
        values = column_of(rows, name)
        if values is None:
            note = "the features table was made before this column was asked about: make the features again"
            shown.append(Fairness(name, None, "", [], {}, note))
            continue
        kind = kind_of(name, project)
        groups = [(group.name, group.rows) for group in groups_of(values, name, kind) if group.rows.any()]
        groups.sort(key=lambda group: -int(group[1].sum()))
        if len(groups) < 2:
            shown.append(Fairness(name, None, "", [], {}, "all held-out rows are of one group"))
        elif found.probabilities is None:
            shown.append(_of_errors(name, groups, truth, found.labels))
        else:
            shown += [_of_class(name, groups, truth, found, outcome) for outcome in _outcomes(truth, found)]
    return shown


def _outcomes(truth: NDArray[Any], found: Outputs) -> list[str]:
    if found.positive is not None:
        return [found.positive]
    names, counts = np.unique(truth, return_counts=True)
    return [str(names[index]) for index in np.argsort(-counts, kind="stable")[:MOST_CLASSES]]


Groups = list[tuple[str, NDArray[Any]]]


def _of_class(column: str, groups: Groups, truth: NDArray[Any], found: Outputs, outcome: str) -> Fairness:
    is_true, is_found = truth == outcome, found.labels == outcome
    treated: list[Treatment] = []
    for name, inside in groups:
        among = {
            "selection_rate": inside,
            "true_positive_rate": inside & is_true,
            "false_positive_rate": inside & ~is_true,
        }
        counts = {rate: int(mask.sum()) for rate, mask in among.items()}
        rates = {
            rate: wilson(int((mask & is_found).sum()), counts[rate]) if counts[rate] else None
            for rate, mask in among.items()
        }
        gaps: dict[str, Interval | None] = {}
        if treated:
            for rate, one in rates.items():
                other = treated[0].rates[rate]
                gaps[rate] = difference(one, other) if one is not None and other is not None else None
        few = min(counts.values()) < FEW_ROWS
        treated.append(Treatment(name, int(inside.sum()), rates, counts, gaps, few))
    return Fairness(column, outcome, treated[0].name, treated, _largest(treated))


def _of_errors(column: str, groups: Groups, truth: NDArray[Any], values: NDArray[Any]) -> Fairness:
    treated: list[Treatment] = []
    errors = {"mean_error": values - truth, "mean_absolute_error": np.abs(values - truth)}
    first = groups[0][1]
    for name, inside in groups:
        rows = int(inside.sum())
        rates: dict[str, Interval | None] = {
            rate: mean_interval(error[inside]) for rate, error in errors.items()
        }
        gaps: dict[str, Interval | None] = {}
        if treated:
            gaps = {rate: _welch(error[inside], error[first]) for rate, error in errors.items()}
        treated.append(Treatment(name, rows, rates, dict.fromkeys(errors, rows), gaps, rows < FEW_ROWS))
    return Fairness(column, None, treated[0].name, treated, _largest(treated))


def mean_interval(values: NDArray[Any]) -> Interval | None:
    """The mean with Student's 95 % interval; None of fewer than two values."""
    count = len(values)
    if count < 2:
        return None
    half = float(stdtrit(count - 1, 0.975) * values.std(ddof=1) / np.sqrt(count))
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half)


def _welch(first: NDArray[Any], second: NDArray[Any]) -> Interval | None:
    if min(len(first), len(second)) < 2:
        return None
    parts = np.array([values.var(ddof=1) / len(values) for values in (first, second)])
    gap = float(first.mean() - second.mean())
    if parts.sum() == 0:
        return Interval(gap, gap, gap)
    freedom = parts.sum() ** 2 / (parts**2 / (np.array([len(first), len(second)]) - 1)).sum()
    half = float(stdtrit(freedom, 0.975) * np.sqrt(parts.sum()))
    return Interval(gap, gap - half, gap + half)


def _largest(treated: list[Treatment]) -> dict[str, float]:
    largest = {}
    for rate in treated[0].rates:
        known = [
            found.value for one in treated if (found := one.rates[rate]) and one.counts[rate] >= FEW_ROWS
        ]
        if len(known) > 1:
            largest[rate] = max(known) - min(known)
    return largest
