"""Labels taken from the target column of the data.

Here belongs how a cell of the target becomes a label. Who else may give labels (people, consolidated) is the
business of other modules; joining labels to rows that of `learn/features.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from tidemill.errors import InvalidInput
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
    labelled = raw.loc[raw[target].notna(), ["_row", target]]
    if labelled.empty:
        raise InvalidInput(
            "No row has a label",
            detail=f"project {project.name}: column {target!r} of raw@{raw_version} is empty in every row",
            remedy="Send rows whose target is filled in.",
        )
    if project.is_classification:
        label: Any = pd.array([label_text(value) for value in labelled[target]], dtype="string")
    else:
        label = labelled[target].to_numpy(dtype=np.float64)
    return pd.DataFrame(
        {
            "_row": labelled["_row"].to_numpy(),
            "label": label,
            "annotator": f"column:{target}",
            "labelled_at": at or datetime.now(UTC).isoformat(timespec="milliseconds"),
            "raw_version": np.int64(raw_version),
        }
    )


def label_text(value: Any) -> str:
    """A class as the text it is known by everywhere: `true`/`false`, `3`, or the string itself."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    # An integer column with empty cells arrives from Parquet as float64.
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
