"""More projects, each by `tidemill init` alone: its assets appear in Dagster and can be materialised there."""

import csv
from pathlib import Path

import pytest

from tidemill.client import Client
from tidemill.data.samples import breast_cancer_holdout, write_diabetes, write_wine

from .conftest import Box, until

pytestmark = pytest.mark.services

ASSETS = "{ assetNodes { assetKey { path } jobNames } }"
LAUNCH = """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def assets_of(box: Box, project: str) -> list[dict]:
    nodes = box.graphql(ASSETS)["assetNodes"]
    return [node for node in nodes if node["assetKey"]["path"][0] == project]


def materialise_everything(box: Box, project: str) -> str:
    """What "Materialize all" does in Dagster's UI; the run's last status."""
    selection = [{"path": node["assetKey"]["path"]} for node in assets_of(box, project)]
    params = {
        "selector": {
            "repositoryLocationName": "tidemill",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": selection,
        },
        "runConfigData": {},
    }
    launched = box.graphql(LAUNCH, params=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    ended = {"SUCCESS", "FAILURE", "CANCELED"}

    def status() -> str | None:
        found = box.graphql(STATUS, id=launched["run"]["runId"])["runOrError"]["status"]
        return found if found in ended else None

    return str(until(status, "the run to end", 180))


@pytest.mark.parametrize(
    ("name", "write", "target", "task"),
    [
        ("wine", write_wine, "cultivar", "multiclass"),
        ("diabetes", write_diabetes, "progression", "regression"),
    ],
)
def test_init_alone_adds_a_project(
    box: Box, client: Client, tmp_path: Path, name, write, target, task
) -> None:
    file = write(tmp_path)[0]
    box.tidemill("init", str(file), "--name", name, "--target", target)
    until(lambda: len(assets_of(box, name)) == 8, f"the assets of {name} in Dagster")
    assert client.project(name)["task"] == task
    assert materialise_everything(box, name) == "SUCCESS"
    assert client.deployment(name)["champion"] == 1
    assert client.drift(name) is not None or client.project(name)["predictions"] == 0


def test_a_file_dropped_into_the_inbox_is_taken_by_itself(box: Box, client: Client) -> None:
    # New patients: rows that are there already, under other names, would rightly be called leakage.
    patients = [{**record, "diagnosis": truth} for record, truth in breast_cancer_holdout(30)]
    inbox = box.home.inbox("breast_cancer")
    aside = inbox / ".dropped.csv"
    with aside.open("w", newline="") as handle:
        rows = csv.DictWriter(
            handle, [column["name"] for column in client.project("breast_cancer")["columns"]]
        )
        rows.writeheader()
        rows.writerows(patients)
    aside.rename(inbox / "dropped.csv")

    def taken() -> dict | None:
        found = [file for file in client.files("breast_cancer") if file["name"] == "dropped.csv"]
        return found[0] if found and found[0]["finished_at"] else None

    file = until(taken, "the sensor to take the file", 120)
    assert (file["status"], file["rows"]) == ("accepted", 30)
    assert not (inbox / "dropped.csv").exists()


def test_a_bad_project_file_is_shown_and_the_others_stay(box: Box, client: Client) -> None:
    bad = box.home.project_file("broken")
    bad.parent.mkdir()
    try:
        bad.write_text("name: broken\ntask: binary\ncolumns:\n  a: {typ: integer}\n")
        until(lambda: assets_of(box, "broken"), "the bad project in Dagster")
        assert assets_of(box, "broken")[0]["assetKey"]["path"] == ["broken", "project_file"]
        assert len(assets_of(box, "breast_cancer")) == 8
        shown = {project["name"]: project for project in client.projects()}
        assert "line 4" in (shown["broken"]["problem"] or "")
    finally:
        bad.unlink()
        bad.parent.rmdir()
