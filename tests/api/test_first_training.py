"""A training that is asked for before the project has any data."""

from typing import Any

import pytest

from tidemill.client import ApiError, Client
from tidemill.home import Home


def drop(home: Home) -> None:
    home.inbox("pets").mkdir(parents=True, exist_ok=True)
    (home.inbox("pets") / "pets.csv").write_text("id,age\n1,2\n")


def test_without_any_data_it_says_what_to_do(client: Client, runs: Any) -> None:
    with pytest.raises(ApiError, match="The project has no data yet") as caught:
        client.start_training("pets")
    assert caught.value.status == 409
    assert "/v1/projects/pets/files" in str(caught.value)
    assert not runs.runs


def test_a_first_file_that_waits_is_taken_in_before_it(client: Client, runs: Any, home: Home) -> None:
    drop(home)
    client.start_training("pets")
    assert [run.job for run in runs.runs.values()] == ["ingest", "training"]
    assert "waits for the first file" in next(iter(runs.runs.values())).tags["tidemill/reason"]


def test_an_ingestion_under_way_is_not_started_twice(client: Client, runs: Any, home: Home) -> None:
    drop(home)
    runs.launch("pets", "ingest")
    client.start_training("pets")
    assert [run.job for run in runs.runs.values()] == ["ingest", "training"]
