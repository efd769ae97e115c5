"""Calibration: the monotone map from what a model says of a class to a probability that can be taken at its word.

Here belongs applying a map, to one number by plain Python and to many by numpy, since the prediction service must
not import scikit-learn. Fitting one, and whether it helps, is in `learn/calibrating.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Beyond this a probability's logit is rounding; the map is flat there.
LEAST = 1e-9


class Calibration:
    """A map as data: {"kind": "sigmoid", "slope", "offset"}, on the logit (Platt 1999 with the logit as score), or
    {"kind": "isotonic", "x": [...], "y": [...]}, straight between its points and flat outside.

    Raises ValueError when the data is no such map. Slopes are positive and y never falls, so order is kept.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._is_sigmoid = document["kind"] == "sigmoid"
        if self._is_sigmoid:
            self._slope, self._offset = float(document["slope"]), float(document["offset"])
            if not (self._slope > 0 and math.isfinite(self._slope) and math.isfinite(self._offset)):
                raise ValueError("a sigmoid calibration needs a positive slope")
            return
        if document["kind"] != "isotonic":
            raise ValueError(f"there is no calibration {document['kind']!r}")
        self._x = [float(value) for value in document["x"]]
        self._y = [float(value) for value in document["y"]]
        steps = [*zip(self._x, self._x[1:], strict=False)]
        falls = any(after < before for before, after in zip(self._y, self._y[1:], strict=False))
        if len(self._x) != len(self._y) or not self._x or falls or any(b <= a for a, b in steps):
            raise ValueError("an isotonic calibration needs points whose x rises and whose y does not fall")

    def one(self, probability: float) -> float:
        """The calibrated probability of one answer."""
        if self._is_sigmoid:
            inside = min(max(probability, LEAST), 1.0 - LEAST)
            value = self._slope * math.log(inside / (1.0 - inside)) + self._offset
            return 1.0 / (1.0 + math.exp(-value)) if value > -700.0 else 0.0
        place = bisect_right(self._x, probability)
        if place == 0:
            return self._y[0]
        if place == len(self._x):
            return self._y[-1]
        x, y = self._x, self._y
        return y[place - 1] + (y[place] - y[place - 1]) * (probability - x[place - 1]) / (
            x[place] - x[place - 1]
        )

    def many(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """The same for an array of float64."""
        if self._is_sigmoid:
            inside = np.clip(probabilities, LEAST, 1.0 - LEAST)
            value = self._slope * np.log(inside / (1.0 - inside)) + self._offset
            with np.errstate(over="ignore"):
                smooth: NDArray[Any] = 1.0 / (1.0 + np.exp(-value))
            return smooth
        straight: NDArray[Any] = np.interp(probabilities, self._x, self._y)
        return straight


class OneVsRest:
    """A map for each of several classes: {"kind": "one_vs_rest", "maps": [map or None, ...]}, in the model's order.

    Each class is put right against the rest, then the row is made to add up to 1 (Zadrozny and Elkan, KDD 2002); a
    class without a map stays as it is. Raises ValueError when the data is no such thing.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        if document["kind"] != "one_vs_rest" or not document["maps"]:
            raise ValueError("a calibration of classes needs a map for each")
        self._maps = [Calibration(one) if one is not None else None for one in document["maps"]]

    def one(self, probabilities: Sequence[float]) -> list[float]:
        """The calibrated probabilities of one row."""
        found = [
            own if calibration is None else calibration.one(own)
            for own, calibration in zip(probabilities, self._maps, strict=True)
        ]
        total = sum(found)
        return [own / total for own in found] if total > 0 else [1.0 / len(found)] * len(found)

    def many(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """The same for rows x classes of float64."""
        found = np.column_stack(
            [
                probabilities[:, place] if calibration is None else calibration.many(probabilities[:, place])
                for place, calibration in enumerate(self._maps)
            ]
        )
        total = found.sum(axis=1, keepdims=True)
        even = np.full_like(found, 1.0 / found.shape[1])
        shared: NDArray[Any] = np.divide(found, total, out=even, where=total > 0)
        return shared
