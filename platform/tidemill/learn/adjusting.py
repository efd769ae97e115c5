"""What is put right of a model after its search: its probabilities, and from which of them a binary one says yes.

Both are chosen on out-of-fold scores of train rows alone, and kept in the model's last step, so that whoever loads
the model has them. Here belong that step and the threshold; choosing a calibration is `learn/calibrating.py`,
applying one `serve/calibration.py`.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from tidemill.project_training import Threshold
from tidemill.serve.calibration import Calibration, OneVsRest


class AdjustedModel(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted binary `model` with its `calibration` (or None) of the class `positive`, and its `threshold`.

    Without `positive` it is of several classes, and its calibration one for each of its `classes`.
    """

    def __init__(
        self, model: Any, positive: str | None, calibration: dict[str, Any] | None, threshold: float | None
    ) -> None:
        self.model = model
        self.positive = positive
        self.calibration = calibration
        self.threshold = threshold

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        self.model.fit(X, y)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> NDArray[Any]:
        found: NDArray[Any] = self.model.classes_
        return found

    @property
    def n_features_in_(self) -> int:
        return int(self.model.n_features_in_)

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        probabilities = np.asarray(self.model.predict_proba(X), dtype=np.float64)
        if self.calibration is None:
            return probabilities
        if self.positive is None:
            # Fitted again on part of the rows, the model may lack a rare class.
            maps = dict(zip(self.calibration["classes"], self.calibration["maps"], strict=True))
            own = [maps[str(name)] for name in self.classes_]
            return OneVsRest({**self.calibration, "maps": own}).many(probabilities)
        return calibrated(probabilities, self._place, self.calibration)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        if self.positive is None:
            likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
            return likeliest
        place, threshold = self._place, 0.5 if self.threshold is None else self.threshold
        said = np.where(self.predict_proba(X)[:, place] >= threshold, place, 1 - place)
        found: NDArray[Any] = self.classes_[said]
        return found

    @property
    def _place(self) -> int:
        return [str(name) for name in self.classes_].index(str(self.positive))


def calibrated(probabilities: NDArray[Any], place: int, calibration: dict[str, Any]) -> NDArray[Any]:
    """rows x 2 probabilities with column `place` put right, the other its complement."""
    own = Calibration(calibration).many(probabilities[:, place])
    pair = [1.0 - own, own] if place == 1 else [own, 1.0 - own]
    return np.column_stack(pair)


def threshold_of(model: Any, default: float) -> float:
    """The threshold that a pipeline (or its last step) keeps, else `default`."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    kept = getattr(last, "threshold", None) if isinstance(last, AdjustedModel) else None
    return default if kept is None else float(kept)


def choose_threshold(scores: NDArray[Any], hits: NDArray[Any], aim: Threshold) -> tuple[float, float]:
    """The threshold that is best for `aim` on these scores, and its value there (cost: a row, smaller is better).

    It lies half way between two neighbouring scores; of several that are equally good the middle one is taken.
    """
    order = np.argsort(scores, kind="stable")
    ordered, positive = scores[order], hits[order].astype(np.float64)
    # Cutting before each score that differs from the one before it, and above them all.
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1, [len(ordered)]])
    below = np.concatenate([[0.0], np.cumsum(positive)])[starts]
    missed, caught = below, positive.sum() - below
    false_alarms = (len(ordered) - starts) - caught
    values = _values(aim, caught, missed, false_alarms, len(ordered))
    best = np.flatnonzero(values >= values.max() - 1e-12)
    place = int(starts[best[len(best) // 2]])
    lower = ordered[place - 1] if place > 0 else 0.0
    upper = ordered[place] if place < len(ordered) else 1.0
    threshold = float(np.clip((lower + upper) / 2, 1e-6, 1 - 1e-6))
    value = float(values.max())
    return threshold, -value if aim.aim == "cost" else value


def _values(
    aim: Threshold, caught: NDArray[Any], missed: NDArray[Any], alarms: NDArray[Any], rows: int
) -> NDArray[Any]:
    """What `aim` gives at each cut; larger is better."""
    if aim.aim == "cost":
        costs: NDArray[Any] = -(alarms * aim.false_positive + missed * aim.false_negative) / rows
        return costs
    positive = caught + missed
    quiet = rows - positive - alarms
    if aim.aim == "f1":
        f1: NDArray[Any] = 2 * caught / np.maximum(2 * caught + alarms + missed, 1.0)
        return f1
    if aim.aim == "accuracy":
        accuracy: NDArray[Any] = (caught + quiet) / rows
        return accuracy
    recalls: NDArray[Any] = (
        caught / np.maximum(positive, 1.0) + quiet / np.maximum(rows - positive, 1.0)
    ) / 2
    return recalls
