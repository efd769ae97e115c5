"""Labels taken from the target column of the data.

Here belongs how a cell of the target becomes a label, for a whole table and as a back end. Who else may give
labels (people, consolidated) is the business of other modules; joining labels to rows that of `learn/features.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from tidemill.errors import Conflict, InvalidInput
from tidemill.labels.backend import Annotation, LabelBackend, LabelTask, Pull, QueueState
from tidemill.project import Project


def labels_from_column(
    raw: pd.DataFrame, project: Project, raw_version: int, *, at: str | None = None
) -> pd.DataFrame:
    """One label per row of `raw` whose target is filled, in the rows' order.

    Gives `_row` (string), `label` (string for a classification, float64 for a regression), `annotator`
    (`column:<target>`), `labelled_at` (`at`, or the time now, ISO 8601 in UTC) and `raw_version` (int64).
    Raises InvalidInput when the column is absent or no row has a label.
    """
    target = project.target
    if target not in raw.columns:
        raise InvalidInput(
            "The target column is not in the data",
            detail=f"project {project.name}: raw@{raw_version} has no column {target!r}",
            remedy="Send the data again with that column, or name another target in project.yaml.",
        )
    found = filled_rows(raw, project, raw_version, at=at)
    if found.empty:
        raise InvalidInput(
            "No row has a label",
            detail=f"project {project.name}: column {target!r} of raw@{raw_version} is empty in every row",
            remedy="Send rows whose target is filled in.",
        )
    return found


def filled_rows(
    raw: pd.DataFrame, project: Project, raw_version: int, *, at: str | None = None
) -> pd.DataFrame:
    """`labels_from_column` for data in which nobody may have filled in a target yet, or that has no such column."""
    target = project.target
    if target in raw.columns:
        labelled = raw.loc[raw[target].notna(), ["_row", target]]
    else:
        labelled = pd.DataFrame({"_row": [], target: []})
    label: Any
    if project.is_classification:
        label = pd.array([label_text(value) for value in labelled[target]], dtype="string")
    else:
        label = labelled[target].to_numpy(dtype=np.float64)
    return pd.DataFrame(
        {
            "_row": labelled["_row"].astype("string").to_numpy(dtype=object),
            "label": label,
            "annotator": f"column:{target}",
            "labelled_at": at or datetime.now(UTC).isoformat(timespec="milliseconds"),
            "raw_version": np.int64(raw_version),
        }
    )


class ColumnBackend(LabelBackend):
    """The target column of one version of the data: who filled in a cell has answered about its row.

    The cursor is the version's number, as a version never changes. Nobody can be asked anything here.
    """

    def __init__(self, raw: pd.DataFrame, project: Project, raw_version: int, at: str) -> None:
        self.source = f"column:{project.target}"
        self._project = project
        self._version = raw_version
        self._rows = len(raw)
        self._labels = filled_rows(raw, project, raw_version, at=at)

    def push(self, tasks: Sequence[LabelTask]) -> dict[str, str]:
        raise Conflict(
            "Nobody can be asked about a column of the data",
            detail=f"project {self._project.name} takes its labels from {self.source}; {len(tasks)} rows were to "
            "be asked about",
            remedy="Set labels to built-in or label-studio in project.yaml, or send a file with its cells filled.",
        )

    def pull(self, cursor: str = "") -> Pull:
        if cursor == str(self._version):
            return Pull(cursor=cursor)
        given = zip(self._labels["_row"], self._labels["label"], self._labels["labelled_at"], strict=True)
        answers = [
            Annotation(row, row, label, self.source, moment, moment, origin="column")
            for row, label, moment in given
        ]
        return Pull(answers, cursor=str(self._version))

    def state(self) -> QueueState:
        count = len(self._labels)
        return QueueState(self._rows, count, count, {self.source: count})

    def close(self) -> None:
        """There is nothing open."""


def label_text(value: Any) -> str:
    """A class as the text it is known by everywhere: `true`/`false`, `3`, or the string itself."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    # An integer column with empty cells arrives from Parquet as float64.
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
