"""Other ways in than a key from a program: pages of another origin, tokens of an issuer; and the access log."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import anyio.from_thread
import httpx
import pytest

from api.app import create_app
from tests.api.conftest import AppTransport, FakeRuns, add_project
from tests.ops.test_oidc import Server, token
from tidemill.home import Home
from tidemill.ops.keys import ensure_owner_key
from tidemill.serve.deployment import deploy
from tidemill.settings import Settings

PETS = "/v1/projects/pets"
RECORD = {"kind": "cat", "weight": 3.0}
PAGE = {"Origin": "https://ward.example"}

Serving = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture
def serving(home: Home, models: Any) -> Serving:  # noqa: ARG001 - deployed from there
    """An application with the given settings, asked with the owner's key."""

    @contextmanager
    def made(**settings: Any) -> Iterator[httpx.Client]:
        add_project(home)
        app = create_app(home, Settings.model_validate(settings), runs=FakeRuns())
        deploy(app.state.context.state, "pets", 1, actor="test", reason="a test")
        headers = {"Authorization": f"Bearer {ensure_owner_key(home)}"}
        with (
            anyio.from_thread.start_blocking_portal() as portal,
            AppTransport(app, portal) as transport,
            httpx.Client(transport=transport, base_url="http://api", headers=headers) as http,
        ):
            yield http
        app.state.context.state.engine.dispose()

    return made


def test_a_page_of_another_origin_may_not_call_unless_it_is_named(serving: Serving) -> None:
    asking = {**PAGE, "Access-Control-Request-Method": "POST"}
    with serving() as http:
        assert "access-control-allow-origin" not in http.get("/v1/me", headers=PAGE).headers
        assert http.options(f"{PETS}/predictions", headers=asking).status_code == 405
    with serving(cors_origins="https://ward.example, https://b.example") as http:
        for _ in range(2):  # the second time the short way would be open
            answered = http.post(f"{PETS}/predictions", json=RECORD, headers=PAGE)
            assert answered.status_code == 200
            assert answered.headers["access-control-allow-origin"] == PAGE["Origin"]
        asked = http.options(f"{PETS}/predictions", headers=asking)
        assert asked.headers["access-control-allow-origin"] == PAGE["Origin"]
        other = http.get("/v1/me", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_token_opens_what_its_role_opens(serving: Serving) -> None:
    server = Server()
    try:
        with serving(oidc_issuer=server.url) as http:
            trainer = {"Authorization": f"Bearer {token(server)}"}
            assert http.get("/v1/me", headers=trainer).json()["name"] == "oidc:ada"
            assert http.post(f"{PETS}/predictions", json=RECORD, headers=trainer).status_code == 200
            refused = http.post(f"{PETS}/rollback", json={"reason": "x"}, headers=trainer)
            assert refused.status_code == 403
            confined = {"Authorization": f"Bearer {token(server, tidemill_projects=['cars'])}"}
            assert http.get(PETS, headers=confined).status_code == 403
            old = {"Authorization": f"Bearer {token(server, exp=1.0)}"}
            assert http.get("/v1/me", headers=old).status_code == 401
            assert http.get("/v1/me").json()["name"] == "owner"  # keys go on
    finally:
        server.close()


def test_without_an_issuer_a_token_is_an_unknown_key(serving: Serving) -> None:
    server = Server()
    server.close()
    with serving() as http:
        assert http.get("/v1/me", headers={"Authorization": f"Bearer {token(server)}"}).status_code == 401
    assert server.asked == []


def test_the_access_log_tells_each_request_without_secrets(
    serving: Serving, caplog: pytest.LogCaptureFixture, home: Home
) -> None:
    with serving() as http:
        http.get("/v1/me")
    assert not [one for one in caplog.records if one.name == "tidemill.access"]
    caplog.set_level(logging.INFO, "tidemill.access")
    with serving(access_log=True) as http:
        for _ in range(2):
            http.post(f"{PETS}/predictions", json=RECORD, headers={"X-Request-Id": "r-1"})
        http.get(f"{PETS}/files/secret-name?token=hidden")
        http.get("/no/such/page")
    lines = [json.loads(one.getMessage()) for one in caplog.records if one.name == "tidemill.access"]
    told = [(one["caller"], one["method"], one["route"], one["status"]) for one in lines]
    predicted = ("owner", "POST", "/v1/projects/{project}/predictions", 200)
    assert told == [
        predicted,
        predicted,
        ("owner", "GET", "/v1/projects/{project}/files/{file}", 404),
        (None, "GET", "none", 404),
    ]
    assert {one["project"] for one in lines[:3]} == {"pets"}
    assert lines[0]["request_id"] == "r-1"
    text = caplog.text
    assert "hidden" not in text
    assert "secret-name" not in text
    assert ensure_owner_key(home) not in text
