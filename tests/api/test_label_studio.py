"""The way into Label Studio without a second login, and its webhook."""

import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api.label_studio import SECRET_HEADER
from tests.api.conftest import PROJECT, add_project
from tests.api.test_errors import is_problem
from tests.label_studio_server import Server
from tidemill.client import ApiError, Client
from tidemill.errors import Gone, NotReady
from tidemill.home import Home
from tidemill.labels import sources
from tidemill.labels.hints import WAIT
from tidemill.labels.label_studio_login import LIFETIME, MOST, Tickets, log_in
from tidemill.ops import label_studio, ports

WEBHOOK = "/v1/projects/pets/label-studio/webhook"


@pytest.fixture
def pets(client: Client, home: Home) -> Client:
    return of_label_studio(client, home)


def of_label_studio(client: Client, home: Home, more: str = "") -> Client:
    add_project(home, PROJECT.replace("labels: {", "labels: {kind: label-studio, " + more))
    return client


def test_a_link_lets_a_browser_in_once(
    pets: Client, http: httpx.Client, home: Home, label_studio_server: Server
) -> None:
    label_studio_server.lend(home)
    link = pets.label_studio_link("pets")
    assert link["seconds"] == 60
    for secret in ("token", "password"):
        assert label_studio.secret(home, secret) not in link["url"]

    anybody = {"Authorization": ""}
    opened = http.get(link["url"], headers=anybody)
    assert opened.status_code == 303
    assert opened.headers["location"].startswith(f"{label_studio_server.url}/projects/")
    cookie = opened.headers["set-cookie"]
    assert cookie.startswith("sessionid=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie

    with httpx.Client(base_url=label_studio_server.url, trust_env=False) as browser:
        assert browser.get("/api/current-user/whoami").status_code == 401
        browser.cookies.set("sessionid", opened.cookies["sessionid"])
        assert browser.get("/api/current-user/whoami").json()["email"] == label_studio.OWNER
        assert browser.get(opened.headers["location"]).status_code == 200

    again = http.get(link["url"], headers=anybody)
    assert is_problem(again)["status"] == 410
    assert "set-cookie" not in again.headers


@pytest.mark.parametrize("query", ["", "?ticket=", "?ticket=made-up", "?ticket=%ff%00"])
def test_a_ticket_that_was_never_given_out_opens_nothing(http: httpx.Client, query: str) -> None:
    assert is_problem(http.get(f"/v1/label-studio/open{query}"))["status"] == 410


def test_a_browser_is_sent_to_the_name_by_which_it_came(
    pets: Client, http: httpx.Client, home: Home, label_studio_server: Server
) -> None:
    label_studio_server.lend(home)
    for came, sent in (("localhost:8700", "localhost"), ("evil.example", "127.0.0.1")):
        query = urlsplit(pets.label_studio_link("pets")["url"]).query
        opened = http.get(f"/v1/label-studio/open?{query}", headers={"Host": came})
        assert urlsplit(opened.headers["location"]).hostname == sent


def test_tickets_end_after_a_minute_and_are_not_hoarded() -> None:
    now = 100.0
    tickets = Tickets(lambda: now)
    kept, old = tickets.issue("/a", "ada"), tickets.issue("/b", "bob")
    now += LIFETIME - 1
    assert tickets.redeem(kept) == ("/a", "ada")
    now += 1
    with pytest.raises(Gone):
        tickets.redeem(old)
    many = [tickets.issue(f"/{number}", "ada") for number in range(MOST + 1)]
    with pytest.raises(Gone):
        tickets.redeem(many[0])
    assert tickets.redeem(many[-1]) == (f"/{MOST}", "ada")


def test_to_another_server_the_link_is_its_address(
    client: Client, home: Home, label_studio_server: Server
) -> None:
    of_label_studio(client, home, f'url: "{label_studio_server.url}", ')
    (home.secrets / "label-studio.pets.token").write_text(label_studio_server.token)
    link = client.label_studio_link("pets")
    assert link["seconds"] is None
    assert link["url"].startswith(f"{label_studio_server.url}/projects/")


def test_without_a_server_the_link_says_what_to_do(pets: Client, home: Home) -> None:
    with pytest.raises(ApiError, match="token"):
        pets.label_studio_link("pets")
    label_studio.secret(home, "token")
    with pytest.raises(ApiError, match="never started"):
        pets.label_studio_link("pets")
    (home.run / "ports.json").write_text(f'{{"label_studio": {ports.any_free("127.0.0.1")}}}')
    with pytest.raises(ApiError, match="does not answer") as away:
        pets.label_studio_link("pets")
    assert away.value.status == 503
    with pytest.raises(NotReady, match="does not answer"):
        log_in(home, "owner")


def test_a_password_that_was_changed_there_is_told(home: Home, label_studio_server: Server) -> None:
    label_studio_server.lend(home)
    (home.secrets / "label-studio.password").write_text("another")
    with pytest.raises(NotReady, match="did not let us in"):
        log_in(home, "owner")


def test_where_nobody_answers_there_no_link_is_made(client: Client, home: Home, http: httpx.Client) -> None:
    with pytest.raises(ApiError, match="do not answer in Label Studio") as refused:
        client.label_studio_link("pets")
    assert refused.value.status == 409
    headers = {SECRET_HEADER: label_studio.secret(home, "webhook")}
    assert is_problem(http.post(WEBHOOK, headers=headers))["status"] == 409


def test_a_link_is_for_the_person_who_asked(
    pets: Client, http: httpx.Client, home: Home, label_studio_server: Server
) -> None:
    label_studio_server.lend(home)
    for asked, address in (("Ada", "%41da@tidemill.local"), ("", label_studio.OWNER)):
        opened = http.get(pets.label_studio_link("pets", asked)["url"], headers={"Authorization": ""})
        with httpx.Client(base_url=label_studio_server.url, trust_env=False) as browser:
            browser.cookies.set("sessionid", opened.cookies["sessionid"])
            assert browser.get("/api/current-user/whoami").json()["email"] == address


@pytest.mark.usefixtures("pets")
def test_only_a_webhook_with_the_secret_has_answers_taken_over(
    http: httpx.Client, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_over = threading.Event()
    monkeypatch.setattr(sources, "sync", lambda *_: taken_over.set())
    for forged in ({}, {SECRET_HEADER: ""}, {SECRET_HEADER: "0" * 40}, {SECRET_HEADER: "é".encode()}):
        assert is_problem(http.post(WEBHOOK, headers=forged, json={"action": "x"}))["status"] == 401
    assert not taken_over.wait(WAIT + 0.5)
    file: Path = home.secrets / "label-studio.webhook"
    assert file.stat().st_mode & 0o777 == 0o600

    stranger = {"Authorization": "", SECRET_HEADER: file.read_text().strip()}
    taken = http.post(WEBHOOK, headers=stranger, content=b"\xff not JSON")
    assert taken.status_code == 202
    assert taken_over.wait(20)


def test_what_is_wrong_with_the_server_is_told_with_the_labels(
    pets: Client, home: Home, label_studio_server: Server
) -> None:
    label_studio.secret(home, "token")
    (home.run / "ports.json").write_text(f'{{"label_studio": {ports.any_free("127.0.0.1")}}}')
    told = pets.labelling("pets")["trouble"]
    assert told is not None
    assert "does not answer" in told["title"]
    assert "tidemill logs label-studio" in told["remedy"]
    label_studio_server.lend(home)
    assert pets.labelling("pets")["trouble"] is None
