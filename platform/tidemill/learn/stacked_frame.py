"""The first step of a stacked model: the contract's columns, and beside them what earlier models say of each row.

Here belongs asking those models, which the step carries whole: a bundle needs none of the others to answer. Which
version may be stacked, and what its answers for train rows are, is in `learn/stacking.py`.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.learn.encoders import MISSING, ContractFrame
from tidemill.project import CATEGORICAL

# Beyond this a probability's logit tells rounding, not evidence.
LEAST = 1e-6


class StackedFrame(ContractFrame):
    """A ContractFrame followed by the answers of `members`, as float64: log-odds of classes, or the number.

    A member is a dict: `version`, `columns` (the names its answers get), `inputs` (column -> type), `places` (which
    classes of its answer; empty for a regression), and `model` (a fitted pipeline of ours) or `data` and `spec` (an
    imported file). Answers that the frame already holds under those names are taken as they are: in
    training they are out-of-sample ones. No column of a contract can have such a name. An answer that is no number
    becomes NaN.
    """

    def __init__(self, types: dict[str, str], members: list[dict[str, Any]]) -> None:
        super().__init__(types)
        self.members = members

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803
        frame = super().transform(X)
        added: dict[str, Any] = {}
        for place, member in enumerate(self.members):
            names = member["columns"]
            if all(name in X.columns for name in names):
                found = X[names].to_numpy(dtype=np.float64)
            else:
                found = self._answers(place, frame)
            added |= dict(zip(names, found.T, strict=True))
        return frame.assign(**added)

    def __getstate__(self) -> dict[str, Any]:
        # Loaded models of other libraries cannot be kept in a file; their bytes are.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_runners"}

    def _answers(self, place: int, frame: pd.DataFrame) -> NDArray[np.float64]:
        member = self.members[place]
        if member["model"] is not None:
            model = member["model"]
            found = model.predict_proba(frame) if member["places"] else model.predict(frame)
        else:
            found = self._runner(place).answers(
                {name: _as_record(frame[name], kind) for name, kind in member["inputs"].items()}
            )
        return as_features(np.asarray(found, dtype=np.float64), member["places"])

    def _runner(self, place: int) -> Any:
        from tidemill.learn.imports.runners import open_runner
        from tidemill.learn.imports.spec import Spec

        runners: dict[int, Any] = self.__dict__.setdefault("_runners", {})
        if place not in runners:
            member = self.members[place]
            runners[place] = open_runner(member["data"], Spec.from_json(member["spec"]))
        return runners[place]


def as_features(answers: NDArray[np.float64], places: list[int]) -> NDArray[np.float64]:
    """rows x columns from a model's answers: log-odds of the classes at `places`, or the number it gave."""
    if not places:
        return np.where(np.isfinite(answers), answers, np.nan).reshape(-1, 1)
    inside = np.clip(answers[:, places], LEAST, 1.0 - LEAST)
    return np.log(inside / (1.0 - inside))


def _as_record(values: pd.Series[Any], kind: str) -> NDArray[Any]:
    """A cast column as the values of a checked record, which is what an imported model was looked at with."""
    found = np.empty(len(values), dtype=object)
    for place, value in enumerate(values.tolist()):
        found[place] = _plain(value, kind)
    return found


def _plain(value: Any, kind: str) -> Any:
    if kind in CATEGORICAL:
        return None if value == MISSING else value
    if kind == "text":
        return value or None
    if value is None or value != value:
        return None
    if kind == "float":
        return value
    if kind in ("integer", "boolean"):
        return int(value) if kind == "integer" else bool(value)
    moment = value.to_pydatetime(warn=False).replace(tzinfo=UTC)
    return moment.date() if kind == "date" else moment
