"""Leakage: signs that a model could know in training what it will not know in use.

Here belongs finding them. Whether one stops the run is said by `Leak.blocking`; acting on it is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from tidemill.labels.column import label_text
from tidemill.learn.features import TEST, TRAIN
from tidemill.learn.importance import sample
from tidemill.project import NUMERIC, TEMPORAL, Project

Kind = Literal[
    "target_among_features", "id_among_features", "shared_rows", "shared_values", "predicts_target"
]

# Below this many rows a feature can separate the classes by mere chance.
_ENOUGH_ROWS = 20
# One column of measurements alone hardly ever ranks the classes so well, or tells them so surely.
_MANY_ROWS = 100
_TOO_GOOD_RANKING = 0.995
_TOO_SURE = 0.99
_TOO_STRAIGHT = 0.999  # share of the label's variance
# Each column is looked at on so many rows; only one that seems to leak there is looked at on all.
_SCREENED_ROWS = 100_000
# Whether a column equals the label shows on the first rows; turning every number into text takes long.
_FIRST_ROWS = 50
# Rows of continuous measurements do not coincide by chance; a twentieth of them is a copied file.
_TWINS_ALLOWED = 0.05


_ADVICE = "if it is known only after the target is, give it the role ignore"


@dataclass(frozen=True)
class Leak:
    """One sign of leakage. `column` is empty when it is about rows; `blocking` when training must not go on."""

    kind: Kind
    column: str
    detail: str
    blocking: bool


def find_leakage(features: pd.DataFrame, project: Project) -> list[Leak]:
    """All leaks found in a features table, those about columns first."""
    columns = [name for name in features.columns if not name.startswith("_")]
    leaks = [
        *_forbidden_columns(columns, project),
        *(leak for name in columns if (leak := _column_leak(features, name, project)) is not None),
    ]
    return [*leaks, *_shared_rows(features), *_shared_values(features, columns)]


def _forbidden_columns(columns: list[str], project: Project) -> list[Leak]:
    leaks = []
    if project.target in columns:
        detail = f"the target {project.target!r} is among the features"
        leaks.append(Leak("target_among_features", project.target, detail, True))
    if project.id_column in columns:
        detail = f"the id {project.id_column!r} is among the features"
        leaks.append(Leak("id_among_features", str(project.id_column), detail, True))
    return leaks


def _column_leak(features: pd.DataFrame, name: str, project: Project) -> Leak | None:
    if len(features) > _SCREENED_ROWS:
        few = features[[name, "_label"]].iloc[sample(len(features), _SCREENED_ROWS, project.training.seed)]
        if _tells_target(few, name, project) is None:
            return None
    return _tells_target(features, name, project)


def _tells_target(features: pd.DataFrame, name: str, project: Project) -> Leak | None:
    column = project.columns.get(name)
    if name == project.target or (column is not None and column.type == "text"):
        return None
    known = features.loc[features[name].notna() & features["_label"].notna(), [name, "_label"]]
    if len(known) < _ENOUGH_ROWS or known["_label"].nunique() < 2:
        return None
    if not project.is_classification:
        return _tells_number(known, name)
    if _is_label(known.head(_FIRST_ROWS), name) and _is_label(known, name):
        return Leak("target_among_features", name, f"{name!r} equals the label in every row", True)
    ordered = column is not None and column.type in NUMERIC | TEMPORAL
    if (_separates if ordered else _determines)(known, name):
        detail = f"{name!r} alone predicts the label in all {len(known)} rows that have it"
        return Leak("predicts_target", name, f"{detail}: {_ADVICE}", False)
    if len(known) >= _MANY_ROWS and (told := (_ranks if ordered else _nearly_determines)(known, name)):
        return Leak("predicts_target", name, f"{name!r} alone {told}: {_ADVICE}", False)
    return None


def _is_label(known: pd.DataFrame, name: str) -> bool:
    texts = known[name].map(label_text).to_numpy(dtype=object)
    return bool((texts == known["_label"].to_numpy(dtype=object)).all())


def _tells_number(known: pd.DataFrame, name: str) -> Leak | None:
    if not pd.api.types.is_numeric_dtype(known[name]) or known[name].nunique() < 2:
        return None
    values = known[name].to_numpy(dtype=np.float64)
    truth = known["_label"].to_numpy(dtype=np.float64)
    if bool((values == truth).all()):
        return Leak("target_among_features", name, f"{name!r} equals the label in every row", True)
    spread = float(np.std(values)) * float(np.std(truth))
    correlation = (
        float(np.mean((values - values.mean()) * (truth - truth.mean()))) / spread if spread else 0.0
    )
    if correlation**2 > _TOO_STRAIGHT:
        return Leak("predicts_target", name, f"the label is a straight line of {name!r}: {_ADVICE}", False)
    return None


def _determines(known: pd.DataFrame, name: str) -> bool:
    """Whether each value goes with one label, and values repeat enough for that to mean something."""
    pairs = known.drop_duplicates()
    distinct = int(known[name].nunique())
    return len(pairs) == distinct and 1 < distinct <= len(known) / 2


def _nearly_determines(known: pd.DataFrame, name: str) -> str:
    """How surely the values tell the label, when that is too sure; else nothing."""
    if known[name].nunique() > len(known) / 10:
        return ""
    counts = known.groupby([name, "_label"], observed=True).size()
    sure = float(counts.groupby(level=0).max().sum()) / len(known)
    usual = float(known["_label"].value_counts(normalize=True).iloc[0])
    # Where nearly all rows have one label, any column is sure of it.
    if sure < _TOO_SURE or 1 - sure > (1 - usual) / 10:
        return ""
    return f"tells the label in {sure:.1%} of {len(known)} rows"


def _ranks(known: pd.DataFrame, name: str) -> str:
    """How well the values rank two classes, when that is too well; else nothing."""
    if known["_label"].nunique() != 2:
        return ""
    first = (known["_label"] == known["_label"].iloc[0]).to_numpy(dtype=bool)
    ranks = known[name].rank().to_numpy(dtype=np.float64)
    count, other = int(first.sum()), int((~first).sum())
    # The area under the ROC curve by rank sums (Hanley and McNeil 1982), either way round.
    area = (float(ranks[first].sum()) - count * (count + 1) / 2) / (count * other)
    area = max(area, 1 - area)
    return f"ranks the classes with a ROC AUC of {area:.4f}" if area >= _TOO_GOOD_RANKING else ""


def _separates(known: pd.DataFrame, name: str) -> bool:
    """Whether the classes lie one after another along the values, without overlap."""
    spans = known.groupby("_label", observed=True)[name].agg(["min", "max"]).sort_values("min")
    return bool((spans["min"].to_numpy()[1:] > spans["max"].to_numpy()[:-1]).all())


def _shared_rows(features: pd.DataFrame) -> list[Leak]:
    train = set(features.loc[features["_split"] == TRAIN, "_row"])
    test = features.loc[features["_split"] == TEST, "_row"]
    shared = [row for row in test if row in train]
    if not shared:
        return []
    detail = f"{len(shared)} of {len(test)} test rows are train rows as well, such as {shared[0]!r}"
    return [Leak("shared_rows", "", detail, True)]


def _shared_values(features: pd.DataFrame, columns: list[str]) -> list[Leak]:
    if not columns:
        return []
    keys = pd.util.hash_pandas_object(features[columns], index=False)
    is_test = (features["_split"] == TEST).to_numpy(dtype=bool)
    twins = keys[is_test].isin(keys[~is_test])
    if not twins.any():
        return []
    share = float(twins.mean())
    continuous = any(
        pd.api.types.is_float_dtype(features[name]) and features[name].nunique() > len(features) / 4
        for name in columns
    )
    detail = (
        f"{int(twins.sum())} of {len(twins)} test rows ({share:.1%}) have the feature values of a train row"
    )
    return [Leak("shared_values", "", detail, continuous and share > _TWINS_ALLOWED)]
