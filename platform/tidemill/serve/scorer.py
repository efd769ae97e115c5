"""Scorers: what turns checked records into answers.

Here belongs the interface and the scorer that runs the bundle's scikit-learn pipeline. Nothing heavy is imported
before a scorer is made. Checking records is in `serve/record.py`, choosing the model in `serve/service.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.errors import Corrupt
from tidemill.project import Project

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """One answer.

    `label` is the class as text, or the number of a regression. `score` is the probability of the positive class
    (binary) or of the label (other classifications), None for a regression. `probabilities` has every class.
    """

    label: str | float
    score: float | None
    probabilities: dict[str, float] | None


class Scorer(ABC):
    """A loaded model. `score` may be called from several threads."""

    version: int
    classes: list[str] | None

    @abstractmethod
    def score(self, records: Sequence[Values]) -> list[Score]:
        """One score per record, in order; `records` are the `values` of checked records."""


class SklearnScorer(Scorer):
    """Runs the fitted pipeline of a bundle. Raises NotFound or Corrupt when it cannot be loaded."""

    def __init__(self, models_dir: Path, version: int, project: Project) -> None:
        from tidemill.learn.bundle import load_model
        from tidemill.learn.bundle_info import load_info

        info = load_info(models_dir, version)
        self.version = version
        self._columns = list(project.feature_columns)
        self._pipeline = load_model(models_dir, version)
        self.classes = [str(name) for name in self._pipeline.classes_] if project.is_classification else None
        self._positive = _positive(info.positive, self.classes) if project.task == "binary" else None
        self._threshold = float(info.threshold if info.threshold is not None else project.serving.threshold)

    def score(self, records: Sequence[Values]) -> list[Score]:
        if not records:
            return []
        import pandas as pd

        # Objects, not inferred types: the pipeline's first step casts by the contract.
        frame = pd.DataFrame(
            {name: pd.Series([record[name] for record in records], dtype=object) for name in self._columns}
        )
        if self.classes is None:
            return [Score(float(value), None, None) for value in self._pipeline.predict(frame)]
        table = self._pipeline.predict_proba(frame).tolist()
        return [self._classified(self.classes, row) for row in table]

    def _classified(self, classes: list[str], row: list[float]) -> Score:
        probabilities = dict(zip(classes, row, strict=True))
        if self._positive is None:
            label = max(probabilities, key=probabilities.__getitem__)
            return Score(label, probabilities[label], probabilities)
        score = probabilities[self._positive]
        negative = next(name for name in classes if name != self._positive)
        return Score(self._positive if score >= self._threshold else negative, score, probabilities)


def _positive(named: str | None, classes: list[str] | None) -> str:
    if classes is None or len(classes) != 2:
        raise Corrupt(
            "The model of a binary project does not have two classes",
            detail=f"its classes are {', '.join(classes or [])}",
            remedy="Train again with rows of both classes, and deploy that model.",
        )
    return named if named in classes else classes[1]
