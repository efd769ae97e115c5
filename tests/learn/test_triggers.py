import pytest

from tidemill.home import Home
from tidemill.learn.triggers import Seen, due, seen_by_newest_model
from tidemill.project_triggers import Triggers
from tidemill.store.state import open_state

BEFORE = Seen(rows=100, labels=50, alert=3)


@pytest.mark.parametrize(
    ("policy", "now", "trigger"),
    [
        (Triggers(), Seen(1000, 1000, 9), None),
        (Triggers(new_rows=10), Seen(109, 50, 9), None),
        (Triggers(new_rows=10), Seen(110, 50, 9), "new-data"),
        (Triggers(new_labels=10), Seen(500, 59, 9), None),
        (Triggers(new_labels=10, new_rows=1), Seen(500, 60, 3), "new-labels"),
        (Triggers(drift=True), Seen(500, 500, 3), None),
        (Triggers(drift=True, new_rows=1), Seen(500, 500, 4), "drift"),
        (Triggers(new_rows=10), Seen(20, 50, 0), None),
    ],
)
def test_which_trigger_is_due(policy: Triggers, now: Seen, trigger: str | None) -> None:
    found = due(policy, now, BEFORE)
    assert (found.trigger if found else None) == trigger


def test_before_the_first_model_nothing_was_seen(home: Home) -> None:
    assert seen_by_newest_model(home, open_state(home), "pets") == Seen(0, 0, 0)
