"""A person labels a row in Label Studio's own screen, and the next version of the table labels holds the answer."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.api.served import Served
from tests.assets.test_labels import make, run, versions
from tests.chromium import CHROMIUM, FLAGS
from tests.label_studio_server import Server
from tidemill.home import Home
from tidemill.labels import ledger
from tidemill.labels.backend import LabelTask
from tidemill.labels.sources import label_studio_of
from tidemill.project import load_project
from tidemill.store.state import open_state
from tidemill.store.tables import TableStore

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium (Debian's package chromium)"),
]


@pytest.fixture
def shop(home: Home, label_studio_server: Server) -> TableStore:
    """A shop whose customers c6 and c7 have no label; a person is asked about c6."""
    label_studio_server.lend(home)
    store = make(home, "label-studio")
    assert run(home).success
    project = load_project(home, "shop")
    backend = label_studio_of(home, project)
    asked = [LabelTask("c6", {"customer": "c6", "months": 6})]
    ledger.record_tasks(open_state(home), "shop", backend.source, asked, backend.push(asked))
    backend.close()
    return store


@contextmanager
def chromium() -> Iterator[Page]:
    """Closed before Dagster runs, which cannot have an event loop of another's in its thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        made = browser.new_page(viewport={"width": 1400, "height": 900}, locale="en-GB")
        made.set_default_timeout(45_000)
        yield made
        browser.close()


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_an_answer_given_in_the_browser_is_in_the_next_labels(home: Home, shop: TableStore) -> None:
    before = versions(shop)
    hosts: set[str | None] = set()
    with Served(home) as api, api.client() as client, chromium() as page:
        page.context.on("request", lambda sent: hosts.add(urlsplit(sent.url).hostname))
        page.goto(client.label_studio_link("shop", "Ada")["url"])
        page.wait_for_url("**/projects/*/data**")
        page.get_by_role("button", name="Label All Tasks").click()
        page.get_by_text(re.compile("^yes")).first.click()  # its key follows
        with page.expect_response(
            lambda reply: reply.request.method == "POST" and "/annotations" in reply.url
        ) as sent:
            page.get_by_role("button", name="Submit").first.click()
        assert sent.value.status == 201
        page.goto(page.url.split("/projects/")[0] + "/projects/")
        page.wait_for_load_state("networkidle")
    # `blob:` and `data:` addresses have no host.
    assert hosts - {None, ""} == {"127.0.0.1"}

    assert run(home).success
    (answer,) = ledger.answers(open_state(home), "shop")
    assert (answer.source, answer.row, answer.label, answer.annotator) == (
        "label-studio",
        "c6",
        "yes",
        "Ada",
    )
    after = versions(shop)
    assert (after["raw"], after["labels"]) == (before["raw"], before["labels"] + 1)
    found = shop.require("features").to_pandas().set_index("_row")["_label"]
    assert found["c6"] == "yes"
