"""Everything that starts a training, once each under real services: the run says what started it, and succeeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from playwright.sync_api import expect, sync_playwright

from tests.chromium import CHROMIUM, FLAGS
from tidemill.client import Client
from tidemill.data.samples import write_wine
from tidemill.monitor.alerts import raise_alert
from tidemill.store.state import open_state

from .conftest import Box, until
from .test_projects import LAUNCH

pytestmark = pytest.mark.services

QUICK = {"candidates": ["linear"], "trials": 1, "folds": 2}


def add(box: Box, file: Path, name: str, training: dict[str, Any] | None = None, **parts: Any) -> None:
    """A project with the wine's file in its inbox, and these parts in its project.yaml."""
    box.tidemill("init", str(file), "--name", name, "--target", "cultivar")
    at = box.home.project_file(name)
    document = yaml.safe_load(at.read_text())
    document["training"] = {**document["training"], **QUICK, **(training or {})}
    at.write_text(yaml.safe_dump({**document, **parts}))


def trained_by(client: Client, name: str, trigger: str) -> Any:
    """The training of `name` that `trigger` started, once it has succeeded."""

    def found() -> Any:
        runs = [run for run in client.trainings(name) if run["trigger"] == trigger]
        assert not [run for run in runs if run["status"] in ("failed", "canceled")], runs
        return next((run for run in runs if run["status"] == "succeeded"), None)

    return until(found, f"a training of {name} by {trigger}", 240)


@pytest.mark.timeout(900)  # a schedule fires by the minute, sensors every 30 s
def test_what_starts_by_itself(box: Box, client: Client, tmp_path: Path) -> None:
    (file, *_) = write_wine(tmp_path)
    add(box, file, "by_rows", {"triggers": {"new_rows": 10}})
    frame = pd.read_csv(file)
    frame.loc[:30, "cultivar"] = None  # for people to say
    frame.to_csv(tmp_path / "unlabelled.csv", index=False)
    add(
        box,
        tmp_path / "unlabelled.csv",
        "by_labels",
        {"triggers": {"new_labels": 1}},
        labels={"kind": "built-in", "budget": 2},
    )
    add(box, file, "by_drift", {"triggers": {"drift": True}})
    add(box, file, "by_schedule", {"schedule": "* * * * *"})
    names = ("by_rows", "by_labels", "by_drift", "by_schedule")
    until(lambda: all(client.project(name)["rows"] for name in names), "the files to be taken", 120)
    raise_alert(open_state(box.home), "by_drift", "drift", "model 1", "drift")
    client.start_round("by_labels")
    task = client.next_task("by_labels", "anna")["task"]
    assert task is not None
    (target,) = [one for one in client.project("by_labels")["columns"] if one["role"] == "target"]
    assert target["values"]
    client.answer("by_labels", task["row"], target["values"][0], "anna")
    try:
        assert trained_by(client, "by_schedule", "schedule")["reason"] == "schedule * * * * *"
        assert "rows more" in trained_by(client, "by_rows", "new-data")["reason"]
        trained_by(client, "by_drift", "drift")
        trained_by(client, "by_labels", "new-labels")
    finally:
        for name in names:
            box.home.project_file(name).unlink()


def test_what_people_and_programs_start(box: Box, client: Client) -> None:
    first = client.start_training("breast_cancer", "a program", idempotency_key="triggers")
    assert client.start_training("breast_cancer", "a program", idempotency_key="triggers") == first
    assert client.wait_training("breast_cancer", first["id"], timeout=240)["trigger"] == "api"

    said = box.tidemill("train", "breast_cancer", "--wait", "--json").stdout
    assert '"command-line"' in said

    selector = {
        "repositoryLocationName": "tidemill",
        "repositoryName": "__repository__",
        "jobName": "breast_cancer__training",
    }
    launched = box.graphql(LAUNCH, params={"selector": selector, "runConfigData": {}})["launchRun"]
    by_dagster = client.wait_training("breast_cancer", launched["run"]["runId"], timeout=240)
    assert (by_dagster["trigger"], by_dagster["status"]) == ("dagster", "succeeded")


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium (Debian's package chromium)")
def test_what_the_button_of_the_dashboard_starts(box: Box, client: Client) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, locale="en-GB")
        page.goto(f"{box.url('ui')}/training?project=breast_cancer")
        page.get_by_role("button", name="Start training").click(timeout=45_000)
        expect(page.get_by_test_id("stApp")).to_contain_text("by the dashboard", timeout=45_000)
        browser.close()
    started = client.trainings("breast_cancer")[0]
    assert started["trigger"] == "dashboard"
    assert client.wait_training("breast_cancer", started["id"], timeout=240)["status"] == "succeeded"
