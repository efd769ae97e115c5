"""Scorers: what turns checked records into answers.

Here belongs the interface, the choice between the scorers, and the one that runs the bundle's scikit-learn
pipeline; the compiled one is in `serve/compiled.py`, that of imported models in `learn/imports/imported.py`.
Nothing heavy is imported before a scorer is made. Checking records is in `serve/record.py`, choosing the model in
`serve/service.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.errors import Corrupt
from tidemill.learn.bundle_info import BundleInfo, load_info
from tidemill.project import Project

if TYPE_CHECKING:
    from tidemill.serve.explain import Explanation

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

    def explain(self, records: Sequence[Values], scores: Sequence[Score]) -> list[Explanation]:  # noqa: ARG002
        """Why each record got its score. Raises NotExplainable where the model cannot tell; TooLarge."""
        from tidemill.serve.explain import not_explainable

        reason = "only models with a compiled form are explained (the card says why this one has none)"
        raise not_explainable(f"model {self.version}", reason, "Deploy a linear model or one of trees")


class Verdict:
    """From a row of probabilities (or one number) to a score, by the classes and threshold of a bundle."""

    def __init__(self, classes: list[str] | None, info: BundleInfo, project: Project) -> None:
        self.classes = classes
        self.positive = _positive(info.positive, classes) if project.task == "binary" else None
        self.threshold = float(info.threshold if info.threshold is not None else project.serving.threshold)

    def explained(self, score: Score) -> str | None:
        """The class that an explanation of `score` is about: the positive one, or of many the answered one."""
        return None if self.classes is None else self.positive or str(score.label)

    def __call__(self, row: list[float]) -> Score:
        if self.classes is None:
            return Score(row[0], None, None)
        probabilities = dict(zip(self.classes, row, strict=True))
        if self.positive is None:
            label = max(probabilities, key=probabilities.__getitem__)
            return Score(label, probabilities[label], probabilities)
        score = probabilities[self.positive]
        negative = next(name for name in self.classes if name != self.positive)
        return Score(self.positive if score >= self.threshold else negative, score, probabilities)


class SklearnScorer(Scorer):
    """Runs the fitted pipeline of a bundle. Raises NotFound or Corrupt when it cannot be loaded."""

    def __init__(self, models_dir: Path, version: int, project: Project) -> None:
        from tidemill.learn.bundle import load_model

        info = load_info(models_dir, version)
        self.version = version
        self._columns = list(project.feature_columns)
        self._pipeline = load_model(models_dir, version)
        self.classes = [str(name) for name in self._pipeline.classes_] if project.is_classification else None
        self._verdict = Verdict(self.classes, info, project)

    def score(self, records: Sequence[Values]) -> list[Score]:
        if not records:
            return []
        import pandas as pd

        # Objects, not inferred types: the pipeline's first step casts by the contract.
        frame = pd.DataFrame(
            {name: pd.Series([record[name] for record in records], dtype=object) for name in self._columns}
        )
        if self.classes is None:
            return [self._verdict([float(value)]) for value in self._pipeline.predict(frame)]
        return [self._verdict(row) for row in self._pipeline.predict_proba(frame).tolist()]


def open_scorer(models_dir: Path, version: int, project: Project) -> Scorer:
    """The compiled scorer of a bundle that has one, else the one that runs its model. Raises as those do."""
    from tidemill.serve.compiled import FILE, CompiledScorer

    files = load_info(models_dir, version).files
    if FILE in files:
        return CompiledScorer(models_dir, version, project)
    if "import.json" in files:
        from tidemill.learn.imports.imported import ImportedScorer

        return ImportedScorer(models_dir, version, project)
    return SklearnScorer(models_dir, version, project)


def _positive(named: str | None, classes: list[str] | None) -> str:
    if classes is None or len(classes) != 2:
        raise Corrupt(
            "The model of a binary project does not have two classes",
            detail=f"its classes are {', '.join(classes or [])}",
            remedy="Train again with rows of both classes, and deploy that model.",
        )
    return named if named in classes else classes[1]
