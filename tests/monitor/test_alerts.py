import threading

import pytest

from tidemill.errors import Conflict, NotFound
from tidemill.home import Home
from tidemill.monitor.alerts import acknowledge, count_unresolved, list_alerts, raise_alert, resolve
from tidemill.store.state import State, open_state


@pytest.fixture
def state(home: Home) -> State:
    return open_state(home)


def test_a_subject_has_one_open_alert_that_counts(state: State) -> None:
    first = raise_alert(state, "ward", "drift", "inputs", "2 columns", "warning", {"columns": ["a", "b"]})
    again = raise_alert(state, "ward", "drift", "inputs", "3 columns", "critical", {"columns": ["c"]})
    raise_alert(state, "ward", "drift", "other", "1 column")
    raise_alert(state, "clinic", "drift", "inputs", "1 column")
    assert again.id == first.id
    assert (again.times_seen, again.title, again.severity) == (2, "3 columns", "critical")
    assert again.detail == {"columns": ["c"]}
    assert count_unresolved(state, "ward") == 2
    assert len(list_alerts(state)) == 3


def test_a_resolved_alert_is_closed_and_the_next_finding_opens_another(state: State) -> None:
    first = raise_alert(state, "ward", "drift", "inputs", "2 columns")
    closed = resolve(state, "ward", "drift", "inputs")
    assert closed is not None
    assert (closed.id, closed.state) == (first.id, "resolved")
    assert closed.resolved_at
    assert resolve(state, "ward", "drift", "inputs") is None
    assert raise_alert(state, "ward", "drift", "inputs", "2 columns").id != first.id
    assert [alert.state for alert in list_alerts(state, "ward", ["resolved"])] == ["resolved"]


def test_an_acknowledged_alert_stays_so_while_it_is_seen_again(state: State) -> None:
    alert = raise_alert(state, "ward", "drift", "inputs", "2 columns")
    assert acknowledge(state, "ward", alert.id).state == "acknowledged"
    assert acknowledge(state, "ward", alert.id).state == "acknowledged"
    again = raise_alert(state, "ward", "drift", "inputs", "2 columns")
    assert (again.id, again.state, again.times_seen) == (alert.id, "acknowledged", 2)
    resolve(state, "ward", "drift", "inputs")
    with pytest.raises(Conflict):
        acknowledge(state, "ward", alert.id)


def test_an_alert_of_another_project_is_not_found(state: State) -> None:
    alert = raise_alert(state, "ward", "drift", "inputs", "2 columns")
    for project, number in (("clinic", alert.id), ("ward", alert.id + 1)):
        with pytest.raises(NotFound):
            acknowledge(state, project, number)


def test_findings_at_the_same_time_make_one_alert(state: State) -> None:
    threads = [
        threading.Thread(target=raise_alert, args=(state, "ward", "drift", "inputs", "x")) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [alert.times_seen for alert in list_alerts(state)] == [6]
