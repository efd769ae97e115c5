"""How far people agree when they label the same rows.

Here belong the coefficients of agreement beyond chance, each with a bootstrap interval over rows. What is made of
several answers belongs to `labels/consolidation.py`, how single people do to `labels/annotators.py`.

All are 1 for perfect agreement and 0 for that of chance. Where nobody could have disagreed (one label in all
answers, or no row with two answers) a coefficient is not defined, and `value` is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import InvalidInput

Numbers = NDArray[np.float64]
Level = Literal["nominal", "interval"]
Statistic = Callable[[Numbers], Numbers]
"""Takes weights of rows (draws x rows) and gives one value a draw, NaN where it is not defined."""

DRAWS = 1_000
# Weights are drawn in pieces of about this many numbers, so that many rows need little memory.
CHUNK = 2_000_000


@dataclass(frozen=True)
class Agreement:
    """A coefficient with its 95 % percentile interval over `rows` resampled rows."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    rows: int


def krippendorff_alpha(
    answers: Sequence[Mapping[str, str | float]], level: Level = "nominal", *, seed: int = 0
) -> Agreement:
    """Krippendorff's alpha of `answers`: per row, each person's label. People may be missing from rows.

    Krippendorff (2011), Computing Krippendorff's Alpha-Reliability. `level` is `nominal` for classes and
    `interval` for numbers. Rows with fewer than two answers say nothing about agreement and are left out.
    """
    rows = [list(row.values()) for row in answers if len(row) >= 2]
    name = f"krippendorff_alpha_{level}"
    if not rows:
        return Agreement(name, None, None, None, 0)
    many = np.array([len(row) for row in rows], dtype=np.float64)
    if level == "nominal":
        counts = _counts(rows)
        observed = (many**2 - (counts**2).sum(axis=1)) / (many - 1)

        def expected(weights: Numbers, total: Numbers) -> Numbers:
            chance: Numbers = total**2 - ((weights @ counts) ** 2).sum(axis=1)
            return chance

    else:
        # Centred, so that large values far from zero do not cancel each other's digits away.
        middle = float(np.mean([float(value) for row in rows for value in row]))
        values = [np.array(row, dtype=np.float64) - middle for row in rows]
        first = np.array([row.sum() for row in values])
        second = np.array([(row**2).sum() for row in values])
        observed = 2 * (many * second - first**2) / (many - 1)

        def expected(weights: Numbers, total: Numbers) -> Numbers:
            chance: Numbers = 2 * (total * (weights @ second) - (weights @ first) ** 2)
            return chance

    def alpha(weights: Numbers) -> Numbers:
        total = weights @ many
        chance = expected(weights, total)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(chance > 1e-12, 1 - (weights @ observed) * (total - 1) / chance, np.nan)

    return _with_interval(name, alpha, len(rows), seed)


def fleiss_kappa(counts: Sequence[Sequence[int]], *, seed: int = 0) -> Agreement:
    """Fleiss' kappa of a table rows x classes that counts answers.

    Fleiss (1971), Measuring nominal scale agreement among many raters. Raises InvalidInput unless every row has
    the same number of answers, at least two.
    """
    table = np.array(counts, dtype=np.float64)
    if table.ndim != 2 or not len(table) or len(set(table.sum(axis=1))) != 1 or table[0].sum() < 2:
        raise InvalidInput(
            "Fleiss' kappa needs the same number of answers about every row",
            detail="the rows of the table do not have equal sums of at least 2",
            remedy="Use Krippendorff's alpha, which takes rows with fewer answers too.",
        )
    raters = table[0].sum()
    agreeing = ((table**2).sum(axis=1) - raters) / (raters * (raters - 1))

    def kappa(weights: Numbers) -> Numbers:
        rows = weights.sum(axis=1)
        chance = (((weights @ table) / (rows[:, None] * raters)) ** 2).sum(axis=1)
        return _beyond_chance((weights @ agreeing) / rows, chance)

    return _with_interval("fleiss_kappa", kappa, len(table), seed)


def cohen_kappa(first: Sequence[str], second: Sequence[str], *, seed: int = 0) -> Agreement:
    """Cohen's kappa of two people's labels of the same rows, in the same order.

    Cohen (1960), A coefficient of agreement for nominal scales. Raises InvalidInput for unequal lengths.
    """
    if len(first) != len(second):
        raise InvalidInput(
            "Cohen's kappa needs two labels of each row",
            detail=f"{len(first)} labels of the one and {len(second)} of the other",
            remedy="Give the rows that both have labelled.",
        )
    if not first:
        return Agreement("cohen_kappa", None, None, None, 0)
    both = _counts([[label] for label in (*first, *second)])
    one, other = both[: len(first)], both[len(first) :]
    same = (one * other).sum(axis=1)

    def kappa(weights: Numbers) -> Numbers:
        rows = weights.sum(axis=1)
        chance = ((weights @ one) * (weights @ other)).sum(axis=1) / rows**2
        return _beyond_chance((weights @ same) / rows, chance)

    return _with_interval("cohen_kappa", kappa, len(first), seed)


def table_of(answers: Sequence[Mapping[str, str | float]]) -> list[list[int]] | None:
    """The table that Fleiss' kappa takes, or None when rows with two or more answers have unequal numbers."""
    rows = [list(row.values()) for row in answers if len(row) >= 2]
    if not rows or len({len(row) for row in rows}) != 1:
        return None
    return [[int(count) for count in row] for row in _counts(rows)]


def _counts(rows: Sequence[Sequence[str | float]]) -> Numbers:
    """Rows x labels: how often each label was given."""
    names = {name: index for index, name in enumerate(sorted({str(v) for row in rows for v in row}))}
    table = np.zeros((len(rows), len(names)))
    for index, row in enumerate(rows):
        for value in row:
            table[index, names[str(value)]] += 1
    return table


def _beyond_chance(agreed: Numbers, chance: Numbers) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(1 - chance > 1e-12, (agreed - chance) / (1 - chance), np.nan)


def _with_interval(name: str, statistic: Statistic, rows: int, seed: int) -> Agreement:
    value = float(statistic(np.ones((1, rows)))[0])
    if np.isnan(value):
        return Agreement(name, None, None, None, rows)
    rng = np.random.default_rng(seed)
    share = np.full(rows, 1 / rows)
    size = max(1, min(DRAWS, CHUNK // rows))
    drawn: list[Any] = []
    for start in range(0, DRAWS, size):
        weights = rng.multinomial(rows, share, size=min(size, DRAWS - start)).astype(np.float64)
        drawn.append(statistic(weights))
    found = np.concatenate(drawn)
    found = found[~np.isnan(found)]
    low, high = np.quantile(found, [0.025, 0.975]) if len(found) else (value, value)
    return Agreement(name, value, float(low), float(high), rows)
