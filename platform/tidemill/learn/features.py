"""Features: labelled rows with the contract's columns and the side of the split each row is on.

Here belongs which rows and columns training may see, and which rows are held out. Encoding is not done here: it
is part of the pipeline (`learn/pipeline.py`), so that serving and training share it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.errors import InvalidInput
from tidemill.project import Project

TRAIN = "train"
TEST = "test"
# Before the name of a column that only the evaluation looks at.
ASKED = "_asked_"

# pandas types that hold empty cells without changing the column's own type.
_DTYPES: dict[str, Any] = {
    "integer": "Int64",
    "float": "float64",
    "boolean": "boolean",
    "string": "string",
    "category": "string",
    "text": "string",
}


def build_features(raw: pd.DataFrame, labels: pd.DataFrame, project: Project) -> pd.DataFrame:
    """The labelled rows of `raw` as `_row`, `_split`, `_label` and the feature columns, typed by the contract.

    A row or label that is there twice counts as its newest (last) state. With a split by group there is `_group`
    as well; with a split by time there is `_time`, and the rows are in its order. Columns that `evaluation` names
    without being features follow as `_asked_NAME`. Raises InvalidInput when a
    column is absent or no labelled row is left.
    """
    missing = [name for name in project.feature_columns if name not in raw.columns]
    if missing:
        raise InvalidInput(
            "Feature columns are not in the data",
            detail=f"project {project.name}: the raw table lacks {', '.join(missing)}",
            remedy="Send the data again with those columns, or give them the role ignore in project.yaml.",
        )
    rows = raw.drop_duplicates("_row", keep="last")
    newest = labels.drop_duplicates("_row", keep="last")[["_row", "label"]]
    joined = rows.merge(newest.rename(columns={"label": "_label"}), on="_row", how="inner", validate="1:1")
    if joined.empty:
        raise InvalidInput(
            "No labelled row is left for training",
            detail=f"project {project.name}: none of the {len(labels)} labels is for one of {len(raw)} rows",
            remedy="Publish the labels again from the current data.",
        )
    kind = project.training.split.kind
    if kind == "time":
        joined = joined.sort_values(project.by_role("time")[0], kind="stable", na_position="first")
    features = pd.DataFrame({"_row": joined["_row"].astype("string")})
    features["_split"] = pd.array(np.where(_is_test(joined, project), TEST, TRAIN), dtype="string")
    features["_label"] = joined["_label"].astype(_DTYPES["string" if project.is_classification else "float"])
    if kind != "random":
        features[f"_{kind}"] = joined[project.by_role(kind)[0]]
    # What the evaluation asks about and the model must not see.
    for name in project.evaluation.columns:
        if name not in project.feature_columns:
            features[ASKED + name] = _typed(joined[name], project.columns[name].type)
    typed = {name: _typed(joined[name], column.type) for name, column in project.feature_columns.items()}
    return pd.concat([features, pd.DataFrame(typed)], axis=1).reset_index(drop=True)


def _typed(values: pd.Series[Any], kind: str) -> pd.Series[Any]:
    return values.astype(_DTYPES[kind]) if kind in _DTYPES else values


def _is_test(rows: pd.DataFrame, project: Project) -> NDArray[Any]:
    """True for each row that is held out."""
    split = project.training.split
    if split.kind == "time":
        return _newest(rows[project.by_role("time")[0]], split.test)
    keys = rows["_row"].astype(str)
    if split.kind == "group":
        group = rows[project.by_role("group")[0]]
        keys = ("group:" + group.astype(str)).where(group.notna(), keys)
    return np.array([share_of(key, project.training.seed) < split.test for key in keys], dtype=bool)


def share_of(key: str, seed: int) -> float:
    """A number in [0, 1) that depends on `key` and `seed` alone.

    Unlike a shuffle it does not change when rows are added, so that a row once held out stays held out.
    """
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)


def _newest(times: pd.Series, share: float) -> NDArray[Any]:
    """True for the newest `share` of the rows; rows of one moment stay together, rows without a time are old."""
    known = times.dropna().sort_values()
    if known.empty:
        return np.zeros(len(times), dtype=bool)
    cut = known.iloc[min(int(np.ceil(len(known) * (1 - share))), len(known) - 1)]
    newest = np.zeros(len(times), dtype=bool)
    newest[times.notna().to_numpy(dtype=bool)] = (times.dropna() >= cut).to_numpy(dtype=bool)
    return newest
