"""What is put right of a model after its search: its probabilities, and from which of them a binary one says yes.

Both are chosen on out-of-fold scores of train rows alone, and kept in the model's last step, so that whoever loads
the model has them. Applying a calibration is in `serve/calibration.py`; more than two classes are in
`learn/adjusting_classes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from tidemill.project_training import Threshold
from tidemill.serve.calibration import LEAST, Calibration, OneVsRest

# An isotonic map follows chance where rows are few (Niculescu-Mizil and Caruana, ICML 2005).
ISOTONIC_ROWS = 1_000
FEWEST_ROWS = 50
FEWEST_OF_CLASS = 10
# Points of an isotonic map at most, and what lies between two of them at least: a cliff would turn the rounding of
# a probability into another answer.
MOST_POINTS = 50
NEAREST = 1e-5
# How sure a gain must be, in standard errors of the mean over rows.
SURE = 2.0


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


@dataclass(frozen=True)
class Calibrating:
    """What became of calibration: the map of all out-of-fold scores (None: none), and those scores put right, each
    by a map of the other folds. `said` is for the bundle: kind, log loss before and after, or the reason for none.
    """

    document: dict[str, Any] | None
    scores: NDArray[Any]
    said: dict[str, Any]


def choose_calibration(
    wanted: str, scores: NDArray[Any], hits: NDArray[Any], folds: NDArray[Any]
) -> Calibrating:
    """The calibration `wanted` (auto, none, isotonic, sigmoid) on out-of-fold `scores` of the positive class.

    `hits` says which rows are positive, `folds` which fold held each out. With auto a map is taken only if, fitted
    on the other folds, it lowers the log loss by more than two standard errors; isotonic only if it does so
    against the sigmoid as well.
    """
    hits = hits.astype(bool)
    before = _losses(scores, hits)
    few = len(scores) < FEWEST_ROWS or min(hits.sum(), (~hits).sum()) < FEWEST_OF_CLASS
    if wanted == "none" or few or len(np.unique(folds)) < 2:
        reason = "switched off" if wanted == "none" else "too few out-of-fold scores"
        return Calibrating(None, scores, {"kind": "none", "reason": reason})
    kinds = [wanted] if wanted != "auto" else ["sigmoid"]
    if wanted == "auto" and len(scores) >= ISOTONIC_ROWS:
        kinds.append("isotonic")
    kept: tuple[str, NDArray[Any]] | None = None
    best = before
    for kind in kinds:
        crossed = _crossed(kind, scores, hits, folds)
        if crossed is None:
            continue
        losses = _losses(crossed, hits)
        if wanted != "auto" or surely_positive(best - losses):
            kept, best = (kind, crossed), losses
    document = fit_calibration(kept[0], scores, hits) if kept is not None else None
    if kept is None or document is None:
        return Calibrating(None, scores, {"kind": "none", "reason": "it did not help on out-of-fold scores"})
    said = {"kind": kept[0], "log_loss_before": float(before.mean()), "log_loss_after": float(best.mean())}
    return Calibrating(document, kept[1], said)


def _crossed(kind: str, scores: NDArray[Any], hits: NDArray[Any], folds: NDArray[Any]) -> NDArray[Any] | None:
    found = np.empty(len(scores))
    for fold in np.unique(folds):
        held = folds == fold
        document = fit_calibration(kind, scores[~held], hits[~held])
        if document is None:
            return None
        found[held] = Calibration(document).many(scores[held])
    return found


def fit_calibration(kind: str, scores: NDArray[Any], hits: NDArray[Any]) -> dict[str, Any] | None:
    """A map of `kind` fitted on scores and outcomes; None when they hold no rising one."""
    if hits.all() or not hits.any():
        return None
    if kind == "sigmoid":
        inside = np.clip(scores, LEAST, 1.0 - LEAST)
        logit = np.log(inside / (1.0 - inside))[:, np.newaxis]
        model = LogisticRegression(C=1e3, max_iter=1000).fit(logit, hits)
        slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
        return {"kind": "sigmoid", "slope": slope, "offset": offset} if slope > 1e-3 else None
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, min(MOST_POINTS, len(order)))
    x = np.array([scores[part].mean() for part in parts])
    weight = np.array([float(len(part)) for part in parts])
    # Half a row of either outcome: no map says never or always.
    share = np.array([(hits[part].sum() + 0.5) / (len(part) + 1.0) for part in parts])
    y = IsotonicRegression().fit_transform(x, share, sample_weight=weight)
    chosen = [0]
    for place in range(1, len(x)):
        if x[place] - x[chosen[-1]] > NEAREST:
            chosen.append(place)
    if len(chosen) < 2 or y[chosen[-1]] <= y[0]:
        return None
    return {"kind": "isotonic", "x": x[chosen].tolist(), "y": y[chosen].tolist()}


def _losses(scores: NDArray[Any], hits: NDArray[Any]) -> NDArray[Any]:
    inside = np.clip(scores, LEAST, 1.0 - LEAST)
    losses: NDArray[Any] = -np.log(np.where(hits, inside, 1.0 - inside))
    return losses


def surely_positive(gains: NDArray[Any]) -> bool:
    """Whether the mean of `gains`, one a row, is more than two standard errors above zero."""
    return bool(gains.mean() > SURE * gains.std() / np.sqrt(len(gains)))


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


def mean_cost(hits: Sequence[bool] | NDArray[Any], said: NDArray[Any], aim: Threshold) -> float:
    """The cost of mistakes a row, of answers `said` (True: positive) to rows that are `hits`."""
    truth, found = np.asarray(hits, dtype=bool), np.asarray(said, dtype=bool)
    return float(np.mean(aim.false_positive * (found & ~truth) + aim.false_negative * (truth & ~found)))
