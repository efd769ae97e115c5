"""The model that says where it is unsure, so that people are asked there.

A forest of the project's own pipeline: quick to fit on few rows, and its trees tell how far they agree; for classes
of texts a linear model, which tells words apart better. It is not the deployed model, which may not know the newest
labels, or not be there yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tidemill.labels import selection
from tidemill.learn.pipeline import make_pipeline
from tidemill.project import Project

Numbers = NDArray[np.float64]

# A few seconds of one core; where there are more labels than this, choosing rows matters little.
MOST_ROWS = 5_000


@dataclass(frozen=True)
class Learner:
    """A model fitted on labelled rows; `model` is the whole pipeline."""

    project: Project
    model: Pipeline

    @classmethod
    def fit(
        cls,
        project: Project,
        rows: pd.DataFrame,
        labels: Sequence[Any] | NDArray[Any],
        seed: int,
        trees: int = 100,
    ) -> Self:
        """A learner of `rows` (frame with the contract's features) and their labels, of a sample of very many."""
        truth = np.asarray(labels, dtype=object if project.is_classification else np.float64)
        if len(rows) > MOST_ROWS:
            kept = np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS]
            rows, truth = rows.iloc[kept], truth[kept]
        with threadpool_limits(limits=1):
            model = make_pipeline(
                project, "random_forest", {"random_state": seed, "n_estimators": trees}
            ).fit(rows, truth)
        return cls(project, model)

    def uncertainty(self, rows: pd.DataFrame) -> Numbers:
        """How unsure it is of each row; more is less sure: by margin, or by what the trees differ for numbers."""
        if self.project.is_classification:
            return selection.margin(np.asarray(self.model.predict_proba(rows), dtype=np.float64))
        return selection.spread(self.model, rows)

    @staticmethod
    def space(project: Project, rows: pd.DataFrame, seed: int) -> Numbers:
        """The rows as points, see `selection.feature_space`."""
        return selection.feature_space(make_pipeline(project, "linear", {}), rows, seed)
