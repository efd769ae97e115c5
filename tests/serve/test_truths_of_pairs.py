"""Losses of pairs that an earlier process made, from the log."""

from pathlib import Path
from typing import Any

import pytest

from tidemill.home import Home
from tidemill.project import Project
from tidemill.serve.deployment import Challenger
from tidemill.serve.truths_of_pairs import losses_of_pairs
from tidemill.store.events import EventLog
from tidemill.store.state import now

TEXT = (
    "name: pets\ntask: {task}\ncolumns:\n  weight: {{type: float}}\n  sick: {{type: {kind}, role: target}}\n"
)


def written(home: Home, role: str, version: int, beside: int, said: Any, other: Any, truth: Any) -> None:
    """One prediction `a` of `version`, what `beside` said of its record, and the truth."""
    base: dict[str, Any] = {
        "at": now(),
        "project": "pets",
        "request_id": "r",
        "entity_id": None,
        "score": None,
        "probabilities": None,
        "latency_ms": 1.0,
    }
    asked = {
        "id": "s",
        "model_version": beside,
        "role": "shadow",
        "label": other,
        "prediction_id": "a",
        "error": None,
    }
    answered = {
        "id": "a",
        "model_version": version,
        "role": role,
        "label": said,
        "input": {"weight": 1},
        "flags": [],
    }
    known = {"id": "t", "at": now(), "project": "pets", "prediction_id": "a", "entity_id": None, "label": truth,
             "observed_at": None, "source": None}  # fmt: skip
    events = {"predictions": base | answered, "challenger": base | asked, "ground_truth": known}
    for stream, event in events.items():
        EventLog(home, "pets", stream).append([event])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "kind", "labels", "truth", "expected"),
    [
        ("binary", "category", ("yes", "no"), "yes", (0.0, 1.0)),
        ("regression", "float", (10.0, 13.0), 11.0, (1.0, 2.0)),
    ],
)
@pytest.mark.parametrize("stage", ["shadow", "canary"])
def test_losses_are_of_champion_and_challenger_in_both_stages(
    home: Home, task: str, kind: str, labels: tuple[Any, Any], truth: Any, expected: Any, stage: Any
) -> None:
    text = TEXT.format(task=task, kind=kind)
    file = home.project_file("pets")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    challenger = Challenger(2, stage, None, "salt", False, 2, now())
    champion, challenging = labels
    if stage == "shadow":
        written(home, "champion", 1, 2, champion, challenging, truth)
    else:
        written(home, "canary", 2, 1, challenging, champion, truth)
    project = Project.parse(text, Path("pets/project.yaml"))
    assert losses_of_pairs(home, project, 1, challenger) == {"a": expected}
    later = Challenger(2, stage, None, "salt", False, 3, "2999-01-01T00:00:00.000+00:00")
    assert losses_of_pairs(home, project, 1, later) == {}
