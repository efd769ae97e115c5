"""The dashboard in a real browser: every page opens, says its part, is quiet, and calls nobody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fake_api import KEY, FakeApi, served
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.chromium import CHROMIUM, FLAGS

CHECKOUT = Path(__file__).parents[2]
SAYS = {
    "": "Wine cultivars",
    "data": "Send the file",
    "label": "How far it is",
    "training": "Earlier trainings",
    "models": "What was live when",
    "predict": "Filled with the usual value",
    "batch": "Log the answers",
    "monitor": "Live quality",
}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium (Debian's package chromium)"),
]


@pytest.fixture(scope="module")
def shown_api() -> FakeApi:
    return FakeApi.filled()


@pytest.fixture(scope="module")
def dashboard(shown_api: FakeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Streamlit server before the made-up API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("dashboard") / "log.txt"
    command = [sys.executable, "-m", "streamlit", "run", "ui/app.py", "--server.port", str(port)]
    command += ["--server.address", "127.0.0.1", "--server.fileWatcherType", "none"]
    with served(shown_api) as api_url, log.open("wb") as output:
        env = {**os.environ, "TIDEMILL_API_URL": api_url, "TIDEMILL_API_KEY": KEY, "TZ": "UTC"}
        server = subprocess.Popen(command, cwd=CHECKOUT, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/_stcore/health", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)
    assert "Traceback" not in log.read_text()


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


class Watched:
    """A browser page that remembers what went wrong and whom it called."""

    def __init__(self, browser: Browser) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1400, "height": 900}, locale="en-GB")
        self.page.set_default_timeout(30_000)
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        # On a page's own address Streamlit first looks for its server below that address, then at the root.
        is_looking_for_server = "/_stcore/" in message.location.get("url", "")
        if message.type == "error" and not is_looking_for_server:
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def _request(self, request: Request) -> None:
        if request.url.startswith(("http", "ws")):
            self.hosts.add(urlsplit(request.url).hostname or "")

    def open(self, url: str, text: str) -> None:
        self.page.goto(url)
        self.page.get_by_text(text).first.wait_for()
        self.page.get_by_test_id("stStatusWidget").wait_for(state="detached")
        expect(self.page.get_by_test_id("stSkeleton")).to_have_count(0)


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    found = Watched(browser)
    yield found
    found.page.close()
    assert found.complaints == []
    assert found.hosts <= {"127.0.0.1"}


@pytest.mark.parametrize("name", list(SAYS))
def test_page_opens_is_quiet_and_calls_nobody_else(
    name: str, dashboard: str, watched: Watched, tmp_path: Path
) -> None:
    watched.open(f"{dashboard}/{name}", SAYS[name])

    folder = Path(os.environ.get("TIDEMILL_SCREENSHOTS") or tmp_path)
    watched.page.wait_for_timeout(1500)  # charts and tables draw after the text
    watched.page.screenshot(path=folder / f"{name or 'overview'}.png", full_page=True)
    assert watched.page.get_by_test_id("stAlert").count() == 0
    assert watched.page.get_by_test_id("stException").count() == 0


def test_the_project_stays_chosen_on_the_way_through_the_pages(dashboard: str, watched: Watched) -> None:
    watched.open(f"{dashboard}/data?project=wine", SAYS["data"])

    watched.page.get_by_role("link", name="Monitor").click()
    watched.page.get_by_text("Live quality").first.wait_for()

    watched.page.wait_for_url("**/monitor?project=wine")


def test_a_prediction_is_made_by_hand(dashboard: str, watched: Watched, shown_api: FakeApi) -> None:
    before = len(shown_api.predictions)
    watched.open(f"{dashboard}/predict?project=breast_cancer", SAYS["predict"])

    watched.page.get_by_role("button", name="Predict", exact=False).last.click()
    watched.page.get_by_text("Probability of each class").wait_for()

    assert len(shown_api.predictions) == before + 1


def test_a_training_is_followed_to_its_end_without_a_click(
    dashboard: str, watched: Watched, shown_api: FakeApi
) -> None:
    watched.open(f"{dashboard}/training?project=breast_cancer", SAYS["training"])

    watched.page.get_by_role("button", name="Start training").click()
    watched.page.get_by_text("Running").first.wait_for()
    shown_api.trainings[0] |= {"status": "succeeded", "model_version": 3}

    watched.page.get_by_text("It made model version 3").wait_for()


def test_a_file_is_sent_by_hand(dashboard: str, watched: Watched, shown_api: FakeApi) -> None:
    watched.open(f"{dashboard}/data?project=breast_cancer", SAYS["data"])

    watched.page.locator("input[type=file]").set_input_files(
        {"name": "hand.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"}
    )
    watched.page.get_by_text("hand.csv").first.wait_for()
    watched.page.get_by_role("button", name="Send the file").click()
    watched.page.get_by_text("was accepted").first.wait_for()

    assert shown_api.files[0]["name"] == "hand.csv"
