"""The list of services: what holds for all of them."""

from __future__ import annotations

import json

import pytest

from tidemill.home import Home
from tidemill.ops.services import PORTS, Site, environment, tidemill_services, write_workspace


@pytest.fixture
def site(tmp_path):
    return Site(Home(tmp_path).ensure(), "127.0.0.1", PORTS, "some-id", "tm_secret")


def test_every_need_is_a_service_and_there_is_no_circle(site):
    services = {service.name: service for service in tidemill_services(site)}
    assert set(services) == {"api", "ui", "dagster", "daemon", "code", "worker", "label-studio", "mlflow"}
    started: set[str] = set()
    while len(started) < len(services):
        ready = {name for name, service in services.items() if set(service.needs) <= started} - started
        assert ready, "services need each other in a circle"
        started |= ready


def test_nothing_listens_beyond_this_machine_or_calls_out(site):
    for service in tidemill_services(site):
        assert "0.0.0.0" not in " ".join(service.command)
        assert service.env["DAGSTER_DISABLE_TELEMETRY"] == "1"
        assert service.env["STREAMLIT_BROWSER_GATHER_USAGE_STATS"] == "false"
        assert "127.0.0.1" in service.env["NO_PROXY"]
        assert service.url is None or service.url.startswith("http://127.0.0.1:")


def test_only_the_dashboard_holds_the_owners_key_and_not_in_its_arguments(site, monkeypatch):
    monkeypatch.delenv("TIDEMILL_API_KEY", raising=False)
    for service in tidemill_services(site):
        assert "tm_secret" not in " ".join(service.command)
        assert ("tm_secret" in service.env.values()) == (service.name == "ui")
    assert "tm_secret" not in repr(site)


def test_settings_handed_down_are_settings(site):
    """What the services find in their environment must pass the reader of settings."""
    from tidemill.settings import load_settings

    settings = load_settings(environment(site))
    assert settings.api_port == PORTS["api"]
    assert settings.host == "127.0.0.1"


def test_workspace_names_the_code_server(site):
    content = json.loads(write_workspace(site).read_text())
    server = content["load_from"][0]["grpc_server"]
    assert server == {"host": "127.0.0.1", "port": PORTS["code"], "location_name": "tidemill"}
