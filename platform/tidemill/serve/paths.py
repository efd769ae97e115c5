"""Paths from the roots of flat trees to their leaves, as Shapley values need them.

Here belong what a leaf asks of each column on its way, and how much each column moves a row's answer because of
it. Which model the trees are of, and what its columns are called, is in `serve/explain.py`; walking trees to an
answer in `serve/trees.py`.

The values are those of TreeSHAP with path-dependent perturbation (Lundberg et al. 2020, "From local explanations to
global understanding", algorithm 2; `shap.TreeExplainer`'s `tree_path_dependent`). A leaf of value v whose path asks
the columns 1..d contributes to column i

    v (o_i - z_i) * integral over t from 0 to 1 of the product over j != i of (z_j (1 - t) + o_j t)

where o_j is 1 when the row meets all that the path asks of column j and z_j is the share of training rows that do.
That integral is Shapley's sum (Owen 1972, "Multilinear extensions of games"), and its integrand is a polynomial of
degree d - 1: Gauss and Legendre's rule is exact for it. So all leaves are worked out at once by numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Leaves that are worked out together: bounds the memory of the tables between, which are leaves x depth.
LOT = 20_000


@dataclass(frozen=True)
class Paths:
    """What some leaves ask. Arrays are leaves x columns on the path; `column` is -1 where a path is shorter.

    A row meets what is asked of a column when `low` < value <= `high`, or when it has none and `gaps`. `share` is
    the share of training rows at the place of asking that go on towards the leaf.
    """

    leaves: NDArray[Any]
    column: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]
    gaps: NDArray[Any]
    share: NDArray[Any]

    @property
    def size(self) -> int:
        return int(self.column.size)

    def met(self, row: NDArray[Any]) -> NDArray[Any]:
        """Whether the row meets what is asked, as leaves x columns; `row` ends with any number for the padding."""
        value = row[self.column]
        met: NDArray[Any] = (value > self.low) & (value <= self.high)
        met |= np.isnan(value) & self.gaps | (self.column < 0)
        return met

    def moved(self, row: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        """Leaves x columns: how far each leaf, of these `values`, moves the row's answer because of each column."""
        met = self.met(row).astype(np.float64)
        points, weights = np.polynomial.legendre.leggauss((self.column.shape[1] + 1) // 2 or 1)
        total = np.zeros_like(met)
        for point, weight in zip((points + 1.0) / 2.0, weights / 2.0, strict=True):
            # Never zero: no share is, and no point is 1.
            factors = self.share * (1.0 - point) + met * point
            total += weight * factors.prod(axis=1, keepdims=True) / factors
        moved: NDArray[Any] = values[:, np.newaxis] * (met - self.share) * total
        return moved


def paths_of(arrays: Mapping[str, NDArray[Any]]) -> Iterator[Paths]:
    """The paths of all trees of a compiled form, short ones first.

    Raises KeyError when the form does not say how many rows were at each node (`cover`), ValueError when one had
    none.
    """
    feature, left, cover = arrays["feature"], arrays["left"], arrays["cover"]
    if not bool((cover > 0).all()):
        raise ValueError("a node of a tree had no training rows")
    inner = np.flatnonzero(feature >= 0)
    parent = np.full(len(feature), -1)
    parent[left[inner]] = inner
    parent[left[inner] + 1] = inner
    depth = np.zeros(len(feature), dtype=np.int64)
    level, below = arrays["roots"], 0
    while len(level):
        depth[level] = below
        asking = level[feature[level] >= 0]
        level, below = np.concatenate([left[asking], left[asking] + 1]), below + 1
    leaves = np.flatnonzero(feature < 0)
    leaves = leaves[np.argsort(depth[leaves], kind="stable")]
    for start in range(0, len(leaves), LOT):
        lot = leaves[start : start + LOT]
        yield _merged(lot, *_climbed(lot, parent, int(depth[lot].max()), arrays))


def _climbed(
    leaves: NDArray[Any], parent: NDArray[Any], depth: int, arrays: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[Any], ...]:
    """Each question on the way from leaf to root: column, low, high, gaps, share. Leaves x depth."""
    shape = (len(leaves), max(depth, 1))
    column = np.full(shape, -1)
    low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
    gaps, share = np.ones(shape, dtype=bool), np.ones(shape)
    node = leaves
    for step in range(depth):
        above = parent[node]
        rows = np.flatnonzero(above >= 0)
        own, asked = node[rows], above[rows]
        goes_left = arrays["left"][asked] == own
        column[rows, step] = arrays["feature"][asked]
        threshold = arrays["threshold"][asked]
        high[rows, step] = np.where(goes_left, threshold, np.inf)
        low[rows, step] = np.where(goes_left, -np.inf, threshold)
        gaps[rows, step] = arrays["missing_left"][asked] == goes_left
        share[rows, step] = arrays["cover"][own] / arrays["cover"][asked]
        node = np.where(above >= 0, above, node)
    return column, low, high, gaps, share


def _merged(
    leaves: NDArray[Any],
    column: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    gaps: NDArray[Any],
    share: NDArray[Any],
) -> Paths:
    """One question a column: a path may ask the same column more than once."""
    order = np.argsort(column, axis=1, kind="stable")[:, ::-1]  # what is padded comes last
    column, low, high, gaps, share = (
        np.take_along_axis(each, order, axis=1) for each in (column, low, high, gaps, share)
    )
    is_first = np.ones(column.shape, dtype=bool)
    is_first[:, 1:] = column[:, 1:] != column[:, :-1]
    starts = np.flatnonzero(is_first)
    row = starts // column.shape[1]
    place = (is_first.cumsum(axis=1) - 1).ravel()[starts]
    width = int(place.max()) + 1
    merged = Paths(
        leaves,
        np.full((len(leaves), width), -1),
        np.full((len(leaves), width), -np.inf),
        np.full((len(leaves), width), np.inf),
        np.ones((len(leaves), width), dtype=bool),
        np.ones((len(leaves), width)),
    )
    merged.column[row, place] = column.ravel()[starts]
    merged.low[row, place] = np.maximum.reduceat(low.ravel(), starts)
    merged.high[row, place] = np.minimum.reduceat(high.ravel(), starts)
    merged.gaps[row, place] = np.logical_and.reduceat(gaps.ravel(), starts)
    merged.share[row, place] = np.multiply.reduceat(share.ravel(), starts)
    return merged
