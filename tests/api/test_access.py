"""What a key may do: its role, its projects, its rate; and what is written down of it."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from api.roles import NEEDED, READING, needed
from tests.api.conftest import PROJECT, add_project
from tidemill.client import ApiError, Client
from tidemill.home import Home
from tidemill.ops.access import Role
from tidemill.ops.keys import create_key
from tidemill.store import audit

PETS = "/v1/projects/pets"
RECORD = {"kind": "cat", "weight": 3.0}


@pytest.fixture
def key_for(app: FastAPI) -> Any:
    """Makes a key and gives the header that carries it."""
    state = app.state.context.state

    def make(name: str = "robot", **rights: Any) -> dict[str, str]:
        secret = create_key(state, name, **rights)
        app.state.context.keys.renew()
        return {"Authorization": f"Bearer {secret}"}

    return make


def routes(app: FastAPI) -> set[tuple[str, str]]:
    return {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
        if operation.get("security")
    }


def test_every_route_that_changes_something_names_its_role(app: FastAPI) -> None:
    changing = {route for route in routes(app) if route[0] not in READING}
    named = {route for route in NEEDED if route[0] not in READING}
    assert changing == named


def test_the_document_says_the_role(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    assert paths["/v1/projects/{project}/rollback"]["post"]["x-role"] == "promoter"
    assert paths["/v1/projects/{project}/models"]["get"]["x-role"] == "viewer"
    assert "x-role" not in paths["/healthz"]["get"]


def test_what_nobody_named_needs_an_admin() -> None:
    assert needed("DELETE", "/v1/projects/{project}") is Role.ADMIN
    assert needed("GET", "/v1/projects/{project}/new") is Role.VIEWER


@pytest.mark.parametrize("role", Role)
def test_a_role_opens_its_routes_and_no_others(http: httpx.Client, key_for: Any, role: Role) -> None:
    header = key_for(role=role)
    for (method, template), least in NEEDED.items():
        filled = template.replace("{project}", "pets").replace("{version}", "1").replace("{run}", "x")
        filled = filled.replace("{upload}", "0").replace("{alert}", "1")
        answer = http.request(method, filled, headers=header, content=b"[")
        assert (answer.status_code == 403) == (role.rank < least.rank), (method, template, answer.text)
        if answer.status_code == 403:
            assert f"--role {least}" in answer.json()["remedy"]


def test_a_key_of_one_project_learns_of_no_other(http: httpx.Client, home: Home, key_for: Any) -> None:
    add_project(home, PROJECT.replace("name: pets", "name: cars"), "cars")
    header = key_for(role=Role.ADMIN, projects=["cars"])
    assert [one["name"] for one in http.get("/v1/projects", headers=header).json()["projects"]] == ["cars"]
    assert http.get("/v1/projects/cars", headers=header).status_code == 200
    there, nowhere = (http.get(f"/v1/projects/{name}", headers=header) for name in ("pets", "nonsense"))
    assert there.status_code == nowhere.status_code == 403
    assert there.json()["detail"] == nowhere.json()["detail"]
    # The routed path counts, not the path as it was sent.
    assert http.get("/v1/projects/%70ets", headers=header).status_code == 403
    assert http.get("/v1/projects/cars/../pets", headers=header).status_code in (403, 404)


@pytest.mark.usefixtures("deployed")
def test_the_short_way_of_predictions_knows_projects_and_rates(
    http: httpx.Client, home: Home, key_for: Any
) -> None:
    add_project(home, PROJECT.replace("name: pets", "name: cars"), "cars")
    assert http.post(f"{PETS}/predictions", json=RECORD).status_code == 200  # the model is loaded now
    stranger = key_for("stranger", projects=["cars"])
    assert http.post(f"{PETS}/predictions", json=RECORD, headers=stranger).status_code == 403
    slow = key_for("slow", per_second=0.01)
    assert http.post(f"{PETS}/predictions", json=RECORD, headers=slow).status_code == 200
    refused = http.post(f"{PETS}/predictions", json=RECORD, headers=slow)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 100


@pytest.mark.usefixtures("deployed")
def test_a_request_with_a_fault_counts_once(http: httpx.Client, key_for: Any) -> None:
    assert http.post(f"{PETS}/predictions", json=RECORD).status_code == 200
    slow = key_for("slow", per_second=0.01)
    assert http.post(f"{PETS}/predictions", json={"weight": "heavy"}, headers=slow).status_code == 422
    assert http.get(PETS, headers=slow).status_code == 429


def test_one_may_ask_who_one_is(client: Client, http: httpx.Client, key_for: Any) -> None:
    assert client.me() == {"name": "owner", "role": "admin", "projects": None}
    header = key_for("ward-7", role=Role.LABELER, projects=["pets"])
    assert http.get("/v1/me", headers=header).json() == {
        "name": "ward-7",
        "role": "labeler",
        "projects": ["pets"],
    }


def test_who_changed_what_is_written_down(
    app: FastAPI, client: Client, http: httpx.Client, key_for: Any
) -> None:
    looking = key_for("looker")
    denied = http.post(f"{PETS}/trainings", json={}, headers=looking)
    client.start_drift("pets")
    client.projects()
    with pytest.raises(ApiError):
        client.rollback("pets", "reasons stay in the history")
    entries = client.audit()
    assert [(one["actor"], one["action"], one["status"]) for one in entries] == [
        ("owner", "POST /v1/projects/{project}/rollback", 409),
        ("owner", "POST /v1/projects/{project}/drift", 202),
        ("looker", "POST /v1/projects/{project}/trainings", 403),
    ]
    assert entries[2]["request_id"] == denied.headers["x-request-id"]
    assert {one["project"] for one in entries} == {"pets"}
    assert audit.verify(app.state.context.state)[0] == 3
    assert looking["Authorization"][7:] not in repr(entries)
    assert http.get("/v1/audit", headers=looking).status_code == 403
    assert "reasons stay" not in repr(entries)


def test_a_full_audit_log_is_told_and_does_not_belie_the_answer(
    client: Client, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def away(*_: Any, **__: Any) -> int:
        raise OperationalError("INSERT", {}, Exception("disk I/O error"))

    monkeypatch.setattr("api.audited.audit.append", away)
    assert client.start_drift("pets")["id"]
    assert "is missing in the audit log" in caplog.text
    assert "tidemill_unaudited_total 1.0" in http.get("/metrics").text


def test_an_unforeseen_error_is_written_down_too(app: FastAPI, http: httpx.Client) -> None:
    from fastapi import Depends

    from api.auth import require_key

    @app.post("/v1/broken", dependencies=[Depends(require_key)])
    async def broken() -> None:
        raise RuntimeError("nobody foresaw this")

    assert http.post("/v1/broken").status_code == 500
    entry = audit.newest(app.state.context.state, 1)[0]
    assert (entry["action"], entry["status"]) == ("POST /v1/broken", 500)
