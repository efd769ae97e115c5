"""Explanations: how much each field of a record moved the model's answer away from its usual one.

Here belongs what is explained and in which unit, for models that have a compiled form. How trees are taken apart is
in `serve/paths.py`. An explanation is made on demand from the bundle's scorer: a prediction without one pays
nothing.

Linear models are explained exactly: weight x (value - mean over the training rows), in log-odds (Shapley values of
a linear model with independent features; Lundberg & Lee 2017, corollary 1). Trees by TreeSHAP, path-dependent. What
a field of the contract became in the encoder (a place for each category, a scaled number and its gap, the parts of
a date) is added up again. Base value and contributions add up to the model's margin, before calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import NotExplainable, TooLarge
from tidemill.serve.compiled import Form
from tidemill.serve.encoding import column
from tidemill.serve.paths import Paths, paths_of
from tidemill.serve.scorer import Values

# Paths of smaller models are kept between requests (about 33 bytes each); those of larger ones are made anew.
MOST_KEPT = 4_000_000
# Columns on paths times records that one request may ask for: about ten seconds.
MOST_WORK = 60_000_000


@dataclass(frozen=True)
class Explanation:
    """Why a record was answered as it was.

    `label` is the class whose margin is explained (None for a regression): the positive one, or the predicted of
    many. `unit`: log-odds, probability, log-score (log-odds up to a constant shared by all classes) or value.
    `base_value` is the margin of the usual row; with all `contributions` it adds up to `margin`. `calibrated` tells
    that the answer's probability was calibrated after the margin.
    """

    label: str | None
    unit: str
    base_value: float
    contributions: dict[str, float]
    margin: float
    calibrated: bool


class Explainer:
    """Explains the answers of one compiled model. Safe to use from several threads.

    Raises NotExplainable, naming `what`, for a model that cannot be explained.
    """

    def __init__(self, form: Form, what: str) -> None:
        document, arrays = form.document, form.arrays
        self._classes: list[str] | None = document["classes"]
        self._width = int(document["width"])
        self._columns = [column(entry, arrays) for entry in document["columns"]]
        self._fields = [str(entry["name"]) for entry in document["columns"]]
        self._owner = _owners(document["columns"], self._width)
        self._calibrated = "calibration" in document
        model = document["model"]
        self._kind, self._link = model["kind"], model["link"]
        self._is_float32 = self._kind == "forest" or bool(model.get("float32"))
        self._arrays = arrays
        self._outputs = len(arrays["intercept"]) if self._kind == "linear" else int(model["outputs"])
        if ("mean" if self._kind == "linear" else "cover") not in arrays:
            raise not_explainable(what, "it was trained before explanations were kept", "Train again")
        self._paths = [] if self._kind == "linear" else self._kept_paths(what)

    def explain(self, records: Sequence[Values], labels: Sequence[str | None]) -> list[Explanation]:
        """One explanation per record; `labels` name the class to explain, None for a regression.

        Raises TooLarge for more records than can be explained at once.
        """
        if self._kind != "linear" and len(records) * self._size > MOST_WORK:
            raise TooLarge(
                "Too many records to be explained at once",
                detail=f"{len(records)} records; for this model the limit is {max(1, MOST_WORK // self._size)}",
                remedy="Send fewer at once.",
            )
        matrix = np.zeros((len(records), self._width))
        for each in self._columns:
            each.fill([record[each.name] for record in records], matrix)
        outputs = [self._output(label) for label in labels]
        if self._kind == "linear":
            found = [self._of_line(row, *output) for row, output in zip(matrix, outputs, strict=True)]
        else:
            found = self._of_trees(matrix, outputs)
        return [
            Explanation(
                label,
                "value" if self._classes is None else _UNITS[self._link],
                base,
                dict(zip(self._fields, parts.tolist(), strict=True)),
                base + float(parts.sum()),
                self._calibrated,
            )
            for label, (base, parts) in zip(labels, found, strict=True)
        ]

    def _output(self, label: str | None) -> tuple[int, float]:
        """Which of the model's sums says how much it is for `label`, and its sign."""
        if label is None or self._classes is None:
            return 0, 1.0
        at = self._classes.index(label)
        if self._outputs == 1:  # of two classes only the second has a sum
            return 0, 1.0 if at == 1 else -1.0
        return at, 1.0

    def _of_line(self, row: NDArray[Any], output: int, sign: float) -> tuple[float, NDArray[Any]]:
        weights, mean = self._arrays["coef"][output], self._arrays["mean"]
        base = float(weights @ mean + self._arrays["intercept"][output])
        return sign * base, sign * self._by_field(self._owner, weights * (row - mean))

    def _of_trees(
        self, matrix: NDArray[Any], outputs: Sequence[tuple[int, float]]
    ) -> list[tuple[float, NDArray[Any]]]:
        if self._is_float32:
            matrix = matrix.astype(np.float32).astype(np.float64)
        padded = np.column_stack([matrix, np.zeros(len(matrix))])
        owner = np.append(self._owner, len(self._fields))
        bases = np.zeros(len(matrix))
        parts = np.zeros((len(matrix), len(self._fields) + 1))
        for paths in self._paths or paths_of(self._arrays):
            owners = owner[paths.column]
            for index, (row, (output, sign)) in enumerate(zip(padded, outputs, strict=True)):
                values = sign * self._leaf_values(paths.leaves, output)
                bases[index] += float(values @ paths.share.prod(axis=1))
                moved = paths.moved(row, values)
                parts[index] += np.bincount(owners.ravel(), moved.ravel(), len(self._fields) + 1)
        if self._kind == "boosting":
            baseline = self._arrays["baseline"].ravel()
            bases += [sign * float(baseline[output]) for output, sign in outputs]
        return [(float(base), part[:-1]) for base, part in zip(bases, parts, strict=True)]

    def _leaf_values(self, leaves: NDArray[Any], output: int) -> NDArray[Any]:
        """What each leaf adds to one of the model's sums."""
        values, roots = self._arrays["value"], self._arrays["roots"]
        values = values.reshape(len(self._arrays["feature"]), -1)
        if self._kind == "forest":
            return np.asarray(values[leaves, output] / len(roots))
        tree = np.searchsorted(roots, leaves, side="right") - 1
        return np.where(tree % self._outputs == output, values[leaves, 0], 0.0)

    def _by_field(self, owner: NDArray[Any], parts: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(owner, parts, len(self._fields))

    def _kept_paths(self, what: str) -> list[Paths]:
        kept: list[Paths] = []
        self._size = 0
        try:
            for paths in paths_of(self._arrays):
                self._size += paths.size
                kept = [*kept, paths] if self._size <= MOST_KEPT else []
        except ValueError as error:
            raise not_explainable(what, str(error), "Deploy another model") from error
        return kept if self._size <= MOST_KEPT else []


# How the unit of a classifier's margin follows from the link between margin and probability.
_UNITS = {"logistic": "log-odds", "softmax": "log-score", "mean": "probability"}


def not_explainable(what: str, reason: str, remedy: str) -> NotExplainable:
    return NotExplainable(
        "Explanations are not available for this model",
        detail=f"{what}: {reason}",
        remedy=f"{remedy}, or ask without `explain`.",
    )


def _owners(entries: Sequence[Mapping[str, Any]], width: int) -> NDArray[Any]:
    """For each place of the encoded row, which field of the contract it is of."""
    owner = np.zeros(width, dtype=np.int64)
    for index, entry in enumerate(entries):
        if entry["kind"] == "category":
            places = [*entry["known"].values(), entry["unknown"]]
        elif entry["kind"] == "text":
            places = list(range(entry["at"], entry["at"] + len(entry["terms"])))
        else:
            numbers = entry["numbers"] if entry["kind"] == "date" else [entry["number"]]
            places = [number["at"] for number in numbers]
            places += [number["gap"]["at"] for number in numbers if number["gap"] is not None]
        owner[[place for place in places if place is not None]] = index
    return owner
