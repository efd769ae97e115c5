"""The short way and the ordinary route answer alike: each request is sent down both, and both logs are compared."""

import csv
import json
from collections.abc import Iterator
from typing import Any

import anyio.from_thread
import httpx
import pytest
from fastapi import FastAPI

from api.prediction_route import PredictionRoute
from tidemill.errors import StorageFull
from tidemill.home import Home
from tidemill.serve.service import PredictionService
from tidemill.store.history import recent

from .conftest import AppTransport

PATH = "/v1/projects/pets/predictions"
SICK = {"pet_id": "p1", "kind": "cat", "weight": 19.0, "age": 3, "chipped": True, "born": "2020-01-01"}
OWN = {"id", "at", "request_id", "latency_ms"}


def raw(**changes: str) -> bytes:
    """The record as text, with the JSON of some fields replaced."""
    fields = {name: json.dumps(value) for name, value in SICK.items()} | changes
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}").encode()


# What the short way has to answer by itself.
PLAIN = [
    raw(),
    raw(weight="19"),
    raw(weight="1e1", age="null", born="null", kind="null", chipped="false"),
    raw(pet_id="7"),
    raw(pet_id="null"),
    raw(pet_id='"' + chr(233) * 30 + '"'),
    raw(pet_id=r'"\u00e9\n\ud83d\ude00"'),
    raw(sick='"yes"'),
    raw(age="3.0"),
    raw(age="-0"),
    b'{"weight": 3}',
    b" " + raw() + b"\n",
    b"[" + raw() + b"]",
    b'{"records": [' + raw() + b"," + raw(weight="2") + b"]}",
    b"[" + b",".join([raw()] * 50) + b"]",
]
# What it must hand on, or answer alike.
ODD = [
    b"",
    b"null",
    b"3",
    b"{}",
    b"[]",
    b"[[]]",
    b'{"records": []}',
    b'{"records": 3}',
    b'{"records": [' + raw() + b', {"weight": "x"}]}',
    b"[" + b",".join([raw()] * 51) + b"]",
    b"\xef\xbb\xbf" + raw(),
    raw().decode().encode("utf-16"),
    raw() + raw(),
    raw()[:-1],
    raw(weight="NaN"),
    raw(weight="Infinity"),
    raw(weight="1e999"),
    raw(weight="1e99"),
    raw(weight="101"),
    raw(weight="null"),
    raw(weight='"19"'),
    raw(weight="true"),
    raw(weight="[19]"),
    raw(weight="1" * 5000),
    raw(age="3.5"),
    raw(age="1e30"),
    raw(age="18446744073709551615"),
    raw(age="99999999999999999999999999"),
    raw(kind='"bird"'),
    raw(kind="[]"),
    raw(kind=r'"c\u0061t"'),
    raw(chipped="1"),
    raw(born='"2020-02-30"'),
    raw(born='"20200101"'),
    raw(pet_id='""'),
    raw(pet_id="1.5"),
    raw(pet_id="99999999999999999999999999"),
    raw(pet_id=r'"\ud800"'),
    raw(pet_id='"\xff"').decode().encode("latin-1"),
    raw(pet_id='{"a": "b"}'),
    raw(sick='{"a": 1, "a": 2}'),
    raw(sick='[{"a": "b"}]'),
    raw(extra="1"),
    raw()[:-1] + b', "kind": "dog"}',
    raw()[:-1] + b', "weight": 3}',
    raw()[:-1] + rb', "k\u0069nd": "dog"}',
    b'{"records": [' + raw() + b'], "records": [' + raw() + b"]}",
    b"[" * 5000,
    b'{"a":' * 5000,
    raw(pet_id='"' + "x" * 200_000 + '"'),
]


class Ordinary:
    """The application without its short way."""

    def __init__(self, app: FastAPI) -> None:
        self.ordinary: Any = app.ordinary  # type: ignore[attr-defined]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.ordinary(scope, receive, send)


@pytest.fixture
def both(deployed: FastAPI, key: str) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    headers = {"Authorization": f"Bearer {key}"}
    with anyio.from_thread.start_blocking_portal() as portal, AppTransport(deployed, portal) as short:
        # Not entered: one application lives once.
        one = httpx.Client(transport=short, base_url="http://api", headers=headers)
        long = AppTransport(Ordinary(deployed), portal)
        other = httpx.Client(transport=long, base_url="http://api", headers=headers)
        assert other.post(PATH, content=raw()).status_code == 200
        deployed.state.context.service("pets").follow()
        yield one, other


@pytest.fixture
def short_answers(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Bodies that the short way answered."""
    seen: list[bytes] = []
    inner = PredictionService.predict_plain

    def spied(self: PredictionService, body: bytes, request_id: str, most: int) -> Any:
        made = inner(self, body, request_id, most)
        if made is not None:
            seen.append(body)
        return made

    monkeypatch.setattr(PredictionService, "predict_plain", spied)
    return seen


def seen(client: httpx.Client, home: Home, body: bytes, headers: dict[str, str] | None = None) -> Any:
    """What a request gets and what it leaves in the log, without what is its own."""
    before = len(recent(home, "pets", "predictions", 1000))
    answer = client.post(PATH, content=body, headers=headers)
    rows = recent(home, "pets", "predictions", 1000)
    new = rows[: len(rows) - before]
    document = answer.json() if "json" in answer.headers["content-type"] else {"id": csv_id(answer)}
    answers = document.get("predictions", [document]) if answer.status_code == 200 else []
    assert sorted(one["id"] for one in answers) == sorted(row["id"] for row in new)
    assert {row["request_id"] for row in new} <= {answer.headers["x-request-id"]}
    assert len({one["at"] for one in answers if "at" in one} | {row["at"] for row in new}) <= 1
    logged = sorted((without(row) for row in new), key=str)  # rows of one moment have no order
    return answer.status_code, names_of(answer), without(document), logged


def csv_id(answer: httpx.Response) -> str:
    (row,) = csv.DictReader(answer.text.splitlines())
    return row["id"]


def names_of(answer: httpx.Response) -> dict[str, str]:
    own = {"x-request-id", "content-length"}
    return {name: value for name, value in answer.headers.items() if name not in own}


def without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without(one) for name, one in value.items() if name not in OWN}
    return [without(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("body", PLAIN, ids=range(len(PLAIN)))
def test_plain_requests_are_answered_the_short_way_and_alike(
    both: tuple[httpx.Client, httpx.Client], home: Home, short_answers: list[bytes], body: bytes
) -> None:
    short, ordinary = both
    assert seen(short, home, body) == seen(ordinary, home, body)
    assert short_answers == [body]


def test_odd_requests_are_answered_alike(both: tuple[httpx.Client, httpx.Client], home: Home) -> None:
    short, ordinary = both
    statuses = set()
    for body in ODD:
        found = seen(short, home, body)
        assert found == seen(ordinary, home, body), body[:100]
        statuses.add(found[0])
    assert statuses == {200, 413, 422}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer tm_unknown"},
        {"Authorization": "Basic abc"},
        {"Content-Type": "text/plain"},
        {"X-Request-Id": "mine-1"},
        {"X-Request-Id": 'not "sane"'},
        {"Content-Encoding": "gzip"},
        {"Accept": "text/html"},
        {"Accept": "text/csv"},
        {"Accept": "application/json, text/csv;q=0.5"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "application/x-ndjson"},
        {"Content-Type": "text/csv"},
        {"Content-Type": "image/png"},
    ],
)
def test_headers_count_alike(
    both: tuple[httpx.Client, httpx.Client], home: Home, headers: dict[str, str]
) -> None:
    short, ordinary = both
    assert seen(short, home, raw(), headers) == seen(ordinary, home, raw(), headers)


# For each: flags of a record whose weight is out of range, None for a refusal.
POLICIES = {
    "{unknown_categories: flag, out_of_range: flag}": [("weight", "flagged")],
    "{unknown_categories: reject, out_of_range: reject}": None,
    "{unknown_categories: impute, out_of_range: impute}": [("weight", "imputed")],
    "{missing_fields: flag, extra_fields: flag}": [("weight", "flagged")],
    "{missing_fields: impute}": [("weight", "flagged")],
    "{missing_fields: reject}": [("weight", "flagged")],
}


@pytest.mark.parametrize(("serving", "wanted"), POLICIES.items())
def test_every_policy_is_the_same_both_ways(
    both: tuple[httpx.Client, httpx.Client],
    home: Home,
    deployed: FastAPI,
    serving: str,
    wanted: list[tuple[str, str]] | None,
) -> None:
    file = home.project_file("pets")
    text = file.read_text()
    file.write_text(text + f"serving: {serving}\n")
    deployed.state.context.service("pets").follow()
    short, ordinary = both
    twice = raw(kind='"bird"')[:-1] + b', "kind": "bird"}'
    lacking = [b'{"weight": 3}', b'{"kind": "cat"}', raw()[:-1] + b', "extra": 1}', raw(weight="null")]
    for body in (raw(kind='"bird"'), raw(weight="101"), twice, raw(age="null"), *lacking):
        found = seen(short, home, body)
        assert found == seen(ordinary, home, body), body
    answer = seen(short, home, raw(weight="101"))
    flags = answer[2].get("flags")
    assert (flags and [(flag["field"], flag["action"]) for flag in flags]) == wanted
    assert answer[3] == [] or answer[3][0]["flags"] == flags


def test_a_stale_view_of_keys_or_deployment_is_not_used(
    both: tuple[httpx.Client, httpx.Client], deployed: FastAPI, short_answers: list[bytes]
) -> None:
    short, _ = both
    context = deployed.state.context
    context._closing.set()  # nobody renews them
    context.keys._read_at = float("-inf")
    assert short.post(PATH, content=raw()).status_code == 200
    assert short_answers == []
    context.service("pets")._checked_at = float("-inf")
    assert short.post(PATH, content=raw()).status_code == 200
    assert short_answers == []
    assert short.post(PATH, content=raw()).status_code == 200
    assert short_answers == [raw()]


def test_it_is_measured_under_the_routes_name(both: tuple[httpx.Client, httpx.Client]) -> None:
    short, _ = both
    short.post(PATH, content=b"[" + raw() + b"," + raw() + b"]")
    text = short.get("/metrics").text
    route = 'method="POST",route="/v1/projects/{project}/predictions"'
    assert f'tidemill_http_requests_total{{{route},status="200"}} 2.0' in text
    assert f"tidemill_http_request_seconds_count{{{route}}} 2.0" in text
    assert 'tidemill_predictions_total{model_version="1",project="pets"} 3.0' in text
    assert 'tidemill_log_append_seconds_count{project="pets"} 2.0' in text
    assert "tidemill_http_requests_in_flight 1.0" in text


def test_a_sender_that_falls_silent_is_told(
    deployed: FastAPI, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setattr("api.prediction_route.BODY_SECONDS", 0.05)
    deployed.state.context.service("pets").follow()
    deployed.state.context.keys.renew()
    route: PredictionRoute = deployed.predictions  # type: ignore[attr-defined]
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "headers": [(b"authorization", f"Bearer {key}".encode())],
        "query_string": b"",
        "app": deployed,
    }

    async def silent() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(route(scope, silent, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["type"] == "urn:tidemill:problem:too-slow"


def test_a_sync_that_failed_before_is_told_to_the_next_request(
    deployed: FastAPI, both: tuple[httpx.Client, httpx.Client]
) -> None:
    log = deployed.state.context.log("pets", "predictions")
    both[0].post(PATH, json=SICK).raise_for_status()
    log._failure = StorageFull("The disk is full", detail="log", remedy="Free some space.")
    answer = both[0].post(PATH, json=SICK)
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:tidemill:problem:storage-full")
    assert both[0].post(PATH, json=SICK).status_code == 200


def test_a_log_that_breaks_is_a_500_with_a_document_and_an_id(
    deployed: FastAPI, both: tuple[httpx.Client, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    both[0].post(PATH, json=SICK).raise_for_status()
    monkeypatch.setattr(deployed.state.context.log("pets", "predictions"), "write", broken)
    answer = both[0].post(PATH, json=SICK, headers={"X-Request-Id": "mine"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
    assert "input/output" not in answer.text.lower()


def broken(_: bytes) -> None:
    raise OSError(5, "Input/output error")
