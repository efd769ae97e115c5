"""What people look at, in a real browser before the real services: each page of the dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from .conftest import Box

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A page's address, and what only the demo's own data can make it say.
SAYS = {
    "": "Look at the alerts",
    "data": "patient_id",
    "training": "It made model version",
    "models": "Version 1",
    "predict": "Mean radius",
    "monitor": "columns have drifted",
}

pytestmark = [
    pytest.mark.services,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium (Debian's package chromium)"),
]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        opened = browser.new_page(viewport={"width": 1400, "height": 1000}, locale="en-GB")
        opened.set_default_timeout(45_000)
        yield opened
        browser.close()


@pytest.mark.parametrize("name", SAYS, ids=lambda name: name or "overview")
def test_each_page_of_the_dashboard_shows_the_demo(box: Box, page: Page, name: str) -> None:
    called: set[str] = set()
    page.on("request", lambda request: called.add(urlsplit(request.url).hostname or "127.0.0.1"))
    page.goto(f"{box.url('ui')}/{name}?project=breast_cancer")
    expect(page.get_by_test_id("stApp")).to_contain_text(SAYS[name], timeout=45_000)
    assert page.get_by_test_id("stException").count() == 0
    assert called == {"127.0.0.1"}
