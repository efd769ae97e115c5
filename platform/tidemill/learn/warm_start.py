"""Warm start: a training that begins where an earlier version ended.

Two kinds. The settings of a version trained here are tried first. With `boost: true` its trees are kept and further
ones are grown on top, by the library that grew them; the rows it had learnt from are then left out, as a model says
too much of rows it knows. Here belongs what a version gives to begin with, and when it cannot. How a library goes
on is in `learn/boosters.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tidemill.errors import InvalidInput
from tidemill.learn.adjusting import AdjustedModel
from tidemill.learn.boosters import Continued, native_bytes
from tidemill.learn.bundle import load_model
from tidemill.learn.bundle_info import BundleInfo, checked_bytes, load_info
from tidemill.learn.encoders import OrderedColumns
from tidemill.learn.features import TRAIN
from tidemill.learn.imports.imported import ImportedModel
from tidemill.learn.learnable import FEWEST_ROWS
from tidemill.learn.seen_rows import seen_by
from tidemill.project import NUMERIC, Project


@dataclass(frozen=True)
class Trees:
    """Trees to go on from, and `encode`: the fitted encoder before them, or the columns in the order they take."""

    start: Continued
    encode: Any


@dataclass(frozen=True)
class WarmStart:
    """`params` are tried first by `candidate`; `trees`, if any, are gone on from. `unseen` has the `_row` of rows
    a training may use (None: all). `said` is for the bundle's provenance.
    """

    candidate: str
    params: dict[str, Any]
    said: dict[str, Any]
    trees: Trees | None = None
    unseen: frozenset[str] | None = None

    def left_of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that the version had not learnt from. Raises InvalidInput when they are too few."""
        if self.unseen is None:
            return rows
        found = rows[rows["_row"].astype(str).isin(self.unseen)].reset_index(drop=True)
        if len(found) < FEWEST_ROWS // 2:
            raise InvalidInput(
                "Too few new rows to go on from an earlier model",
                detail=f"model {self.said['version']} had learnt from all but {len(found)} of the {len(rows)} "
                f"train rows; {FEWEST_ROWS // 2} new ones are the least",
                remedy="Send newer rows, or leave out boost: the version's settings are tried first then.",
            )
        return found


def open_warm_start(models_dir: Path, project: Project, features: pd.DataFrame) -> WarmStart | None:
    """What `training.warm_start` names; None when it names nothing.

    Raises NotFound for a version that is not there, InvalidInput with the reason for one that gives no beginning.
    """
    wanted = project.training.warm_start
    if wanted is None:
        return None
    info = load_info(models_dir, wanted.version)
    if info.task != project.task:
        raise _unfit(info, f"it was made for another task, {info.task}", "Name another version")
    said: dict[str, Any] = {"version": info.version, "estimator": info.estimator, "warning": None}
    if wanted.boost:
        return _going_on(models_dir, info, project, features, said)
    if not info.params or info.estimator not in project.training.candidates:
        why = (
            f"it is {info.estimator}, which training.candidates does not name"
            if info.params
            else "the settings it was trained with are not known"
        )
        raise _unfit(info, why, "Name a version of one of the candidates, or use boost or stack")
    said |= {"kind": "settings", "params": info.params}
    return WarmStart(info.estimator, info.params, said)


def read_warm_start(info: BundleInfo, pipeline: Any, project: Project) -> WarmStart | None:
    """The beginning that a bundle carries, from its loaded `pipeline`; None where it has none."""
    said: Mapping[str, Any] | None = info.provenance.get("warm_start")
    if said is None:
        return None
    if said["kind"] == "settings":
        return WarmStart(said["estimator"], said["params"], dict(said))
    last = pipeline.steps[-1][1]
    model = last.model if isinstance(last, AdjustedModel) else last
    start = Continued(model.library, model.start, list(getattr(model, "classes", [])))
    encode = pipeline.named_steps["encode"]
    encode = encode.names if isinstance(encode, OrderedColumns) else encode
    kept = json.loads(checked_bytes(info, FILE, f"model {info.version}")) if FILE in info.files else None
    unseen = frozenset(kept) if kept is not None else None
    return WarmStart(project.training.candidates[0], {}, dict(said), Trees(start, encode), unseen)


# The rows that were not left out, in the bundle: the version gone on from may be gone when it is rebuilt.
FILE = "unseen.json"


def _going_on(
    models_dir: Path, info: BundleInfo, project: Project, features: pd.DataFrame, said: dict[str, Any]
) -> WarmStart:
    (library,) = project.training.candidates
    model = load_model(models_dir, info.version)
    types = {name: column.type for name, column in project.feature_columns.items()}
    unseen: frozenset[str] | None = None
    if isinstance(model, ImportedModel):
        spec = model.spec
        if spec.format != library:
            raise _unfit(
                info, f"it is {spec.format}, and the candidate is {library}", "Name one of its library"
            )
        numbers = [name for name, kind in types.items() if kind in NUMERIC or kind == "boolean"]
        if set(spec.columns) != set(types) or len(numbers) < len(types):
            other = ", ".join(sorted({*types} ^ {*spec.columns}) or sorted({*types} - {*numbers}))
            raise _unfit(
                info,
                f"its columns are not the contract's features as numbers, one for one: {other}",
                "Give what it does not take the role ignore",
            )
        data = checked_bytes(info, spec.model_file, f"model {info.version}")
        start = Continued(library, data, list(spec.classes))
        encode: Any = list(spec.columns)
        said["warning"] = (
            f"model {info.version} ({info.provenance['file']}) was trained elsewhere: whether rows it learnt from "
            f"are among the train and held-out rows here is not known; if they are, this model looks better than "
            "it is"
        )
    else:
        if info.estimator != library:
            raise _unfit(
                info, f"it is {info.estimator}, and the candidate is {library}", "Name one of its library"
            )
        if dict(model.named_steps["cast"].types) != types:
            raise _unfit(info, "its contract had other features", "Train once without boost")
        last = model.steps[-1][1]
        fitted = last.model if isinstance(last, AdjustedModel) else last
        classes = [str(name) for name in fitted.classes_] if project.is_classification else []
        start = Continued(library, native_bytes(library, fitted.model_), classes)
        encode = model.named_steps["encode"]
        seen = set(seen_by(models_dir, info.version, features)["_row"])
        train = features.loc[features["_split"] == TRAIN, "_row"].astype(str)
        unseen = frozenset(row for row in train if row not in seen)
    said |= {"kind": "boosting", "rows": len(unseen) if unseen is not None else None}
    return WarmStart(library, {}, said, Trees(start, encode), unseen)


def _unfit(info: BundleInfo, why: str, remedy: str) -> InvalidInput:
    return InvalidInput(
        f"Model {info.version} is no beginning for this training",
        detail=f"project {info.project}: {why}",
        remedy=f"{remedy}; see training.warm_start in project.yaml.",
    )
