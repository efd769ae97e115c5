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
