"""Calibration: whether a map puts a model's probabilities right, and which, from out-of-fold values of train rows.

Here belongs choosing and fitting maps, of one class's scores or of each class against the rest. Applying them is
`serve/calibration.py`; keeping them in the model is `learn/adjusting.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

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


@dataclass(frozen=True)
class Calibrating:
    """What became of calibration: the map of all out-of-fold values (None: none), and those values put right, each
    by a map of the other folds. `said` is for the bundle: kind, log loss before and after, or the reason for none.
    """

    document: dict[str, Any] | None
    values: NDArray[Any]
    said: dict[str, Any]


def choose_calibration(
    wanted: str, scores: NDArray[Any], hits: NDArray[Any], folds: NDArray[Any]
) -> Calibrating:
    """The calibration `wanted` (auto, none, isotonic, sigmoid) on out-of-fold `scores` of the positive class.

    `hits` says which rows are positive, `folds` which fold held each out. With auto a map is taken only if, fitted
    on the other folds, it lowers the log loss by more than two standard errors; isotonic only if it does so
    against the sigmoid as well.
    """
    return _chosen(_OneClass(), wanted, scores, hits.astype(bool), folds)


def choose_calibrations(
    wanted: str,
    probabilities: NDArray[Any],
    truth: NDArray[Any],
    classes: Sequence[str],
    folds: NDArray[Any],
) -> Calibrating:
    """The same on out-of-fold `probabilities` (rows x classes), by a map for each class against the rest.

    `truth` are the rows' labels. With auto the maps must make no fewer labels right as well. A class of few rows
    keeps its probabilities.
    """
    places = {name: place for place, name in enumerate(classes)}
    own = np.array([places[str(label)] for label in truth])
    return _chosen(_EachClass(), wanted, probabilities, own, folds)


class _Calibrator(ABC):
    """Maps of one shape over `values`: how they are fitted, applied and judged by `truth`, row by row."""

    named = "{kind}"

    @abstractmethod
    def has_enough(self, truth: NDArray[Any]) -> bool: ...

    @abstractmethod
    def fit(self, kind: str, values: NDArray[Any], truth: NDArray[Any]) -> dict[str, Any] | None:
        """The map as a document; None when the rows hold none."""

    @abstractmethod
    def apply(self, document: dict[str, Any], values: NDArray[Any]) -> NDArray[Any]: ...

    @abstractmethod
    def losses(self, values: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        """Log loss of each row."""

    def keeps(self, before: NDArray[Any], after: NDArray[Any], truth: NDArray[Any]) -> bool:  # noqa: ARG002
        """Whether nothing is lost that the log loss does not see."""
        return True


class _OneClass(_Calibrator):
    def has_enough(self, truth: NDArray[Any]) -> bool:
        return len(truth) >= FEWEST_ROWS and min(truth.sum(), (~truth).sum()) >= FEWEST_OF_CLASS

    def fit(self, kind: str, values: NDArray[Any], truth: NDArray[Any]) -> dict[str, Any] | None:
        return fit_calibration(kind, values, truth)

    def apply(self, document: dict[str, Any], values: NDArray[Any]) -> NDArray[Any]:
        return Calibration(document).many(values)

    def losses(self, values: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        inside = np.clip(values, LEAST, 1.0 - LEAST)
        losses: NDArray[Any] = -np.log(np.where(truth, inside, 1.0 - inside))
        return losses


class _EachClass(_Calibrator):
    named = "{kind}, each class against the rest"

    def has_enough(self, truth: NDArray[Any]) -> bool:
        return len(truth) >= FEWEST_ROWS

    def fit(self, kind: str, values: NDArray[Any], truth: NDArray[Any]) -> dict[str, Any] | None:
        """A map for each class that has rows enough on both sides; None when no class has one."""
        maps: list[dict[str, Any] | None] = []
        for place in range(values.shape[1]):
            hits = truth == place
            enough = min(int(hits.sum()), int((~hits).sum())) >= FEWEST_OF_CLASS
            maps.append(fit_calibration(kind, values[:, place], hits) if enough else None)
        return {"kind": "one_vs_rest", "maps": maps} if any(one is not None for one in maps) else None

    def apply(self, document: dict[str, Any], values: NDArray[Any]) -> NDArray[Any]:
        return OneVsRest(document).many(values)

    def losses(self, values: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        losses: NDArray[Any] = -np.log(np.clip(values[np.arange(len(truth)), truth], LEAST, 1.0))
        return losses

    def keeps(self, before: NDArray[Any], after: NDArray[Any], truth: NDArray[Any]) -> bool:
        right = [int((values.argmax(axis=1) == truth).sum()) for values in (before, after)]
        return right[1] >= right[0]


def _chosen(
    calibrator: _Calibrator, wanted: str, values: NDArray[Any], truth: NDArray[Any], folds: NDArray[Any]
) -> Calibrating:
    if wanted == "none" or not calibrator.has_enough(truth) or len(np.unique(folds)) < 2:
        reason = "switched off" if wanted == "none" else "too few out-of-fold scores"
        return Calibrating(None, values, {"kind": "none", "reason": reason})
    kinds = [wanted] if wanted != "auto" else ["sigmoid"]
    if wanted == "auto" and len(truth) >= ISOTONIC_ROWS:
        kinds.append("isotonic")
    kept: tuple[str, NDArray[Any]] | None = None
    before = best = calibrator.losses(values, truth)
    for kind in kinds:
        crossed = _crossed(calibrator, kind, values, truth, folds)
        if crossed is None:
            continue
        losses = calibrator.losses(crossed, truth)
        is_better = surely_positive(best - losses) and calibrator.keeps(values, crossed, truth)
        if wanted != "auto" or is_better:
            kept, best = (kind, crossed), losses
    document = calibrator.fit(kept[0], values, truth) if kept is not None else None
    if kept is None or document is None:
        return Calibrating(None, values, {"kind": "none", "reason": "it did not help on out-of-fold scores"})
    said = {
        "kind": calibrator.named.format(kind=kept[0]),
        "log_loss_before": float(before.mean()),
        "log_loss_after": float(best.mean()),
    }
    return Calibrating(document, kept[1], said)


def _crossed(
    calibrator: _Calibrator, kind: str, values: NDArray[Any], truth: NDArray[Any], folds: NDArray[Any]
) -> NDArray[Any] | None:
    """`values` put right, each by a map of the other folds; None when a fold's others hold no map."""
    found = np.empty_like(values, dtype=np.float64)
    for fold in np.unique(folds):
        held = folds == fold
        document = calibrator.fit(kind, values[~held], truth[~held])
        if document is None:
            return None
        found[held] = calibrator.apply(document, values[held])
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


def surely_positive(gains: NDArray[Any]) -> bool:
    """Whether the mean of `gains`, one a row, is more than two standard errors above zero."""
    return bool(gains.mean() > SURE * gains.std() / np.sqrt(len(gains)))
