import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tidemill.client import Client
from tidemill.data import ledger
from tidemill.data.progress import ProgressWriter, Step
from tidemill.home import Home
from tidemill.store.state import State, open_state

from .conftest import add_project
from .served import Served

CSV = b"pet_id,kind,weight,sick\np1,cat,4,no\n"
QUICK = "import api.event_stream as stream; stream.HEARTBEAT_SECONDS = 0.3; stream.LOOK_SECONDS = 0.05"


@pytest.fixture
def served(home: Home) -> Iterator[Served]:
    add_project(home)
    with Served(home, before=QUICK) as made:
        yield made


@pytest.fixture
def state(home: Home) -> Iterator[State]:
    made = open_state(home)
    yield made
    made.engine.dispose()


def read(lines: Iterator[str]) -> dict[str, str]:
    """The next event, comments left out."""
    found: dict[str, str] = {}
    for line in lines:
        if line == "" and found.keys() - {"retry"}:
            return found
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = value
    return found


def test_a_file_is_followed_to_its_end(served: Served, home: Home, state: State) -> None:
    with served.http() as http:
        record = http.post("/v1/projects/pets/files", params={"name": "a.csv"}, content=CSV).json()
        url = f"{record['url']}/events"
        with http.stream("GET", url) as answer, ProgressWriter(home, "pets") as tell:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            first = read(lines)
            assert (first["event"], first["retry"]) == ("received", "2000")
            assert next(line for line in lines if line) == ": still here"
            tell(Step(record["id"], "a.csv", "reading", 7, Path("/none"), 100))
            second = read(lines)
            assert second["event"] == "processing"
            assert json.loads(second["data"])["progress"]["rows"] == 7
            shown = http.get(record["url"]).json()
            assert (shown["status"], shown["progress"]["total_bytes"]) == ("processing", 100)
            listed = http.get("/v1/projects/pets/files").json()["files"]
            assert [file["status"] for file in listed] == ["processing"]
            counts = {"rows": 1, "accepted": 1, "rejected": 0, "dataset_version": 3}
            ledger.finish(state, "pets", record["id"], "accepted", **counts)
            last = read(lines)
            assert last["event"] == "accepted"
            assert json.loads(last["data"])["dataset"] == "raw@3"
            assert json.loads(last["data"])["progress"] is None
            assert list(lines) == []
        with http.stream("GET", url, headers={"Last-Event-ID": second["id"]}) as answer:
            assert read(answer.iter_lines())["id"] == last["id"]
        assert http.get(url, headers={"Last-Event-ID": last["id"]}).status_code == 204


def test_a_client_that_comes_back_sees_no_event_twice(served: Served, home: Home) -> None:
    with served.http() as http:
        record = http.post("/v1/projects/pets/files", params={"name": "a.csv"}, content=CSV).json()
        with http.stream("GET", f"{record['url']}/events") as answer:
            first = read(answer.iter_lines())
        again = {"Last-Event-ID": first["id"]}
        with http.stream("GET", f"{record['url']}/events", headers=again) as answer:
            lines = answer.iter_lines()
            assert [line for line in (next(lines), next(lines), next(lines)) if line] == [
                "retry: 2000",
                ": still here",
            ]
            with ProgressWriter(home, "pets") as tell:
                tell(Step(record["id"], "a.csv", "opening", 0, Path("/none"), 100))
                assert read(lines)["event"] == "processing"


def test_streams_are_bounded_and_a_place_is_free_again(served: Served) -> None:
    with served.http() as http:
        record = http.post("/v1/projects/pets/files", params={"name": "a.csv"}, content=CSV).json()
        with ExitStack() as stack:
            for _ in range(16):
                answer = stack.enter_context(http.stream("GET", f"{record['url']}/events"))
                assert answer.status_code == 200
            full = http.get(f"{record['url']}/events")
            assert (full.status_code, full.json()["title"]) == (503, "Too many event streams are open")
            assert full.headers["Retry-After"]
            assert http.get(record["url"]).status_code == 200
        end = time.monotonic() + 10
        while True:
            with http.stream("GET", f"{record['url']}/events") as answer:
                if answer.status_code == 200:
                    break
            assert time.monotonic() < end
            time.sleep(0.05)


def test_an_open_stream_does_not_keep_the_server_from_stopping(served: Served) -> None:
    with served.http() as http:
        record = http.post("/v1/projects/pets/files", params={"name": "a.csv"}, content=CSV).json()
        with http.stream("GET", f"{record['url']}/events") as answer:
            lines = answer.iter_lines()
            read(lines)
            assert served.process is not None
            served.process.send_signal(signal.SIGTERM)
            list(lines)
            assert served.process.wait(timeout=5) in (0, -signal.SIGTERM)


def test_no_file_no_stream(http: httpx.Client) -> None:
    assert http.get("/v1/projects/pets/files/none/events").status_code == 404
    assert http.get("/v1/projects/none/files/none/events").status_code == 404


def test_the_client_follows_a_file(app: FastAPI, client: Client) -> None:
    record = client.upload("pets", CSV, "a.csv")
    state = app.state.context.state
    ledger.finish(state, "pets", record["id"], "refused", problem={"title": "No header"})
    seen: list[Any] = list(client.follow_file("pets", record["id"]))
    assert [each["status"] for each in seen] == ["refused"]
