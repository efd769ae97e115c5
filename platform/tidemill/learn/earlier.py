"""What a training takes over from earlier versions of the project: answers as features, or a beginning.

Here belongs both as one value, so that training, bundle and rebuild hand on one thing. Each is told of in its own
module: `learn/stacking.py`, `learn/warm_start.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tidemill.learn import stacking, warm_start
from tidemill.learn.bundle_info import BundleInfo
from tidemill.learn.stacking import Stack
from tidemill.learn.warm_start import WarmStart
from tidemill.project import Project


@dataclass(frozen=True)
class Earlier:
    """The stack and the beginning of a training; None where project.yaml names none."""

    stack: Stack | None = None
    start: WarmStart | None = None

    def rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The train rows that may be learnt from, with the stack's columns. Raises InvalidInput for too few."""
        left = self.start.left_of(rows) if self.start is not None else rows
        return self.stack.added_to(left) if self.stack is not None else left

    def columns(self, project: Project) -> list[str]:
        """The columns that a pipeline is fitted on."""
        return [*project.feature_columns, *(self.stack.columns if self.stack is not None else [])]

    def first(self, candidate: str) -> dict[str, Any] | None:
        """The settings that `candidate` tries before its own."""
        return self.start.params if self.start is not None and self.start.candidate == candidate else None

    def files(self) -> dict[str, bytes]:
        """What a bundle has to hold to be rebuilt by itself."""
        found = {}
        if self.stack is not None:
            found[stacking.FILE] = self.stack.to_bytes()
        if self.start is not None and self.start.unseen is not None:
            found[warm_start.FILE] = json.dumps(sorted(self.start.unseen)).encode()
        return found

    def provenance(self) -> dict[str, Any]:
        """What a bundle says of it."""
        found: dict[str, Any] = {}
        if self.stack is not None:
            found["stack"] = self.stack.said
        if self.start is not None:
            found["warm_start"] = self.start.said
        return found


NOTHING = Earlier()


def open_earlier(models_dir: Path, project: Project, features: pd.DataFrame) -> Earlier:
    """What project.yaml names. Raises NotFound, or InvalidInput with the reason why a version does not fit."""
    return Earlier(
        stacking.open_stack(models_dir, project, features),
        warm_start.open_warm_start(models_dir, project, features),
    )


def read_earlier(info: BundleInfo, pipeline: Any, project: Project) -> Earlier:
    """What a bundle carries, from its loaded `pipeline`."""
    return Earlier(stacking.read_stack(info, pipeline), warm_start.read_warm_start(info, pipeline, project))
