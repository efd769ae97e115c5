"""Groups of rows by one column: each value, bins of a number, stretches of time, missing or not.

Here belongs cutting rows into named groups. What is measured in them is `learn/slices.py`, `learn/fairness.py` and
`learn/residuals.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.labels.column import label_text
from tidemill.learn.features import ASKED
from tidemill.project import NUMERIC, TEMPORAL, Project

BINS = 4
MOST_VALUES = 20
MISSING = "(missing)"
PRESENT = "(not missing)"
OTHERS = "(other values)"


@dataclass(frozen=True)
class Group:
    """Some rows: those where `column` is `name`; `rows` is a mask."""

    column: str
    name: str
    rows: NDArray[Any]


def column_of(features: pd.DataFrame, name: str) -> pd.Series[Any] | None:
    """A column of the features table, whether a feature or only asked about; None when it is not there."""
    for held in (name, ASKED + name):
        if held in features.columns:
            return features[held]
    return None


def groups_of(values: pd.Series[Any], name: str, kind: str) -> list[Group]:
    """The rows of a column of type `kind`, cut: numbers and times into quantile bins, others by value. Numbers of
    so few values that each can have a group, such as a flag of 0 and 1, are by value as well.

    At most MOST_VALUES values, the commonest; the rest are one group. Rows without a value are another.
    """
    missing = values.isna().to_numpy(dtype=bool)
    if missing.all():
        return []
    is_code = kind in NUMERIC and values.nunique() <= BINS
    cut = _bins if kind in NUMERIC | TEMPORAL and not is_code else _values
    found = cut(values, name, missing)
    return [*found, Group(name, MISSING, missing)] if missing.any() else found


def missing_or_not(values: pd.Series[Any], name: str) -> list[Group]:
    """Two groups where some values are missing, else none."""
    missing = values.isna().to_numpy(dtype=bool)
    if missing.all() or not missing.any():
        return []
    return [Group(name, MISSING, missing), Group(name, PRESENT, ~missing)]


def kind_of(name: str, project: Project) -> str:
    """The type of a column of the project; a column that the project does not know is taken as a category."""
    return project.columns[name].type if name in project.columns else "category"


def _values(values: pd.Series[Any], name: str, missing: NDArray[Any]) -> list[Group]:
    texts = values[~missing].map(label_text)
    counts = texts.value_counts()
    common = [str(value) for value in counts.index[:MOST_VALUES]]
    shown = np.full(len(values), "", dtype=object)
    shown[~missing] = texts.to_numpy(dtype=object)
    found = [Group(name, value, (shown == value) & ~missing) for value in common]
    if len(counts) > MOST_VALUES:
        found.append(Group(name, OTHERS, ~missing & ~np.isin(shown.astype(str), common)))
    return found


def _bins(values: pd.Series[Any], name: str, missing: NDArray[Any]) -> list[Group]:
    known = values[~missing]
    is_time = not pd.api.types.is_numeric_dtype(known)
    if is_time:
        known = pd.to_datetime(known, utc=True)
    numbers = known.astype("int64" if is_time else "float64").to_numpy()
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1), method="closest_observation"))
    places = np.full(len(values), -1)
    # A bin holds its upper edge, as in "up to".
    places[~missing] = np.clip(np.searchsorted(edges[1:], numbers, side="left"), 0, max(len(edges) - 2, 0))
    found = []
    for index in range(max(len(edges) - 1, 1)):
        rows = places == index
        inside = known[rows[~missing]]
        if len(inside):
            low, high = _shown(inside.min(), is_time), _shown(inside.max(), is_time)
            found.append(Group(name, low if low == high else f"{low} to {high}", rows))
    return found


def _shown(value: Any, is_time: bool) -> str:
    if not is_time:
        return f"{float(value):.6g}"
    moment = pd.Timestamp(value)
    return moment.strftime("%Y-%m-%d" if moment == moment.normalize() else "%Y-%m-%d %H:%M")
