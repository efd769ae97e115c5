"""What starts by itself, and what keeps it from starting too often."""

import json

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
    import os
    import time

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
