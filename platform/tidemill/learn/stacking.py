"""Stacking: answers of earlier versions, imported or trained, as further features (Wolpert 1992).

Here belongs which version may be stacked and which of its answers a training may see: for a row that the version
learnt from, its out-of-fold score of then; for any other, what it says of it. What an imported model learnt from is
not known, which is told wherever the new model is shown. Asking it in use is `learn/stacked_frame.py`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.errors import InvalidInput
from tidemill.learn.bundle import load_model
from tidemill.learn.bundle_info import BundleInfo, checked_bytes, load_info
from tidemill.learn.features import TRAIN
from tidemill.learn.imports.imported import ImportedModel
from tidemill.learn.learnable import FEWEST_ROWS
from tidemill.learn.seen_rows import seen_by
from tidemill.learn.stacked_frame import StackedFrame, as_features
from tidemill.project import Project

FILE = "stacked.parquet"
PREFIX = "_stacked_"


@dataclass(frozen=True)
class Stack:
    """`members` as StackedFrame takes them; `scores` their answers for train rows, by `_row`, a column each.

    Rows that are not in `scores` are left out of the training. `said` is for the bundle's provenance: of each one
    its version, estimator, how many rows it had seen and how many were left out, `note`, and `warning` or None.
    """

    members: list[dict[str, Any]]
    scores: pd.DataFrame
    said: list[dict[str, Any]]

    @property
    def columns(self) -> list[str]:
        return [name for member in self.members for name in member["columns"]]

    def added_to(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those of `rows` that have scores, with them, in their order. Raises InvalidInput when too few have."""
        scores = self.scores.assign(_row=self.scores["_row"].astype(rows["_row"].dtype))
        found = rows.merge(scores, on="_row", how="inner", validate="1:1")
        if len(found) < FEWEST_ROWS // 2:
            raise InvalidInput(
                "Too few rows are left to train a stacked model on",
                detail=f"of {len(rows)} train rows {len(found)} have an answer of the stacked model that was not "
                f"learnt from them; {FEWEST_ROWS // 2} are the least ({'; '.join(s['note'] for s in self.said)})",
                remedy="Send newer rows, or take the version off training.stack.",
            )
        return found

    def frame(self, types: Mapping[str, str]) -> StackedFrame:
        """The pipeline's first step."""
        return StackedFrame(dict(types), self.members)

    def to_bytes(self) -> bytes:
        """The scores as Parquet, for the bundle: it is rebuilt from them."""
        buffer = io.BytesIO()
        self.scores.to_parquet(buffer, index=False, compression="zstd")
        return buffer.getvalue()


def open_stack(models_dir: Path, project: Project, features: pd.DataFrame) -> Stack | None:
    """What `training.stack` names, with its answers for the train rows of `features`; None when it names nothing.

    Raises NotFound for a version that is not there, InvalidInput for one that cannot be stacked, with the reason.
    """
    versions = project.training.stack
    if not versions:
        return None
    rows = features[features["_split"] == TRAIN].reset_index(drop=True)
    members, said = [], []
    scores = pd.DataFrame({"_row": rows["_row"].astype(str)})
    usable = np.ones(len(rows), dtype=bool)
    for version in versions:
        info = load_info(models_dir, version)
        model = load_model(models_dir, version)
        member = _member(info, model, project)
        found, fit, words = _out_of_sample(models_dir, info, member, rows, features)
        members.append(member)
        said.append({"version": version, "estimator": info.estimator, **words})
        scores = scores.assign(**dict(zip(member["columns"], found.T, strict=True)))
        usable &= fit
    return Stack(members, scores[usable].reset_index(drop=True), said)


def read_stack(info: BundleInfo, pipeline: Any) -> Stack | None:
    """The stack that a bundle carries, from its loaded `pipeline`; None where it has none."""
    if FILE not in info.files:
        return None
    scores = pd.read_parquet(io.BytesIO(checked_bytes(info, FILE, f"model {info.version}")))
    return Stack(pipeline.named_steps["cast"].members, scores, info.provenance["stack"])


def _member(info: BundleInfo, model: Any, project: Project) -> dict[str, Any]:
    """What StackedFrame needs of one version."""
    if info.task != project.task:
        raise _unfit(info, f"it was made for another task, {info.task}")
    if FILE in info.files:
        raise _unfit(info, "it is stacked itself, and one layer is the most")
    if "model.py" in info.files:
        raise _unfit(info, "it is of a class of model.py, which a bundle can hold once only")
    if isinstance(model, ImportedModel):
        spec = model.spec
        inputs = {name: spec.types[name] for name in spec.columns}
        data = checked_bytes(info, spec.model_file, f"model {info.version}")
        kept: dict[str, Any] = {"model": None, "data": data, "spec": spec.to_json()}
    else:
        inputs = dict(model.named_steps["cast"].types)
        kept = {"model": model, "data": None, "spec": None}
    types = {name: column.type for name, column in project.feature_columns.items()}
    if odd := [name for name, kind in inputs.items() if types.get(name) != kind]:
        raise _unfit(info, f"it takes {', '.join(odd)}, which the contract lacks or has as another type")
    classes = [str(name) for name in model.classes_] if project.is_classification else []
    if info.positive is not None:
        places = [classes.index(info.positive)]
        names = [f"{PREFIX}{info.version}"]
    else:
        places = list(range(len(classes)))
        names = [f"{PREFIX}{info.version}_{name}" for name in classes] or [f"{PREFIX}{info.version}"]
    return {"version": info.version, "columns": names, "inputs": inputs, "places": places, **kept}


def _out_of_sample(
    models_dir: Path, info: BundleInfo, member: dict[str, Any], rows: pd.DataFrame, features: pd.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[str, Any]]:
    """The member's answers for `rows`, which of them a training may see, and what is said of that."""
    asked = StackedFrame({**member["inputs"]}, [member]).transform(rows)
    found = asked[member["columns"]].to_numpy(dtype=np.float64)
    every = np.ones(len(rows), dtype=bool)
    if member["model"] is None:
        name = f"model {info.version} ({info.provenance['file']})"
        warning = (
            f"{name} was trained elsewhere: whether rows it learnt from are among the train and held-out rows here "
            f"is not known; if they are, this model looks better than it is"
        )
        note = "nothing is known of the rows it learnt from"
        return found, every, {"seen_rows": None, "left_out": 0, "note": note, "warning": warning}
    seen = seen_by(models_dir, info.version, features).set_index("_row")["_score"]
    keys = rows["_row"].astype(str)
    known = keys.isin(set(seen.index)).to_numpy(dtype=bool)
    if len(member["places"]) > 1:
        # A bundle keeps the score of one class a row, and of the others nothing.
        usable = ~known
    else:
        then = seen.reindex(keys[known]).to_numpy(dtype=np.float64)
        found[known] = as_features(then[:, np.newaxis], [0] if member["places"] else [])
        usable = every.copy()
        usable[known] = np.isfinite(then)
    left = int((~usable).sum())
    note = (
        f"it had learnt from {int(known.sum())} of the {len(rows)} train rows: {int((known & usable).sum())} of "
        f"these count with its out-of-fold score, {left} were left out"
    )
    return found, usable, {"seen_rows": int(known.sum()), "left_out": left, "note": note, "warning": None}


def _unfit(info: BundleInfo, why: str) -> InvalidInput:
    return InvalidInput(
        f"Model {info.version} cannot be stacked",
        detail=f"project {info.project}: {why}",
        remedy="Name another version under training.stack in project.yaml, or none.",
    )
