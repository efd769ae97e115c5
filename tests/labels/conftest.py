"""A back end whose answers a test writes down itself, and the control state of an empty home."""

from collections.abc import Sequence

import pytest

from tidemill.home import Home
from tidemill.labels.backend import Annotation, LabelBackend, LabelTask, Pull, QueueState
from tidemill.store.state import State, open_state


class ToldBackend(LabelBackend):
    """Answers every pull with the next of `pulls`; the cursor counts them."""

    source = "told"

    def __init__(self, *pulls: Pull) -> None:
        self.pulls = list(pulls)
        self.cursors: list[str] = []

    def push(self, tasks: Sequence[LabelTask]) -> dict[str, str]:
        return {task.row: f"task-{task.row}" for task in tasks}

    def pull(self, cursor: str = "") -> Pull:
        self.cursors.append(cursor)
        return self.pulls.pop(0) if self.pulls else Pull(cursor=cursor)

    def state(self) -> QueueState:
        return QueueState(0, 0, 0)

    def close(self) -> None:
        pass


@pytest.fixture
def state(home: Home) -> State:
    return open_state(home)


def annotation(answer_id: str, row: str, label: str | float | None, **fields: object) -> Annotation:
    moment = "2026-05-02T09:00:00.000+00:00"
    given = {"annotator": "ada", "created_at": moment, "updated_at": moment, **fields}
    return Annotation(answer_id, row, label, **given)  # type: ignore[arg-type]
