"""Bad input against every route: the one error shape, never a 500, nothing echoed."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response

PROJECT = "/v1/projects/pets"
MEMBERS = {"type", "title", "status", "detail", "remedy", "instance", "request_id"}
JSON = {"Content-Type": "application/json"}

ROUTES = [
    ("GET", "/v1/me"),
    ("GET", "/v1/audit"),
    ("POST", "/v1/mlflow/link"),
    ("GET", "/v1/mlflow/open"),
    ("GET", "/v1/projects"),
    ("GET", PROJECT),
    ("GET", f"{PROJECT}/files"),
    ("POST", f"{PROJECT}/files"),
    ("GET", f"{PROJECT}/files/0"),
    ("GET", f"{PROJECT}/files/0/rejects"),
    ("GET", f"{PROJECT}/files/0/rejected-rows"),
    ("GET", f"{PROJECT}/files/0/events"),
    ("POST", f"{PROJECT}/records"),
    ("OPTIONS", f"{PROJECT}/uploads"),
    ("POST", f"{PROJECT}/uploads"),
    ("GET", f"{PROJECT}/uploads"),
    ("HEAD", f"{PROJECT}/uploads/0"),
    ("GET", f"{PROJECT}/uploads/0"),
    ("PATCH", f"{PROJECT}/uploads/0"),
    ("DELETE", f"{PROJECT}/uploads/0"),
    ("GET", f"{PROJECT}/tables"),
    ("GET", f"{PROJECT}/tables/raw"),
    ("GET", f"{PROJECT}/tables/raw/profile"),
    ("GET", f"{PROJECT}/tables/raw/versions"),
    ("GET", f"{PROJECT}/tables/raw/diff"),
    ("GET", f"{PROJECT}/sources"),
    ("GET", f"{PROJECT}/labels"),
    ("POST", f"{PROJECT}/labels/rounds"),
    ("GET", f"{PROJECT}/labels/next"),
    ("POST", f"{PROJECT}/labels/answers"),
    ("POST", f"{PROJECT}/labels/undo"),
    ("GET", f"{PROJECT}/labels/agreement"),
    ("GET", f"{PROJECT}/labels/annotators"),
    ("GET", f"{PROJECT}/labels/stability"),
    ("POST", f"{PROJECT}/label-studio/link"),
    ("POST", f"{PROJECT}/label-studio/webhook"),
    ("GET", "/v1/label-studio/open"),
    ("GET", f"{PROJECT}/trainings"),
    ("POST", f"{PROJECT}/trainings"),
    ("GET", f"{PROJECT}/trainings/x"),
    ("GET", f"{PROJECT}/trainings/x/events"),
    ("POST", f"{PROJECT}/trainings/x/cancel"),
    ("POST", f"{PROJECT}/trainings/x/retry"),
    ("GET", f"{PROJECT}/runs"),
    ("GET", f"{PROJECT}/runs/x"),
    ("GET", f"{PROJECT}/models"),
    ("GET", f"{PROJECT}/models/imports"),
    ("POST", f"{PROJECT}/models/imports"),
    ("GET", f"{PROJECT}/models/imports/0"),
    ("GET", f"{PROJECT}/models/1"),
    ("GET", f"{PROJECT}/models/1/card"),
    ("POST", f"{PROJECT}/models/1/deploy"),
    ("POST", f"{PROJECT}/models/1/shadow"),
    ("POST", f"{PROJECT}/models/1/canary"),
    ("POST", f"{PROJECT}/rollback"),
    ("GET", f"{PROJECT}/deployment/comparison"),
    ("POST", f"{PROJECT}/deployment/pause"),
    ("POST", f"{PROJECT}/deployment/resume"),
    ("POST", f"{PROJECT}/deployment/withdraw"),
    ("GET", f"{PROJECT}/deployment"),
    ("POST", f"{PROJECT}/predictions"),
    ("GET", f"{PROJECT}/predictions"),
    ("GET", f"{PROJECT}/predictions/x"),
    ("POST", f"{PROJECT}/batch-predictions"),
    ("GET", f"{PROJECT}/batch-predictions/0"),
    ("GET", f"{PROJECT}/batch-predictions/0/result"),
    ("POST", f"{PROJECT}/ground-truth"),
    ("GET", f"{PROJECT}/quality"),
    ("GET", f"{PROJECT}/drift"),
    ("POST", f"{PROJECT}/drift"),
    ("GET", f"{PROJECT}/alerts"),
    ("POST", f"{PROJECT}/alerts/1/acknowledge"),
]

# Whoever comes with a ticket needs no key, and who comes with no ticket finds nothing.
BY_TICKET = [("GET", "/v1/label-studio/open"), ("GET", "/v1/mlflow/open")]
# A stranger is not told which projects there are; its secret comes before the project's name.
BY_SECRET = f"{PROJECT}/label-studio/webhook"

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "blank": b"  \n",
    "cut off": b'{"reason": "x',
    "not JSON": b"reason=x",
    "a number": b"3",
    "null": b"null",
    "a string": b'"x"',
    "an empty list": b"[]",
    "a list of nonsense": b"[1, null, []]",
    "an empty object": b"{}",
    "an unknown field": b'{"nonsense": 1}',
    "NaN": b'{"weight": NaN}',
    "Infinity": b'{"weight": -Infinity}',
    "1e999": b'{"weight": 1e999}',
    "a huge integer": b'{"weight": ' + b"9" * 5000 + b"}",
    "a double key": b'{"weight": 1, "weight": 2}',
    "half a surrogate": b'{"kind": "\\ud800"}',
    "half a surrogate as key": b'{"\\udfff": 1}',
    "UTF-16": '{"weight": 1}'.encode("utf-16"),
    "latin-1": '{"kind": "é"}'.encode("latin-1"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "deep": b"[" * 20_000 + b"]" * 20_000,
    "wrong types": b'{"reason": 5, "expected_revision": "1", "label": [], "prediction_id": {}, "weight": true}',
    "NUL": b'{"reason": "a\\u0000b", "kind": "\\u0000"}',
    "records of nothing": b'{"records": [], "truths": []}',
    "records that are none": b'{"records": {"weight": 1}}',
    "truths that are none": b'{"truths": [3, {"label": null}, {"prediction_id": "x", "label": "yes"}]}',
    "a boolean revision": b'{"reason": "x", "expected_revision": true}',
}


def is_problem(response: httpx.Response) -> dict[str, Any]:
    """The problem document of an answer, checked to be one."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    if response.request.method == "HEAD":
        return {}  # whose answer has no body
    document: dict[str, Any] = response.json()
    assert set(document) >= MEMBERS
    assert document["status"] == response.status_code
    assert document["title"]
    assert document["type"].startswith("urn:tidemill:problem:")
    assert document["request_id"] == response.headers["x-request-id"]
    return document


def test_the_table_names_every_route(app: FastAPI) -> None:
    filled = {
        (
            method.upper(),
            path.format(
                project="pets",
                file="0",
                upload="0",
                table="raw",
                run="x",
                version="1",
                prediction="x",
                alert="1",
                batch="0",
            ),
        )
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if path.startswith("/v1/")
    }
    assert filled == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route not in BY_TICKET])
def test_no_key_no_answer(http: httpx.Client, method: str, path: str) -> None:
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Basic b3duZXI6"},
        {"Authorization": "Bearer tm_x"},
    ):
        response = http.request(method, path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        is_problem(response)


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "POST"])
def test_no_bad_body_gives_a_500(http: httpx.Client, path: str) -> None:
    for name, body in BODIES.items():
        response = http.post(path, content=body, headers=JSON)
        assert response.status_code < 500, (name, response.text)
        if response.status_code >= 400:
            is_problem(response)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_bad_name_or_parameter_gives_a_500(http: httpx.Client, method: str, path: str) -> None:
    if path.startswith(f"{PROJECT}"):
        for name in ("nobody", "..", "%2e%2e", "%00", "Pets", "a" * 300, "é", "pets%0a", "%ff"):
            response = http.request(method, path.replace("pets", name))
            usual = (
                (401,)
                if path == BY_SECRET and response.status_code not in (404, 405)
                else (404, 405, 412, 422)
            )
            assert response.status_code in usual, (name, response.text)
            is_problem(response)
    for query in (
        "limit=x",
        "limit=-1",
        "limit=99999999999999999999",
        "state=odd",
        "job=odd",
        "limit=",
        "name=%00",
    ):
        response = http.request(method, f"{path}?{query}")
        assert response.status_code < 500, (query, response.text)


@pytest.mark.parametrize(
    "path",
    [
        "tables/..%2f",
        "models/0",
        "models/x",
        "models/99999999999999999999",
        "files/%00",
        "runs/%00",
    ],
)
def test_odd_ids_are_not_found_or_refused(http: httpx.Client, path: str) -> None:
    response = http.get(f"{PROJECT}/{path}")
    assert response.status_code in (404, 422)
    is_problem(response)


def test_unknown_paths_and_methods(http: httpx.Client) -> None:
    assert is_problem(http.get("/nowhere"))["title"] == "There is no such page"
    refused = http.delete(PROJECT)
    assert is_problem(refused)["status"] == 405
    assert refused.headers["allow"] == "GET"


def test_an_unknown_project_names_those_there_are(http: httpx.Client) -> None:
    problem = is_problem(http.get("/v1/projects/nobody"))
    assert "pets" in problem["detail"]
    assert problem["type"] == "urn:tidemill:problem:not-found"


@pytest.mark.parametrize("size", [100_001, 300_000])
def test_bodies_over_the_limit(http: httpx.Client, size: int) -> None:
    response = http.post(f"{PROJECT}/predictions", content=b" " * size, headers=JSON)
    assert is_problem(response)["status"] == 413
    chunked = http.post(f"{PROJECT}/predictions", content=_pieces(size), headers=JSON)
    assert is_problem(chunked)["status"] == 413


def _pieces(size: int) -> Iterator[bytes]:
    for _ in range(0, size, 10_000):
        yield b" " * 10_000
    yield b" " * 10_000


def test_a_sane_request_id_is_kept_and_another_replaced(http: httpx.Client) -> None:
    assert http.get("/healthz", headers={"X-Request-Id": "abc-1.2:3"}).headers["x-request-id"] == "abc-1.2:3"
    for given in ("a b", "x" * 101, "<script>", ""):
        assert http.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] != given


def test_what_nobody_foresaw_is_a_500_that_tells_nothing(
    app: FastAPI, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/boom")
    async def boom() -> Response:
        raise RuntimeError("the password is hunter2")

    response = http.get("/boom", headers={"X-Request-Id": "find-me"})
    assert is_problem(response)["title"] == "Something went wrong inside Tidemill"
    assert response.status_code == 500
    assert "hunter2" not in response.text
    assert "find-me" in caplog.text


def test_too_many_at_once_are_refused_at_once(app: FastAPI, http: httpx.Client) -> None:
    @app.get("/inside")
    async def inside() -> Response:
        app.predictions._in_flight.most = 0  # type: ignore[attr-defined]
        return Response("ok")

    assert http.get("/inside").status_code == 200
    refused = http.get(PROJECT)
    assert is_problem(refused)["status"] == 429
    assert int(refused.headers["retry-after"]) > 0
    assert http.get("/healthz").status_code == 200
    assert "tidemill_http_overload_total 1.0" in http.get("/metrics").text
