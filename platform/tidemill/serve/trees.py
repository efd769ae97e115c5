"""Walking flat trees exactly as scikit-learn does: forests on float32 values, boosting on float64 with gaps.

Here belongs the walk and the sum over trees, in the order scikit-learn adds, so that sums are equal to the last
bit: forests often give exactly one half. How the trees are laid out is in `learn/compiling.py`.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.serve.leaves import ARRAY, LeafFinder
from tidemill.serve.written_trees import written

# Beyond this, nested tuples (about 150 bytes a node) would take more memory than they save time.
MOST_LISTED = 400_000
# Rows on which onnxruntime has to find the leaves that we find, each time a model is loaded.
PROBES = 12

logger = logging.getLogger(__name__)


# A leaf's number (or list of numbers), or (feature, threshold, left, right, whether gaps go left).
Node = Any


class Trees:
    """All trees of a model. The right child follows the left; a leaf has feature -1 and is its own left child.

    `outputs` are the sums a row has. Forests (`is_mean`) have all outputs at each leaf and are averaged; boosting
    has one tree an output and iteration, added to the baseline. Raises KeyError or ValueError for trees that do not
    hold together: a walk must end, and stay inside.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        outputs: int,
        width: int,
        *,
        is_mean: bool,
        is_float32: bool,
    ) -> None:
        self._feature, self._threshold = arrays["feature"], arrays["threshold"]
        self._left, self._missing_left = arrays["left"], arrays["missing_left"]
        self._value, self._roots = arrays["value"], arrays["roots"]
        self._baseline = arrays["baseline"]
        self._outputs, self._is_mean, self._is_float32 = outputs, is_mean, is_float32
        _check(self._feature, self._left, self._roots, width)
        self._read = np.maximum(self._feature, 0)
        self._offsets: list[float] = [0.0] * outputs if is_mean else self._baseline.ravel().tolist()
        self._written = written(arrays, outputs, width, is_mean=is_mean)
        self._leaf_sums = self._with_baseline()
        self._nested: list[Node] | None = None
        self._finder = self._native(arrays, width)
        if self._finder is None and self._written is None and len(self._feature) <= MOST_LISTED:
            self._nested = self._as_nested()

    def one(self, row: list[float]) -> list[float]:
        """The outputs of one encoded row."""
        if self._is_float32 and (self._written is not None or self._nested is not None):
            row = array("f", row).tolist()
        if self._written is None and self._finder is not None:
            return self._one_native(self._finder, row)
        # What is not a number shows in the sum; looking at each value costs more than an early end saves.
        total = sum(row)
        if self._written is not None and total == total:
            return self._written(row)
        if self._finder is not None:
            return self._one_native(self._finder, row)
        if self._nested is None:
            found: list[float] = self.many(np.array([row]))[0].tolist()
            return found
        leaves = self._plain_leaves(row) if total == total else self._leaves(row)
        if self._outputs == 1:
            only = self._offsets[0]
            for value in leaves:
                only += value
            return [only / len(leaves)] if self._is_mean else [only]
        if not self._is_mean:
            return [
                _added(offset, leaves[place :: self._outputs]) for place, offset in enumerate(self._offsets)
            ]
        return [_added(0.0, column) / len(leaves) for column in zip(*leaves, strict=True)]

    def _native(self, arrays: Mapping[str, NDArray[Any]], width: int) -> LeafFinder | None:
        """What finds leaves at native speed, if the form has it and it finds the leaves that we do."""
        if ARRAY not in arrays:
            return None
        try:
            finder = LeafFinder(arrays[ARRAY].tobytes())
            probe = self._probe(width)
            agrees = np.array_equal(finder(probe), self._walked(probe))
        except (ImportError, ValueError) as error:
            logger.warning("trees are walked in Python: %s", error)
            return None
        if not agrees:
            logger.warning("trees are walked in Python: onnxruntime finds other leaves here")
        return finder if agrees else None

    def _probe(self, width: int) -> NDArray[Any]:
        """Rows that go many ways: at, just above and just below thresholds, and with gaps."""
        random = np.random.default_rng(0)
        inner = self._feature >= 0
        probe = np.zeros((PROBES, width))
        for place in np.unique(self._feature[inner]):
            at = random.choice(self._threshold[self._feature == place], PROBES)
            probe[:, place] = at
            probe[1::3, place] = np.nextafter(at[1::3], np.inf)
            probe[2::3, place] = np.nextafter(at[2::3], -np.inf)
        probe[-1] = 0.0
        probe[-2][random.random(width) < 0.5] = np.nan
        return probe

    def _one_native(self, finder: LeafFinder, row: list[float]) -> list[float]:
        matrix = np.array([row])
        if self._is_float32:
            matrix = matrix.astype(np.float32).astype(np.float64)
        leaves = finder(matrix)
        # cumsum adds one after another, as scikit-learn does.
        if self._is_mean:
            mean: list[float] = (self._leaf_sums.take(leaves[0], 0).cumsum(0)[-1] / len(self._roots)).tolist()
            return mean
        if self._outputs == 1:
            return [float(self._leaf_sums.take(leaves[0]).cumsum()[-1])]
        found: list[float] = self._summed(leaves)[0].tolist()
        return found

    def _with_baseline(self) -> NDArray[Any]:
        """What each leaf adds to the outputs; with one output the baseline is in the first tree's."""
        values = self._value.reshape(len(self._feature), -1)
        if self._is_mean or self._outputs > 1:
            return np.ascontiguousarray(values)
        only = np.array(values[:, 0])
        only[: self._roots[1] if len(self._roots) > 1 else None] += self._offsets[0]
        return only

    def _plain_leaves(self, row: list[float]) -> list[Any]:
        """What each tree says of a row without gaps."""
        leaves = []
        for node in self._nested or ():
            while node.__class__ is tuple:
                feature, threshold, left, right, _ = node
                node = left if row[feature] <= threshold else right
            leaves.append(node)
        return leaves

    def _leaves(self, row: list[float]) -> list[Any]:
        """What each tree says of a row that may have gaps."""
        leaves = []
        for node in self._nested or ():
            while node.__class__ is tuple:
                feature, threshold, left, right, missing_left = node
                value = row[feature]
                node = left if value <= threshold or (value != value and missing_left) else right
            leaves.append(node)
        return leaves

    def _as_nested(self) -> list[Node]:
        """The roots of the trees: a node is a tuple that holds its children, a leaf a number or a list of them."""
        # Children come after their parent, so from the end on they are there when it is made.
        values = self._value.reshape(len(self._feature), -1)
        leaves: list[Any] = values[:, 0].tolist() if values.shape[1] == 1 else values.tolist()
        feature, threshold = self._feature.tolist(), self._threshold.tolist()
        left, missing_left = self._left.tolist(), self._missing_left.tolist()
        nodes: list[Any] = leaves
        for at in range(len(nodes) - 1, -1, -1):
            if feature[at] >= 0:
                child = left[at]
                nodes[at] = (feature[at], threshold[at], nodes[child], nodes[child + 1], missing_left[at])
        return [nodes[root] for root in self._roots.tolist()]

    def many(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """The outputs of encoded rows."""
        if self._is_float32:
            matrix = matrix.astype(np.float32).astype(np.float64)
        return self._summed(self._walked(matrix) if self._finder is None else self._finder(matrix))

    def _walked(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """The leaves of all trees for all rows, one level at a time."""
        rows = np.arange(len(matrix))[:, np.newaxis]
        node = np.broadcast_to(self._roots, (len(matrix), len(self._roots)))
        has_gaps = bool(np.isnan(matrix).any())
        while bool((self._feature[node] >= 0).any()):
            value = matrix[rows, self._read[node]]
            goes_left = value <= self._threshold[node]
            if has_gaps:
                goes_left |= np.isnan(value) & self._missing_left[node]
            node = self._left[node] + ~goes_left
        return node

    def _summed(self, leaves: NDArray[Any]) -> NDArray[Any]:
        # cumsum adds one after another, where sum would add in pairs and round otherwise than scikit-learn. Trees
        # come first, so that each step adds a whole batch.
        values = self._value[leaves.T]
        if self._is_mean:
            mean: NDArray[Any] = values.cumsum(axis=0)[-1] / len(self._roots)
            return mean
        steps = values.reshape(-1, self._outputs, len(leaves)).transpose(0, 2, 1)
        first = np.broadcast_to(self._baseline, (1, len(leaves), self._outputs))
        total: NDArray[Any] = np.concatenate([first, steps]).cumsum(axis=0)[-1]
        return total


def _added(start: float, values: Sequence[float]) -> float:
    # One after another, as scikit-learn adds; sum() of Python 3.12 and later compensates and rounds otherwise.
    for value in values:
        start += value
    return start


def _check(feature: NDArray[Any], left: NDArray[Any], roots: NDArray[Any], width: int) -> None:
    count = len(feature)
    inner = feature >= 0
    own = np.arange(count)
    sound = count > 0 and len(left) == count and len(roots) > 0
    sound = sound and bool((left[inner] > own[inner]).all() and (left[inner] + 1 < count).all())
    sound = sound and bool((left[~inner] == own[~inner]).all() and (feature < width).all())
    if not sound or not bool(((roots >= 0) & (roots < count)).all()):
        raise ValueError("a tree points outside itself, backwards, or at a column that is not there")
