"""Calibration of more than two classes: each class against the rest, then a row is made to add up to 1.

Here belongs choosing and fitting the maps on out-of-fold probabilities. One class alone is `learn/adjusting.py`;
applying the maps is `serve/calibration.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.learn.adjusting import (
    FEWEST_OF_CLASS,
    FEWEST_ROWS,
    ISOTONIC_ROWS,
    fit_calibration,
    surely_positive,
)
from tidemill.serve.calibration import LEAST, OneVsRest


@dataclass(frozen=True)
class CalibratingClasses:
    """What became of calibration: the maps of all out-of-fold rows (None: none), and the probabilities put right,
    each row by maps of the other folds. `said` is for the bundle: kind, log loss before and after, or a reason.
    """

    document: dict[str, Any] | None
    probabilities: NDArray[Any]
    said: dict[str, Any]


def choose_calibrations(
    wanted: str,
    probabilities: NDArray[Any],
    truth: NDArray[Any],
    classes: Sequence[str],
    folds: NDArray[Any],
) -> CalibratingClasses:
    """The calibration `wanted` (auto, none, isotonic, sigmoid) on out-of-fold `probabilities` (rows x classes).

    `truth` are the rows' labels, `folds` which fold held each out. With auto maps are taken only if, fitted on the
    other folds, they lower the log loss by more than two standard errors and make no fewer labels right; isotonic
    ones only if they do so against the sigmoid as well. A class of few rows keeps its probabilities.
    """
    places = {name: place for place, name in enumerate(classes)}
    own = np.array([places[str(label)] for label in truth])
    before = _losses(probabilities, own)
    if wanted == "none" or len(own) < FEWEST_ROWS or len(np.unique(folds)) < 2:
        reason = "switched off" if wanted == "none" else "too few out-of-fold scores"
        return CalibratingClasses(None, probabilities, {"kind": "none", "reason": reason})
    kinds = [wanted] if wanted != "auto" else ["sigmoid"]
    if wanted == "auto" and len(own) >= ISOTONIC_ROWS:
        kinds.append("isotonic")
    kept: tuple[str, NDArray[Any]] | None = None
    best = before
    for kind in kinds:
        crossed = _crossed(kind, probabilities, own, folds)
        if crossed is None:
            continue
        losses = _losses(crossed, own)
        is_better = surely_positive(best - losses) and _right(crossed, own) >= _right(probabilities, own)
        if wanted != "auto" or is_better:
            kept, best = (kind, crossed), losses
    document = _fitted(kept[0], probabilities, own) if kept is not None else None
    if kept is None or document is None:
        said = {"kind": "none", "reason": "it did not help on out-of-fold scores"}
        return CalibratingClasses(None, probabilities, said)
    return CalibratingClasses(
        document,
        kept[1],
        {
            "kind": f"{kept[0]}, each class against the rest",
            "log_loss_before": float(before.mean()),
            "log_loss_after": float(best.mean()),
        },
    )


def _fitted(kind: str, probabilities: NDArray[Any], own: NDArray[Any]) -> dict[str, Any] | None:
    """A map of `kind` for each class that has rows enough on both sides; None when no class has one."""
    maps: list[dict[str, Any] | None] = []
    for place in range(probabilities.shape[1]):
        hits = own == place
        enough = min(int(hits.sum()), int((~hits).sum())) >= FEWEST_OF_CLASS
        maps.append(fit_calibration(kind, probabilities[:, place], hits) if enough else None)
    return {"kind": "one_vs_rest", "maps": maps} if any(one is not None for one in maps) else None


def _crossed(
    kind: str, probabilities: NDArray[Any], own: NDArray[Any], folds: NDArray[Any]
) -> NDArray[Any] | None:
    found = np.empty_like(probabilities)
    for fold in np.unique(folds):
        held = folds == fold
        document = _fitted(kind, probabilities[~held], own[~held])
        if document is None:
            return None
        found[held] = OneVsRest(document).many(probabilities[held])
    return found


def _losses(probabilities: NDArray[Any], own: NDArray[Any]) -> NDArray[Any]:
    said = np.clip(probabilities[np.arange(len(own)), own], LEAST, 1.0)
    losses: NDArray[Any] = -np.log(said)
    return losses


def _right(probabilities: NDArray[Any], own: NDArray[Any]) -> int:
    return int((probabilities.argmax(axis=1) == own).sum())
