"""Binning: one column's values as counts in bins that the reference rows fix.

Here belong the bins of each kind of column and the turning of values into bin numbers. Statistics over counts
belong to `monitor/drift.py`.

Numbers and times: the reference's deciles, open at both ends. Probabilities: ten equal widths, because a confident
model's deciles lie within a hair of 0 and 1. Categories: the reference's own, most frequent first. Free text: the
deciles of its length. Every binning ends with a bin for missing values, that of categories with `other` before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.project import CATEGORICAL, TEMPORAL, Column

Kind = Literal["number", "time", "text", "category", "boolean", "probability"]
# pandas' stubs give arrays of any number type; all are float64 here.
Numbers = NDArray[Any]

DECILES = 10
MOST_CATEGORIES = 50
MISSING = "missing"
OTHER = "other"


@dataclass(frozen=True)
class Binning:
    """Bins of one column. `edges` are the inner ends (a value on an edge lies below it) for ordered kinds."""

    column: str
    kind: Kind
    edges: Numbers
    categories: list[str]
    labels: list[str]

    @property
    def size(self) -> int:
        return len(self.labels)

    @property
    def ordered(self) -> bool:
        return self.kind not in ("category", "boolean")

    def codes(self, values: pd.Series) -> NDArray[np.intp]:
        """Bin number of each value."""
        if self.ordered:
            numbers = as_numbers(values, self.kind)
            codes = np.searchsorted(self.edges, numbers, side="left")
            return np.where(np.isnan(numbers), self.size - 1, codes)
        texts = as_texts(values, self.kind)
        codes = pd.Index(self.categories).get_indexer(pd.Index(texts.fillna("")))
        codes = np.where(codes < 0, self.size - 2, codes)
        return np.where(texts.isna().to_numpy(), self.size - 1, codes)

    def counts(self, values: pd.Series) -> NDArray[np.int64]:
        """Number of values in each bin."""
        return np.bincount(self.codes(values), minlength=self.size).astype(np.int64)


def kind_of(column: Column) -> Kind:
    """How a column of the contract is binned."""
    if column.type == "boolean":
        return "boolean"
    if column.type in CATEGORICAL:
        return "category"
    if column.type in TEMPORAL:
        return "time"
    return "text" if column.type == "text" else "number"


def make_binning(name: str, kind: Kind, reference: pd.Series) -> Binning:
    """The bins that the `reference` values of a column fix."""
    nothing = np.array([], dtype=np.float64)
    if kind in ("category", "boolean"):
        texts = as_texts(reference, kind)
        frequent = [str(value) for value in texts.dropna().value_counts().index[:MOST_CATEGORIES]]
        return Binning(name, kind, nothing, frequent, [*frequent, OTHER, MISSING])
    if kind == "probability":
        edges = np.linspace(0.0, 1.0, DECILES + 1)[1:-1]
    else:
        numbers = as_numbers(reference, kind)
        known = numbers[~np.isnan(numbers)]
        shares = np.linspace(0, 1, DECILES + 1)[1:-1]
        edges = np.unique(np.quantile(known, shares, method="lower")) if len(known) else nothing
        # An edge at the largest value would make a bin that no reference row can be in.
        edges = edges[edges < known.max()] if len(known) else nothing
        if len(known) and len(edges) == 0:
            edges = _around_constant(float(known[0]))
    return Binning(name, kind, edges, [], [*_labels(edges, kind), MISSING])


def _around_constant(value: float) -> Numbers:
    """Edges just below and at a value that never changed, so that any other value shows."""
    return np.array([np.nextafter(value, -np.inf), value])


def as_numbers(values: pd.Series, kind: Kind) -> Numbers:
    """Values of an ordered column as floats: seconds since 1970 for times, characters for text, NaN for missing."""
    if kind == "text":
        return values.astype("string").str.len().to_numpy(dtype=np.float64, na_value=np.nan)
    if kind == "time":
        moments = pd.to_datetime(values, utc=True, errors="coerce")
        seconds = (moments - pd.Timestamp("1970-01-01", tz="UTC")).dt.total_seconds()
        return seconds.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = pd.to_numeric(values, errors="coerce").astype("Float64")
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def as_texts(values: pd.Series, kind: Kind) -> pd.Series:
    """Values of a category as text, missing ones as NA; booleans as `true` and `false`."""
    texts = values.astype("string")
    return texts.str.lower() if kind == "boolean" else texts


def _labels(edges: Sequence[float] | Numbers, kind: Kind) -> list[str]:
    shown = [_shown(float(edge), kind) for edge in edges]
    if not shown:
        return ["any value"]
    between = [f"{low} to {high}" for low, high in pairwise(shown)]
    return [f"≤ {shown[0]}", *between, f"> {shown[-1]}"]


def _shown(edge: float, kind: Kind) -> str:
    if kind == "time":
        return pd.Timestamp(edge, unit="s").strftime("%Y-%m-%d %H:%M")
    return f"{edge:.4g}"
