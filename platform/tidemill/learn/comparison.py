"""Comparison with the live model: both on the same held-out rows, with the interval of the difference.

Here belong the differences and what makes two models incomparable. Judging them is `learn/gate.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import pandas as pd

from tidemill.learn import metrics
from tidemill.learn.features import TEST
from tidemill.learn.learnable import truth_of
from tidemill.learn.metrics import Interval
from tidemill.learn.scoring import outputs
from tidemill.project import Project


@dataclass(frozen=True)
class Comparison:
    """The live model `version` beside a new one on the same `rows`.

    `live` has the live model's metrics and `differences` the new model's less the live one's, with paired 95 %
    intervals. Both are empty when `reason` says why the two cannot be compared.
    """

    version: int
    rows: int = 0
    live: dict[str, float] = field(default_factory=dict)
    differences: dict[str, Interval] = field(default_factory=dict)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The comparison that `to_json` gave."""
        intervals = {name: Interval(**value) for name, value in document["differences"].items()}
        return cls(**{**document, "differences": intervals})


def compare(
    pipeline: Any,
    live: Any,
    features: pd.DataFrame,
    project: Project,
    live_project: Project,
    *,
    version: int,
) -> Comparison:
    """The fitted `pipeline` beside the `live` one of `version` on the rows of `features` that are held out.

    Each answers by its own project: its columns, its threshold. The live model's contract may be older.
    """
    if reason := _incomparable(features, project, live_project):
        return Comparison(version, reason=reason)
    rows = features[features["_split"] == TEST]
    truth = truth_of(rows, project)
    names = None
    if project.is_classification:
        found = (truth, pipeline.classes_, live.classes_)
        names = sorted({str(name) for source in found for name in source})
    mine = outputs(pipeline, rows[list(project.feature_columns)], project, names)
    theirs = outputs(live, rows[list(live_project.feature_columns)], live_project, names)
    if mine.positive != theirs.positive:
        reason = f"its positive class is {theirs.positive!r}, the new model's is {mine.positive!r}"
        return Comparison(version, reason=reason)
    return Comparison(
        version,
        rows=len(rows),
        live=metrics.values(truth, theirs),
        differences=metrics.differences(truth, mine, theirs, seed=project.training.seed),
    )


def _incomparable(features: pd.DataFrame, project: Project, live: Project) -> str:
    if live.task != project.task:
        return f"its task is {live.task}, the new model's is {project.task}"
    if live.target != project.target:
        return f"it predicts {live.target!r}, the new model {project.target!r}"
    gone = [name for name in live.feature_columns if name not in features.columns]
    if gone:
        return f"it needs {', '.join(map(repr, gone))}, which the features no longer have"
    changed = [
        name
        for name, column in live.feature_columns.items()
        if name in project.feature_columns and project.feature_columns[name].type != column.type
    ]
    return f"the type of {', '.join(map(repr, changed))} has changed since" if changed else ""
