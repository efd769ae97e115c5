"""MLflow's own pages through the gateway, with its real server; and everything else without it."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from api.mlflow_session import COOKIE, HOURS, TICKET_SECONDS, Sessions
from tests.api.conftest import PROJECT, add_project
from tests.api.test_errors import is_problem
from tidemill.client import Client
from tidemill.errors import Gone
from tidemill.home import CHECKOUT, Home
from tidemill.ops import mlflow_page
from tidemill.ops.access import Caller, Role
from tidemill.ops.health import Unhealthy
from tidemill.ops.keys import KeyRing, create_key, revoke_key
from tidemill.store.state import open_state

ANYBODY = {"Authorization": ""}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home of which MLflow's server is up, with one experiment and one registered model."""
    home = Home.find(tmp_path_factory.mktemp("mlflow") / "home").ensure()
    fill = (
        "import sys; from resources.tracking import Tracking; t = Tracking(root=sys.argv[1])\n"
        "with t.exclusive() as c:\n"
        "    e = c.create_experiment('churn', f'file://{sys.argv[1]}/mlflow/artifacts/churn')\n"
        "    r = c.create_run(e); c.log_text(r.info.run_id, '<p>a card</p>', 'evaluation/card.html')\n"
        "    c.create_registered_model('tidemill-churn')\n"
    )
    subprocess.run([sys.executable, "-c", fill, str(home.root)], cwd=CHECKOUT, check=True, timeout=200)
    env = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "resources.mlflow_server", str(home.root)]
    process = subprocess.Popen(command, cwd=CHECKOUT, env=env)
    try:
        until = time.monotonic() + 150
        while True:
            try:
                mlflow_page.health(home)(process.pid)
                break
            except Unhealthy:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)
        yield home
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)


@pytest.fixture
def pages(http: httpx.Client, home: Home, server: Home, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    monkeypatch.setattr("api.mlflow_proxy.socket_path", lambda _home: mlflow_page.socket_path(server))
    assert home.root != server.root
    return http


def entered(http: httpx.Client, client: Client) -> dict[str, str]:
    """Headers of a browser that followed a link."""
    opened = http.get(client.mlflow_link()["url"], headers=ANYBODY)
    assert opened.status_code == 303
    assert opened.headers["location"] == "/mlflow/"
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/mlflow" in cookie
    return {**ANYBODY, "Cookie": cookie.split(";")[0]}


def test_a_link_leads_to_the_pages_once(pages: httpx.Client, client: Client, home: Home) -> None:
    link = client.mlflow_link()["url"]
    assert mlflow_page.is_wanted(home)
    assert pages.get(link, headers=ANYBODY).status_code == 303
    assert is_problem(pages.get(link, headers=ANYBODY))["status"] == 410
    browser = entered(pages, client)
    page = pages.get("/mlflow/", headers=browser)
    assert page.status_code == 200
    assert "<title>MLflow</title>" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    script = next(part.split('"')[0] for part in page.text.split('src="') if "static-files" in part[:60])
    found = pages.get(httpx.URL("http://x/mlflow/").join(script).path, headers=browser)
    assert found.status_code == 200
    assert "javascript" in found.headers["content-type"]


def test_runs_files_and_registry_are_there_for_a_session_and_for_a_key(
    pages: httpx.Client, client: Client
) -> None:
    for who in (entered(pages, client), {}):  # without headers of its own a request carries the key
        api = "/mlflow/ajax-api/2.0/mlflow"
        models = pages.get(f"{api}/registered-models/search", headers=who).json()["registered_models"]
        assert [model["name"] for model in models] == ["tidemill-churn"]
        asked = {"max_results": 10, "filter": "name = 'churn'"}
        (experiment,) = pages.post(f"{api}/experiments/search", headers=who, json=asked).json()["experiments"]
        asked = {"experiment_ids": [experiment["experiment_id"]]}
        (run,) = pages.post(f"{api}/runs/search", headers=who, json=asked).json()["runs"]
        file = {"path": "evaluation/card.html", "run_uuid": run["info"]["run_id"]}
        assert pages.get("/mlflow/get-artifact", headers=who, params=file).text == "<p>a card</p>"
        note = {"run_id": run["info"]["run_id"], "key": "mlflow.note.content", "value": "good"}
        assert pages.post(f"{api}/runs/set-tag", headers=who, json=note).status_code == 200


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("headers", [{}, {"Cookie": f"{COOKIE}=made-up"}, {"Authorization": "Bearer tm_x"}])
@pytest.mark.parametrize("path", ["", "static-files/x.js", "ajax-api/2.0/mlflow/registered-models/search"])
def test_nobody_else_gets_in(pages: httpx.Client, path: str, headers: dict[str, str]) -> None:
    assert is_problem(pages.get(f"/mlflow/{path}", headers={**ANYBODY, **headers}))["status"] == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        # An experiment may name any folder as that of its files, and hand out what lies there.
        ("POST", "ajax-api/2.0/mlflow/experiments/create"),
        ("POST", "api/2.0/mlflow/experiments/create"),
        ("POST", "ajax-api/2.0/mlflow/runs/create"),
        ("POST", "ajax-api/2.0/mlflow/model-versions/create"),
        ("POST", "ajax-api/2.0/mlflow/registered-models/alias"),
        ("DELETE", "ajax-api/2.0/mlflow/registered-models/alias"),
        ("POST", "ajax-api/2.0/mlflow/upload-artifact"),
        ("POST", "ajax-api/2.0/mlflow/gateway-proxy"),
        ("GET", "ajax-api/3.0/mlflow/assistant/config"),
        ("POST", "gateway/x/mlflow/invocations"),
        ("POST", "ajax-api/3.0/jobs"),
        ("GET", "static-files/../../ajax-api/3.0/mlflow/assistant/config"),
        ("GET", "static-files/%2e%2e/%2e%2e/gateway"),
    ],
)
def test_what_changes_things_or_calls_out_is_refused(
    pages: httpx.Client, client: Client, method: str, path: str
) -> None:
    response = pages.request(method, f"/mlflow/{path}", headers=entered(pages, client))
    assert response.status_code in (403, 404)
    is_problem(response)


def test_another_site_cannot_use_a_session(pages: httpx.Client, client: Client) -> None:
    browser = entered(pages, client)
    path = "/mlflow/ajax-api/2.0/mlflow/experiments/search"
    forged = pages.post(path, headers={**browser, "Origin": "http://127.0.0.1:9999"}, json={"max_results": 1})
    assert is_problem(forged)["status"] == 403
    own = pages.base_url
    origin = f"{own.scheme}://{own.netloc.decode()}"
    assert pages.post(path, headers={**browser, "Origin": origin}, json={"max_results": 1}).status_code == 200


def test_the_socket_is_for_this_user_alone(server: Home) -> None:
    assert mlflow_page.socket_path(server).stat().st_mode & 0o077 == 0


def test_with_the_pages_off_all_else_answers(http: httpx.Client, client: Client, home: Home) -> None:
    add_project(home, PROJECT)
    away = is_problem(http.get("/mlflow/"))
    assert away["status"] == 503
    assert "./tidemill up" in away["remedy"]
    assert http.get("/readyz").status_code == 200
    assert client.models("pets")["models"] == []
    assert client.deployment("pets") is None or client.deployment("pets")


def test_while_they_start_a_browser_is_told_so(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.mlflow_proxy.is_supervised", lambda _home: True)
    page = http.get("/mlflow/")
    assert page.status_code == 503
    assert 'http-equiv="refresh"' in page.text
    assert is_problem(http.get("/mlflow/version"))["status"] == 503


def test_a_session_ends_with_its_hours_and_with_its_key(home: Home) -> None:
    state, now = open_state(home), 1000.0
    create_key(state, "ada")
    keys = KeyRing(state)
    keys.renew()
    # As two workers of the API have them.
    first, second = Sessions(home, keys, lambda: now), Sessions(home, keys, lambda: now)

    def begun() -> str:
        caller = keys.caller_named("ada")
        assert caller is not None
        return second.redeem(first.issue(caller))

    def name_of(cookie: str) -> str | None:
        found = first.caller_of(cookie)
        return found.name if found else None

    session = begun()
    now += HOURS * 3600 - 1
    assert name_of(session) == "ada"
    forged = (
        base64.urlsafe_b64encode(b"owner").decode().join([session.split(".")[0] + ".", "." + session[-64:]])
    )
    assert name_of(forged) is None
    now += 1
    assert name_of(session) is None
    session = begun()
    revoke_key(state, "ada")
    keys.renew()
    assert name_of(session) is None


def test_a_ticket_is_good_once_for_a_minute(home: Home) -> None:
    now = 1000.0
    sessions = Sessions(home, KeyRing(open_state(home)), lambda: now)
    ticket, late = sessions.issue(Caller("ada")), sessions.issue(Caller("ada"))
    sessions.redeem(ticket)
    now += TICKET_SECONDS
    for bad in (ticket, late, "", "../../secrets/owner.key"):
        with pytest.raises(Gone):
            sessions.redeem(bad)


def test_roles_and_projects_of_a_key_hold_there_too(pages: httpx.Client, home: Home) -> None:
    state = open_state(home)
    looks = {"Authorization": f"Bearer {create_key(state, 'looks', role=Role.VIEWER)}"}
    some = {"Authorization": f"Bearer {create_key(state, 'some', role=Role.ADMIN, projects=['pets'])}"}
    time.sleep(0.7)  # a key that was not there when keys were last read is unknown for half a second
    assert pages.get("/mlflow/version", headers=looks).status_code == 200
    note = "/mlflow/ajax-api/2.0/mlflow/runs/set-tag"
    assert is_problem(pages.post(note, headers=looks, json={}))["status"] == 403
    assert is_problem(pages.get("/mlflow/version", headers=some))["status"] == 403
    assert is_problem(pages.post("/v1/mlflow/link", headers=some))["status"] == 403
