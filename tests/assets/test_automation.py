"""What starts by itself, and what keeps it from starting too often."""

import json
import os
import time
from pathlib import Path

import pytest
from dagster import DagsterInstance, RunRequest, SkipReason, build_sensor_context

from assets import automation
from assets.definitions import default_resources
from tidemill.home import Home
from tidemill.project import load_project


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        (None, 1),
        ("", 1),
        (json.dumps({"landed": ["a:1:2"], "attempt": 2}), 3),
        (json.dumps({"landed": ["other:1:2"], "attempt": 2}), 1),
    ],
)
def test_an_attempt_is_counted_per_set_of_files(cursor: str | None, expected: int) -> None:
    assert automation.next_attempt(cursor, ["a:1:2"]) == expected


def landed_files(home: Home, cursor: str | None = None):
    project = load_project(home, "churn")
    sensor = automation.build_sensor(project, automation.build_jobs(project)["ingest"])
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(
            instance=instance, cursor=cursor, resources={"home": default_resources(home)["home"]}
        )
        return sensor(context), context.cursor


def test_an_empty_inbox_starts_nothing(churn: Home) -> None:
    churn.inbox("churn").mkdir(parents=True)
    answer, _ = landed_files(churn)
    assert isinstance(answer, SkipReason)


def test_a_failed_file_is_tried_again_under_a_new_key_but_not_for_ever(churn: Home) -> None:
    inbox = churn.inbox("churn")
    inbox.mkdir(parents=True)
    file = inbox / "customers.csv"
    file.write_text("customer,months,plan,left\n1,2,basic,no\n")
    os.utime(file, (time.time() - 60, time.time() - 60))
    keys = []
    cursor = None
    for _ in range(automation.MOST_ATTEMPTS):
        answer, cursor = landed_files(churn, cursor)
        assert isinstance(answer, RunRequest)
        keys.append(answer.run_key)
    assert len(set(keys)) == automation.MOST_ATTEMPTS
    answer, _ = landed_files(churn, cursor)
    assert isinstance(answer, SkipReason)
    assert "customers.csv" in answer.skip_message


def test_labels_are_made_when_people_pause_and_not_at_every_answer() -> None:
    wait, cursor = automation.look(None, 0)
    assert wait
    assert "No new answer" in wait
    wait, cursor = automation.look(cursor, 3)
    assert wait
    assert "when they pause" in wait
    wait, cursor = automation.look(cursor, 5)
    assert wait
    wait, cursor = automation.look(cursor, 5)
    assert wait is None
    assert automation.look(cursor, 5)[0]


def test_people_who_never_pause_do_not_hold_the_labels_up() -> None:
    cursor: str | None = None
    ran = []
    for change in range(1, 40):
        wait, cursor = automation.look(cursor, change)
        ran += [change] if wait is None else []
    assert ran == [10, 20, 30]


def test_answers_start_the_labels_job(home: Home) -> None:
    from tests.assets.conftest import CHURN, add_project
    from tidemill.labels.backend import LabelTask
    from tidemill.labels.built_in import BuiltIn
    from tidemill.store.state import open_state

    add_project(home, "churn", CHURN.replace("labels: {", "labels: {kind: built-in, "))
    project = load_project(home, "churn")
    sensor = automation.build_labels_sensor(project, automation.build_jobs(project)["labels"])
    page = BuiltIn(open_state(home), "churn")
    page.push([LabelTask("r1", {})])
    page.answer("r1", "yes", "ada")

    def tick(cursor: str | None):
        with DagsterInstance.ephemeral() as instance:
            resources = {"home": default_resources(home)["home"]}
            context = build_sensor_context(instance=instance, cursor=cursor, resources=resources)
            return sensor(context), context.cursor

    first, cursor = tick(None)
    assert isinstance(first, SkipReason)
    second, cursor = tick(cursor)
    assert isinstance(second, RunRequest)
    third, _ = tick(cursor)
    assert isinstance(third, SkipReason)


def test_a_tick_brings_a_file_of_a_share_into_the_inbox_and_starts_nothing(
    churn: Home, tmp_path: Path
) -> None:
    share = tmp_path / "share"
    share.mkdir()
    (share / "a.csv").write_text("customer,months,plan,left\n1,2,basic,no\n")
    (share / "a.csv.done").touch()
    file = churn.project_file("churn")
    watched = f"{{kind: share, name: lab, path: '{share}/*.csv', marker: .done}}"
    away = "{kind: share, name: gone, path: '/no/such/mount/*.csv'}"
    file.write_text(f"{file.read_text()}\nsources: [{{kind: inbox}}, {watched}, {away}]\n")
    lookout = automation.build_lookout(load_project(churn, "churn"))
    with build_sensor_context(resources={"home": default_resources(churn)["home"]}) as context:
        deadline = time.monotonic() + 30
        while not (waits := list(churn.inbox("churn").glob("lab__*"))) and time.monotonic() < deadline:
            assert isinstance(lookout(context), SkipReason)
        assert isinstance(lookout(context), SkipReason)
    assert len(waits) == 1
    answer, _ = landed_files(churn)
    assert isinstance(answer, RunRequest)


def test_only_a_project_with_sources_to_look_at_has_a_sensor_for_them(churn: Home) -> None:
    from assets.definitions import build_definitions

    names = [sensor.name for sensor in build_definitions(churn).sensors or ()]
    assert "churn__sources" not in names
    file = churn.project_file("churn")
    file.write_text(f"{file.read_text()}\nsources: [{{kind: share, name: lab, path: '/mnt/x/*.csv'}}]\n")
    names = [sensor.name for sensor in build_definitions(churn).sensors or ()]
    assert "churn__sources" in names


def training_trigger(home: Home, instance: DagsterInstance, cursor: str | None = None):
    project = load_project(home, "churn")
    sensor = automation.build_training_sensor(project, automation.build_jobs(project)["training"])
    resources = {"home": default_resources(home)["home"]}
    with build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
        return sensor(context), context.cursor


def with_rows(home: Home, rows: int) -> None:
    import pyarrow as pa

    from tidemill.store.tables import TableStore

    store = TableStore(home.tables("churn"))
    with store.draft("raw") as draft:
        draft.write(pa.table({"_row": [str(number) for number in range(rows)]}))
        store.publish("raw", draft)


def test_new_rows_and_drift_start_a_training_and_the_cool_down_keeps_the_next_away(churn: Home) -> None:
    from tidemill.monitor.alerts import raise_alert
    from tidemill.store.state import open_state

    file = churn.project_file("churn")
    policy = "training: {triggers: {new_rows: 10, drift: true, cooldown_hours: 1}}\n"
    file.write_text(f"{file.read_text()}\n{policy}")
    with DagsterInstance.ephemeral() as instance:
        with_rows(churn, 9)
        answer, cursor = training_trigger(churn, instance)
        assert isinstance(answer, SkipReason)
        with_rows(churn, 10)
        answer, cursor = training_trigger(churn, instance, cursor)
        assert isinstance(answer, RunRequest)
        assert answer.tags["tidemill/trigger"] == "new-data"
        assert answer.tags["tidemill/reason"] == "10 rows more than the last training had"
        # That training failed: the same rows do not start another.
        answer, cursor = training_trigger(churn, instance, cursor)
        assert isinstance(answer, SkipReason)
        raise_alert(open_state(churn), "churn", "drift", "model 1", "drift")
        answer, cursor = training_trigger(churn, instance, cursor)
        assert isinstance(answer, RunRequest)
        assert answer.tags["tidemill/trigger"] == "drift"
        with_rows(churn, 100)
        instance.create_run_for_job(
            job_def=_toy_job(), tags={"tidemill/project": "churn", "tidemill/job": "training"}
        )
        answer, _ = training_trigger(churn, instance, cursor)
        assert isinstance(answer, SkipReason)
        assert "waits or goes on" in (answer.skip_message or "")
        (run,) = instance.get_runs()
        instance.report_run_failed(run)
        answer, _ = training_trigger(churn, instance, cursor)
        assert isinstance(answer, SkipReason)
        assert "cool-down is 1 h" in (answer.skip_message or "")


def _toy_job():
    from dagster import job, op

    @op
    def nothing() -> None: ...

    @job
    def toy() -> None:
        nothing()

    return toy


def test_a_schedule_trains_and_says_so(churn: Home) -> None:
    from assets.definitions import build_definitions

    file = churn.project_file("churn")
    names = [schedule.name for schedule in build_definitions(churn).schedules or ()]
    assert names == ["churn__drift"]
    file.write_text(f"{file.read_text()}\ntraining: {{schedule: '0 3 * * 1'}}\n")
    schedules = {each.name: each for each in build_definitions(churn).schedules or ()}
    (request,) = schedules["churn__scheduled_training"].evaluate_tick(_tick()).run_requests or ()
    assert request.tags["tidemill/trigger"] == "schedule"


def _tick():
    from dagster import build_schedule_context

    return build_schedule_context()
