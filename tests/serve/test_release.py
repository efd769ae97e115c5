"""Where the pipeline brings a model that passed its gate."""

from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import Conflict, NotFound
from tidemill.home import Home
from tidemill.project import Project
from tidemill.serve.release import release, require_deployable
from tidemill.store.state import State, open_state

WHO: Any = {"actor": "dagster", "reason": "passed its gate"}


def project(start: str) -> Project:
    text = (
        "name: pets\ntask: binary\ncolumns:\n  weight: {type: float}\n  sick: {type: category, role: target}\n"
        f"rollout: {{start: {start}, percent: 25}}\n"
    )
    return Project.parse(text, Path("pets/project.yaml"))


@pytest.fixture
def state(home: Home) -> State:
    return open_state(home)


def test_live_at_once(state: State) -> None:
    release(state, project("live"), 1, **WHO)
    after = release(state, project("live"), 2, **WHO)
    assert (after.champion, after.previous, after.challenger) == (2, 1, None)
    assert after.summary == {"champion": 2, "previous": 1, "revision": 2}
    assert release(state, project("live"), 2, **WHO) == after


@pytest.mark.parametrize(("start", "percent"), [("shadow", None), ("canary", 25)])
def test_the_first_is_live_and_the_next_is_tried(state: State, start: str, percent: float | None) -> None:
    assert release(state, project(start), 1, **WHO).champion == 1
    after = release(state, project(start), 2, **WHO)
    assert after.challenger is not None
    assert (after.champion, after.challenger.version, after.challenger.stage) == (1, 2, start)
    assert after.challenger.percent == percent
    assert after.summary["challenger"] == 2
    assert after.summary["stage"] == start
    newer = release(state, project(start), 3, **WHO)
    assert newer.challenger is not None
    assert (newer.champion, newer.challenger.version) == (1, 3)


def test_the_gate_is_asked(home: Home) -> None:
    with pytest.raises((NotFound, Conflict)):
        require_deployable(home, "pets", 1, despite_gate=True)
