"""Runs under real services: what a killed one looks like, and how soon one starts."""

import json
import os
import signal
from datetime import datetime

import pytest

from tidemill.client import Client

from .conftest import Box, until

pytestmark = pytest.mark.services


def test_a_killed_run_is_failed_within_seconds(box: Box, client: Client) -> None:
    started = client.start_training("breast_cancer", "to be killed")
    until(
        lambda: client.training("breast_cancer", started["id"])["status"] == "running", "the training to run"
    )
    os.kill(process_of(box, started["id"]), signal.SIGKILL)
    until(
        lambda: client.training("breast_cancer", started["id"])["status"] == "failed", "the run to fail", 30
    )
    assert "SIGKILL" in (client.training("breast_cancer", started["id"])["error"] or "")


def test_a_run_that_died_with_the_worker_is_failed_and_the_worker_is_back(box: Box, client: Client) -> None:
    started = client.start_training("breast_cancer", "to be killed with the worker")
    until(
        lambda: client.training("breast_cancer", started["id"])["status"] == "running", "the training to run"
    )
    report = json.loads(box.tidemill("status", "--json", check=False).stdout)
    worker = next(service["pid"] for service in report["services"] if service["service"] == "worker")
    for pid in (worker, process_of(box, started["id"])):
        os.kill(pid, signal.SIGKILL)
    lost = until(
        lambda: (found := client.training("breast_cancer", started["id"]))["status"] == "failed" and found,
        "the run to fail",
        120,
    )
    assert "gone" in lost["error"]


def test_a_training_is_queued_canceled_and_tried_again(box: Box, client: Client) -> None:
    first = client.start_training("breast_cancer", "to be cancelled", idempotency_key="journey")
    assert client.start_training("breast_cancer", "to be cancelled", idempotency_key="journey") == first
    until(lambda: client.training("breast_cancer", first["id"])["status"] == "running", "the training to run")
    second = client.start_training("breast_cancer", "waits")
    assert first["id"][:8] in (client.training("breast_cancer", second["id"])["waiting_for"] or "")
    said = box.tidemill("train", "cancel", "breast_cancer", second["id"], "--reason", "not needed").stdout
    assert "Cancelled by owner: not needed" in said
    box.tidemill("train", "cancel", "breast_cancer", first["id"])
    again = client.retry_training("breast_cancer", first["id"])
    *_, ended = client.follow_training("breast_cancer", again["id"], timeout=300)
    assert (ended["status"], ended["retry_of"], ended["percent"]) == ("succeeded", first["id"], 100)


def process_of(box: Box, run_id: str) -> int:
    """The process that carries out a run."""
    query = "query Tags($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }"
    tags = {tag["key"]: tag["value"] for tag in box.graphql(query, id=run_id)["runOrError"]["tags"]}
    return int(tags["tidemill/worker_pid"])


def test_a_training_starts_soon_after_its_request(client: Client) -> None:
    import time

    began = time.time()
    started = client.start_training("breast_cancer", "how soon")
    ended = client.wait_training("breast_cancer", started["id"], timeout=300)
    first = min(step["started_at"] for step in ended["steps"] if step["started_at"])
    assert ended["status"] == "succeeded"
    assert datetime.fromisoformat(first).timestamp() - began < 30
