"""Runs under real services: what a killed one looks like, and how soon one starts."""

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
    query = "query Tags($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }"
    tags = {tag["key"]: tag["value"] for tag in box.graphql(query, id=started["id"])["runOrError"]["tags"]}
    os.kill(int(tags["tidemill/worker_pid"]), signal.SIGKILL)
    until(
        lambda: client.training("breast_cancer", started["id"])["status"] == "failed", "the run to fail", 30
    )
    assert "SIGKILL" in (client.training("breast_cancer", started["id"])["error"] or "")


def test_a_training_starts_soon_after_its_request(client: Client) -> None:
    import time

    began = time.time()
    started = client.start_training("breast_cancer", "how soon")
    ended = client.wait_training("breast_cancer", started["id"], timeout=300)
    first = min(step["started_at"] for step in ended["steps"] if step["started_at"])
    assert ended["status"] == "succeeded"
    assert datetime.fromisoformat(first).timestamp() - began < 30
