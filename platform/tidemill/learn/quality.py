"""Quality of the rows that a model will learn from: what makes it learn less than it could.

Here belong signs that need a person's eye and stop nothing. What must stop a training is `learn/leakage.py`; the
contract's rules are checked before rows get here (`data/checks.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from numpy.typing import NDArray

from tidemill.learn.features import TEST, TRAIN
from tidemill.project import Project

Kind = Literal["duplicates", "contradictions", "constant", "id_like", "class_balance"]

# Rows that repeat by chance, in tables of few columns.
DUPLICATES_ALLOWED = 0.01
# Equal features with unequal labels are noise only where features tell rows apart; in a table of three yes-or-no
# columns they are the normal case.
TELLING_APART = 0.9
# An id has a value for each row; so many may be empty or doubled.
ID_SHARE = 0.95
ENOUGH_ROWS = 20
RARE_SHARE = 0.05
RARE_ROWS = 20
SHOWN = 3


@dataclass(frozen=True)
class Concern:
    """One sign of poor data: `detail` says what was found, `advice` what to do. `column` is "" for rows."""

    kind: Kind
    column: str
    detail: str
    advice: str


def find_concerns(features: pd.DataFrame, project: Project) -> list[Concern]:
    """All concerns about a features table (as `build_features` makes it), those about columns first."""
    columns = [name for name in features.columns if not name.startswith("_")]
    concerns: list[Concern] = []
    for name in columns:
        concerns += _column(features[name], name, project)
    concerns += _rows(features, columns, project)
    if project.is_classification:
        concerns += _balance(features)
    return concerns


def _column(values: pd.Series, name: str, project: Project) -> Iterator[Concern]:
    distinct, filled = int(values.nunique()), int(values.notna().sum())
    # One value and gaps is not constant: the gaps may tell something.
    if distinct == 0 or (distinct == 1 and filled == len(values)):
        detail = f"{name!r} is {'the same' if distinct else 'empty'} in every row"
        advice = "give it the role ignore in project.yaml, or find out why it never changes"
        yield Concern("constant", name, detail, advice)
        return
    kind = project.columns[name].type if name in project.columns else "string"
    names_rows = kind in ("string", "category", "integer") and distinct >= ID_SHARE * len(values)
    # Whole numbers may differ in every row and still be amounts; a run without gaps is a counter.
    if names_rows and kind == "integer":
        names_rows = float(values.max()) - float(values.min()) <= 1.1 * len(values)
    if names_rows and len(values) >= ENOUGH_ROWS:
        detail = f"{name!r} has {distinct} different values in {len(values)} rows, as an id has"
        advice = "give it the role id or ignore: it tells nothing about rows to come"
        yield Concern("id_like", name, detail, advice)


def _rows(features: pd.DataFrame, columns: list[str], project: Project) -> Iterator[Concern]:
    if not columns or len(features) < ENOUGH_ROWS:
        return
    keys = pd.util.hash_pandas_object(features[columns], index=False)
    keyed = pd.DataFrame({"key": keys.to_numpy(), "label": features["_label"].to_numpy()})
    doubled = keyed.duplicated(keep="first").to_numpy(dtype=bool)
    if (count := int(doubled.sum())) > DUPLICATES_ALLOWED * len(features):
        detail = f"{count} of {len(features)} rows repeat an earlier row{_such_as(features, doubled)}"
        advice = "remove copies from the files, or give the contract an id column so that they are rejected"
        yield Concern("duplicates", "", detail, advice)
    if not project.is_classification or keyed["key"].nunique() < TELLING_APART * len(keyed):
        return
    unlike = (keyed.groupby("key")["label"].transform("nunique") > 1).to_numpy(dtype=bool)
    if count := int(unlike.sum()):
        detail = f"{count} rows have the features of another row and a different label"
        advice = "look at their labels: one of each pair is probably wrong"
        yield Concern("contradictions", "", detail + _such_as(features, unlike), advice)


def _such_as(features: pd.DataFrame, chosen: NDArray[Any]) -> str:
    return f" (such as {', '.join(map(str, features['_row'].to_numpy()[chosen][:SHOWN]))})"


def _balance(features: pd.DataFrame) -> Iterator[Concern]:
    counts = features["_label"].value_counts()
    if len(counts) < 2:
        detail = f"every row has the label {counts.index[0]!s}" if len(counts) else "no row has a label"
        yield Concern(
            "class_balance", "", detail, "send rows of the other classes: there is nothing to tell apart"
        )
        return
    for label, count in counts.items():
        share = count / len(features)
        if share < RARE_SHARE or count < RARE_ROWS:
            detail = f"only {count} of {len(features)} rows ({share:.1%}) have the label {label!s}"
            advice = "collect more of them, and judge by average_precision or balanced_accuracy, not accuracy"
            yield Concern("class_balance", "", detail, advice)
    for side in (TRAIN, TEST):
        absent = set(counts.index) - set(features.loc[features["_split"] == side, "_label"].dropna())
        if absent:
            detail = f"no {side} row has the label {', '.join(sorted(map(str, absent)))}"
            advice = "collect more rows of that label, or change training.split"
            yield Concern("class_balance", "", detail, advice)
