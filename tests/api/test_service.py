import re
import subprocess
import sys
import time

import httpx
import pytest
from fastapi import FastAPI

from api import publish
from api.app import create_app
from tidemill.home import CHECKOUT, Home
from tidemill.settings import Settings

# Label Studio and browsers come with no key but with a secret or a ticket.
OF_STRANGERS = {"/v1/projects/{project}/label-studio/webhook", "/v1/label-studio/open", "/v1/mlflow/open"}
HEAVY = "pandas|sklearn|duckdb|pyarrow|numpy|scipy|dagster|mlflow|streamlit|matplotlib"


def test_alive_needs_no_key(http: httpx.Client) -> None:
    answer = http.get("/healthz", headers={"Authorization": ""})
    assert answer.json() == {"service": "tidemill", "home_id": "home-1", "status": "ok", "version": "0.1.0"}


@pytest.mark.usefixtures("deployed")
def test_ready_says_what_it_looked_at(http: httpx.Client) -> None:
    deadline = time.monotonic() + 20
    while (answer := http.get("/readyz")).status_code == 503:
        assert answer.json()["checks"]["models"] == {"pets": "loading model 1"}
        assert time.monotonic() < deadline
        time.sleep(0.05)
    checks = answer.json()["checks"]
    assert checks == {"database": "ok", "dagster": "ok", "models": {"pets": "ready model 1"}}


def test_dagster_away_does_not_make_it_unready(http: httpx.Client, runs: object) -> None:
    runs.away = True  # type: ignore[attr-defined]
    answer = http.get("/readyz")
    assert answer.status_code == 200
    assert "does not answer" in answer.json()["checks"]["dagster"]


def test_a_database_that_is_away_is_not_ready(app: FastAPI, http: httpx.Client, home: Home) -> None:
    app.state.context.state.engine.dispose()
    home.state_db.unlink()
    home.state_db.mkdir()
    answer = http.get("/readyz")
    assert answer.status_code == 503
    assert "does not answer" in answer.json()["checks"]["database"]
    app.state.context.keys._read_at = float("-inf")
    refused = http.get("/v1/projects")
    assert (refused.status_code, refused.json()["title"]) == (503, "The control database does not answer")


def test_metrics_name_routes_not_paths(http: httpx.Client) -> None:
    http.get("/v1/projects/nobody")
    http.get("/made/up")
    text = http.get("/metrics").text
    assert (
        'tidemill_http_requests_total{method="GET",route="/v1/projects/{project}",status="404"} 1.0' in text
    )
    assert 'route="none",status="404"' in text
    assert "nobody" not in text
    assert "made/up" not in text


def test_the_docs_load_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"(?:https?:)?//[a-z]", page.text)
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_the_published_document_is_current() -> None:
    assert publish.FILE.read_text(encoding="utf-8") == publish.text(), "run `python -m api.publish`"


def test_every_route_is_described_with_an_example_and_its_problems(app: FastAPI) -> None:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            if not path.startswith("/v1/"):
                continue
            if path in OF_STRANGERS:
                continue
            assert operation["security"] == [{"HTTPBearer": []}], where
            good = next(answer for status, answer in operation["responses"].items() if status < "300")
            # What tus asks for answers in headers alone.
            content = good.get("content", {}) if "/uploads" in path else good["content"]
            # A table in Arrow's or CSV's form says what the JSON beside it says.
            shown = {kind: each for kind, each in content.items() if kind == "application/json"} or content
            assert all("example" in each for each in shown.values()), where
            if "/rejects" not in path:
                assert {"401", "422"} <= set(operation["responses"]), where


def test_references_of_the_document_exist(app: FastAPI) -> None:
    document = app.openapi()
    for name in set(re.findall(r"#/components/schemas/([\w.-]+)", str(document))):
        assert name in document["components"]["schemas"]


def test_applications_do_not_share_metrics(home: Home, http: httpx.Client) -> None:
    http.get("/healthz")
    other = create_app(home, Settings.model_validate({}))
    assert other.state.context.metrics.registry is not http


def test_it_starts_without_heavy_libraries(home: Home) -> None:
    code = (
        "import sys; from api.app import create_app; from tidemill.home import Home; "
        "from tidemill.settings import load_settings; create_app(Home.find(), load_settings()); "
        f"print(sorted(name for name in sys.modules if name in '{HEAVY}'.split('|')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
    assert home.secrets.is_dir()
