"""What may be said of a row: the classes of a project, and an answer as one of its labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tidemill.errors import InvalidInput
from tidemill.home import Home
from tidemill.learn.bundle_info import list_bundles
from tidemill.project import Project
from tidemill.store.tables import TableStore

MOST_CLASSES = 1_000


def known_classes(home: Home, project: Project) -> list[str] | None:
    """The classes of a classification: of the contract, else of the newest model, else of the labels there are.

    None for a regression, and where nothing says yet.
    """
    if not project.is_classification:
        return None
    target = project.columns[project.target]
    if target.type == "boolean":
        return ["false", "true"]
    if target.values is not None:
        return list(target.values)
    bundles = list_bundles(home.models(project.name))
    if bundles and bundles[-1].classes:
        return list(bundles[-1].classes)
    labels = TableStore(home.tables(project.name)).current("labels")
    if labels is None:
        return None
    import pyarrow.compute as pc

    found = pc.unique(labels.to_arrow(["label"]).column("label")).to_pylist()
    return sorted(str(name) for name in found)[:MOST_CLASSES] or None


def as_label(given: Any, project: Project, classes: Sequence[str] | None) -> str | float:
    """An answer as labels are known everywhere: a class as text, or a finite number. Raises InvalidInput."""
    if project.is_classification:
        text = "true" if given is True else "false" if given is False else str(given).strip()
        if isinstance(given, float) and given.is_integer():
            text = str(int(given))
        if text and (classes is None or text in classes):
            return text
        wanted = f"one of {', '.join(classes[:20])}" if classes else "the name of a class"
    else:
        if isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given):
            return float(given)
        wanted = "a number, without quotes"
    raise InvalidInput(
        "The answer is no label of this project",
        detail=f"project {project.name}: {str(given)[:60]!r} was answered; a label is {wanted}",
        remedy="Choose one of those, or skip the row.",
    )
