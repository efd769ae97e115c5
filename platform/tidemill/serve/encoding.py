"""Columns of a compiled scorer: from the value of a checked record to its places in the encoded row.

Here belongs what `learn/encoders.py` and scikit-learn's imputer, scaler, one-hot encoder and TF-IDF do, on plain
values and without those libraries. Each column knows two ways: one value at a time, as pairs of place and number,
and many at once, into a matrix of zeros.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = "(missing)"
LARGEST = 1e38
_WORDS = re.compile(r"(?u)\b\w\w+\b")
_EPOCH = date(1970, 1, 1).toordinal()


class Encoded(ABC):
    """One column of the contract."""

    name: str

    @abstractmethod
    def put(self, value: Any, places: list[int], numbers: list[float]) -> None:
        """Add the places that `value` fills, and what stands there."""

    @abstractmethod
    def fill(self, values: Sequence[Any], matrix: NDArray[Any]) -> None:
        """Write one value a row into `matrix`."""


class Number:
    """One place for a number, with its scaling, and perhaps a second that says whether it was missing."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self._at = int(entry["at"])
        self._shift, self._scale = float(entry["shift"]), float(entry["scale"])
        self._empty = bool(entry["empty"])
        self._fill = math.nan if entry["fill"] is None else float(entry["fill"])
        gap = entry["gap"]
        filled = 0.0 if self._empty else (self._fill - self._shift) / self._scale
        self._places = [self._at] if gap is None else [self._at, int(gap["at"])]
        self._missing = [filled] if gap is None else [filled, float(gap["missing"])]
        self._present = None if gap is None else float(gap["present"])

    def put(self, value: float | None, places: list[int], numbers: list[float]) -> None:
        places += self._places
        if value is None:
            numbers += self._missing
            return
        number = float(value)
        if not -LARGEST <= number <= LARGEST:
            number = math.copysign(LARGEST, number)
        numbers.append(0.0 if self._empty else (number - self._shift) / self._scale)
        if self._present is not None:
            numbers.append(self._present)

    def fill(self, values: NDArray[Any], matrix: NDArray[Any]) -> None:
        """`values` are float64 with NaN where missing."""
        missing = np.isnan(values)
        if self._empty:
            matrix[:, self._at] = 0.0
        else:
            known = np.where(missing, self._fill, np.clip(values, -LARGEST, LARGEST))
            matrix[:, self._at] = (known - self._shift) / self._scale
        if self._present is not None:
            matrix[:, self._places[1]] = np.where(missing, self._missing[1], self._present)


class NumberColumn(Encoded):
    """Integer, float and boolean columns."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.name = str(entry["name"])
        self._number = Number(entry["number"])
        self.put = self._number.put  # type: ignore[method-assign] # one call fewer on the hot path

    def put(self, value: Any, places: list[int], numbers: list[float]) -> None:
        self._number.put(value, places, numbers)

    def fill(self, values: Sequence[Any], matrix: NDArray[Any]) -> None:
        self._number.fill(np.array(values, dtype=np.float64), matrix)


class DateColumn(Encoded):
    """Year, month, day of week, days since 1970 and, of a moment, the hour (see `learn.encoders.DateParts`)."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.name = str(entry["name"])
        self._numbers = [Number(part) for part in entry["numbers"]]

    def put(self, value: Any, places: list[int], numbers: list[float]) -> None:
        for number, part in zip(self._numbers, self._parts(value), strict=True):
            number.put(part, places, numbers)

    def fill(self, values: Sequence[Any], matrix: NDArray[Any]) -> None:
        parts = np.array([self._parts(value) for value in values], dtype=np.float64)
        for index, number in enumerate(self._numbers):
            number.fill(parts[:, index], matrix)

    def _parts(self, value: Any) -> list[int] | list[None]:
        if value is None:
            return [None] * len(self._numbers)
        day = value.toordinal()
        parts = [value.year, value.month, (day - 1) % 7, day - _EPOCH]
        return parts if len(self._numbers) == 4 else [*parts, value.hour]


class CategoryColumn(Encoded):
    """One place for each known value; unknown ones share that of the rare values, if there is one."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.name = str(entry["name"])
        self._known: dict[str, int] = {str(value): int(at) for value, at in entry["known"].items()}
        self._unknown: int | None = entry["unknown"]

    def put(self, value: Any, places: list[int], numbers: list[float]) -> None:
        place = self._known.get(MISSING if value is None else value, self._unknown)
        if place is not None:
            places.append(place)
            numbers.append(1.0)

    def fill(self, values: Sequence[Any], matrix: NDArray[Any]) -> None:
        for row, value in enumerate(values):
            place = self._known.get(MISSING if value is None else value, self._unknown)
            if place is not None:
                matrix[row, place] = 1.0


class TextColumn(Encoded):
    """TF-IDF of words and pairs of words, as scikit-learn's TfidfVectorizer with sublinear counts."""

    def __init__(self, entry: Mapping[str, Any], idf: NDArray[Any]) -> None:
        self.name = str(entry["name"])
        self._at = int(entry["at"])
        self._index = {term: index for index, term in enumerate(entry["terms"])}
        self._idf: list[float] = idf.tolist()

    def put(self, value: Any, places: list[int], numbers: list[float]) -> None:
        if not value or not self._index:
            return
        words = _WORDS.findall(value.lower())
        counts = Counter(words)
        counts.update(f"{first} {second}" for first, second in pairwise(words))
        index = self._index
        found = sorted((index[term], count) for term, count in counts.items() if term in index)
        weights = [(math.log(count) + 1.0) * self._idf[place] for place, count in found]
        length = math.sqrt(sum(weight * weight for weight in weights))
        places += [self._at + place for place, _ in found]
        numbers += [weight / length for weight in weights]

    def fill(self, values: Sequence[Any], matrix: NDArray[Any]) -> None:
        for row, value in enumerate(values):
            places: list[int] = []
            numbers: list[float] = []
            self.put(value, places, numbers)
            matrix[row, places] = numbers


def column(entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Encoded:
    """The column that an entry of a scorer's document describes. Raises KeyError or ValueError for a broken one."""
    kind = entry["kind"]
    if kind == "number":
        return NumberColumn(entry)
    if kind == "date":
        return DateColumn(entry)
    if kind == "category":
        return CategoryColumn(entry)
    if kind == "text":
        return TextColumn(entry, arrays[entry["idf"]])
    raise ValueError(f"a column of an unknown kind: {kind!r}")
