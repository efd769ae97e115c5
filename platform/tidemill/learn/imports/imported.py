"""An imported model in the shape of a fitted pipeline, for evaluation, and as a scorer, for predictions.

Here belongs opening a bundle whose model came from elsewhere. Running it is in `runners.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import Corrupt, InvalidInput
from tidemill.learn.bundle_info import BundleInfo, checked_bytes, load_info
from tidemill.learn.imports.runners import Runner, open_runner
from tidemill.learn.imports.spec import FILE, Spec
from tidemill.project import Project
from tidemill.serve.scorer import Score, Scorer, Values, Verdict


class ImportedModel:
    """Answers about frames with the contract's columns like a fitted pipeline of ours: predict, predict_proba."""

    def __init__(self, runner: Runner, spec: Spec) -> None:
        self._runner, self.spec = runner, spec
        if spec.classes:
            self.classes_ = np.array(spec.classes, dtype=str)

    def predict_proba(self, rows: Any) -> NDArray[np.float64]:
        """rows x classes, in the order of `classes_`."""
        return self._runner.answers({name: rows[name].to_numpy(dtype=object) for name in self.spec.columns})

    def predict(self, rows: Any) -> NDArray[Any]:
        """The most probable class of each row, or its number."""
        found = self.predict_proba(rows)
        return self.classes_[found.argmax(axis=1)] if self.spec.classes else found[:, 0]


class ImportedScorer(Scorer):
    """Runs the imported model of a bundle as it is. Raises NotFound, Corrupt, or NotReady without its library."""

    def __init__(self, models_dir: Path, version: int, project: Project) -> None:
        info = load_info(models_dir, version)
        runner, spec = _opened(info)
        self.version = version
        self._runner, self._columns = runner, spec.columns
        self.classes = spec.classes or None
        self._verdict = Verdict(self.classes, info, project)

    def score(self, records: Sequence[Values]) -> list[Score]:
        if not records:
            return []
        columns = {name: [record[name] for record in records] for name in self._columns}
        found = self._runner.answers(columns)
        if not np.isfinite(found).all():
            odd = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
            gaps = ", ".join(name for name in self._columns if columns[name][odd] is None) or "none"
            raise InvalidInput(
                "The model has no answer for a record",
                detail=f"record {odd}: the imported model gives no finite number (missing values: {gaps})",
                remedy="Send the record with its missing values, or deploy a model that takes gaps.",
            )
        return [self._verdict(row) for row in found.tolist()]


def is_imported(info: BundleInfo) -> bool:
    """Whether the model of this bundle came from elsewhere."""
    return FILE in info.files


def load_imported(info: BundleInfo) -> ImportedModel:
    """The model of an imported bundle, for frames. Raises as ImportedScorer does."""
    return ImportedModel(*_opened(info))


def _opened(info: BundleInfo) -> tuple[Runner, Spec]:
    what = f"{info.project} version {info.version}"
    try:
        spec = Spec.from_json(json.loads(checked_bytes(info, FILE, what)))
    except (ValueError, TypeError) as error:
        raise Corrupt(
            f"What describes the imported model of {what} is not readable",
            detail=f"{info.folder / FILE}: {error}",
            remedy="Restore the bundle's folder from a backup, or import the model again.",
        ) from error
    return open_runner(checked_bytes(info, spec.model_file, what), spec), spec
