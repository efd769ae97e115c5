"""`./tidemill demo`: what it prints, and what it leaves behind."""

import ipaddress
import re
import time

import httpx
import psutil
import pytest

from tidemill.client import Client
from tidemill.store.sql import query
from tidemill.store.tables import TableStore

from .conftest import Box, until

pytestmark = pytest.mark.services

PROJECT = "breast_cancer"


def test_each_step_is_printed_as_done(box: Box) -> None:
    steps = re.findall(r"\[ *(\d+)/(\d+)\]", box.output)
    total = int(steps[0][1])
    assert [int(number) for number, _ in steps] == list(range(1, total + 1))
    assert len(re.findall(r"done in [\d.]+ s", box.output)) == total
    assert "Traceback" not in box.output


def test_the_summary_names_pages_key_and_numbers(box: Box) -> None:
    summary = box.output[box.output.index("The loop is closed.") :]
    for service in ("ui", "dagster", "api"):
        assert box.url(service) in summary
    assert str(box.home.secrets / "owner.key") in summary
    assert re.search(r"memory of all services +[\d.]+ [MG]B", summary)
    assert re.search(r"request to first step +[\d.]+ s", summary)


def test_every_row_of_both_files_is_accounted_for(box: Box, client: Client) -> None:
    files = {file["name"]: file for file in client.files(PROJECT)}
    assert {"hospital_a.csv", "hospital_b.xlsx"} <= set(files)
    for file in files.values():
        assert file["status"] == "accepted"
        assert file["rows"] == (file["accepted"] or 0) + (file["rejected"] or 0)
    raw = TableStore(box.home.tables(PROJECT)).require("raw")
    assert raw.rows == sum(file["accepted"] or 0 for file in files.values())
    raw.verify()


def test_the_model_was_held_against_rows_it_never_saw(client: Client) -> None:
    models = client.models(PROJECT)
    live = next(model for model in models["models"] if model["version"] == models["champion"])
    assert live["gate"] is not None
    assert live["gate"]["passed"]
    found = live["metrics"][live["metric"]]
    assert found["low"] <= found["value"] <= found["high"]
    assert found["low"] > live["baseline"][live["metric"]]


def test_every_answered_prediction_is_in_the_log(box: Box) -> None:
    counted = query(box.home, PROJECT, "SELECT count(*), count(DISTINCT id) FROM predictions").rows[0]
    assert counted[0] == counted[1] >= 500
    known = query(box.home, PROJECT, "SELECT count(*) FROM outcomes WHERE truth IS NOT NULL").rows[0][0]
    assert known >= 100


def test_the_shifted_batch_raised_an_alert(client: Client) -> None:
    report = client.drift(PROJECT)
    assert report is not None
    assert report["verdict"] == "drift"
    drifted = {column["column"] for column in report["columns"] if column["drifted"]}
    assert drifted & {"mean_radius", "mean_area", "mean_texture"}
    assert [alert["kind"] for alert in client.alerts(PROJECT, state="open")].count("drift") == 1


def test_mlflow_remembers_each_candidate(box: Box) -> None:
    import sqlite3

    with sqlite3.connect(f"file:{box.home.mlflow / 'mlflow.db'}?mode=ro", uri=True) as database:
        runs = database.execute("SELECT run_uuid, name, status FROM runs").fetchall()
        tags = database.execute("SELECT run_uuid, key, value FROM tags").fetchall()
    names = {name for _, name, _ in runs}
    assert {"linear", "random_forest", "hist_gradient_boosting"} <= names
    assert {status for _, _, status in runs} == {"FINISHED"}
    by_run = {run: {key: value for owner, key, value in tags if owner == run} for run, _, _ in runs}
    for found in by_run.values():
        assert found["dataset"].startswith("raw@")
        assert found["code_commit"]
    assert any(" trial 1" in name for name in names)
    for artifact in ("model.skops", "evaluation/card.html", "evaluation/evaluation.png"):
        assert list((box.home.mlflow / "artifacts").rglob(artifact))


def test_mlflow_opens_on_demand_and_says_what_is_deployed(client: Client) -> None:
    with httpx.Client(base_url=client.url, trust_env=False, timeout=30) as browser:
        assert browser.get("/mlflow/").status_code == 401
        assert browser.get(client.mlflow_link()["url"]).status_code == 303
        until = time.monotonic() + 180
        while (page := browser.get("/mlflow/")).status_code == 503:
            assert time.monotonic() < until
            time.sleep(0.5)
        assert page.status_code == 200
        found = browser.get("/mlflow/ajax-api/2.0/mlflow/registered-models/search").json()
    (model,) = (each for each in found["registered_models"] if each["name"] == f"tidemill-{PROJECT}")
    version = {alias["alias"]: alias["version"] for alias in model["aliases"]}["champion"]
    deployment = client.deployment(PROJECT)
    assert deployment is not None
    assert version == str(deployment["champion"])


def test_nothing_listens_beyond_this_machine(box: Box) -> None:
    families = [psutil.Process(pid) for pid in box.pids()]
    processes = [one for each in families for one in (each, *each.children(recursive=True))]
    listening = [
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert all(ipaddress.ip_address(each.removeprefix("::ffff:")).is_loopback for each in listening)


def test_secrets_are_for_their_owner_only(box: Box) -> None:
    for file in box.home.secrets.iterdir():
        assert file.stat().st_mode & 0o077 == 0
    printed = [box.output, *(log.read_text(errors="replace") for log in box.home.logs.glob("*.log"))]
    assert not any(box.key in text for text in printed)


@pytest.mark.last
def test_after_a_crash_no_run_stays_running_and_the_demo_runs_again(box: Box, client: Client) -> None:
    started = client.start_training(PROJECT, "to be killed")
    until(lambda: client.training(PROJECT, started["id"])["status"] == "running", "the training to run")
    queued = client.start_training(PROJECT, "waits through the crash")
    assert "goes on" in (client.training(PROJECT, queued["id"])["waiting_for"] or "")
    doomed = [process for pid in box.pids() for process in _family(pid)]
    for process in doomed:
        _kill(process)
    began = time.time()
    output = box.demo("--exit")
    assert "The loop is closed." in output
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(box.home.dagster)) as instance:
        lost = instance.get_run_record_by_id(started["id"])
        waited = instance.get_run_by_id(queued["id"])
        assert lost is not None
        assert waited is not None
        assert lost.dagster_run.status.value == "FAILURE"
        assert lost.end_time is not None
        assert lost.end_time - began < 120
        assert waited.status.value == "SUCCESS"
    assert not box.pids()
    assert not [process for process in psutil.process_iter(["environ"]) if _belongs(process, box)]


def _family(pid: int) -> list[psutil.Process]:
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _belongs(process: psutil.Process, box: Box) -> bool:
    """A service of this home that still runs (this very test process is not one)."""
    environment = process.info["environ"] or {}
    return str(box.home.root) in environment.get("SUPERVISED_BY", "")
