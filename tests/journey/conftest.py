"""The real thing, once a session: `./tidemill demo` in a home of its own, with every service running.

Tests here act as users do: through the command line, the API, Dagster's GraphQL, a notebook, a browser.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tidemill.client import Client
from tidemill.home import CHECKOUT, Home

PATIENCE = 420


@dataclass
class Box:
    """A home with its services, as its user sees it."""

    home: Home
    output: str = ""
    seconds: float = 0.0

    def tidemill(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command as a user would; its output is kept."""
        done = subprocess.run(
            [str(CHECKOUT / "tidemill"), *arguments],
            cwd=self.home.root.parent,
            env={**os.environ, "TIDEMILL_HOME": str(self.home.root)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if check and done.returncode != 0:
            pytest.fail(
                f"tidemill {' '.join(arguments)} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def demo(self, *arguments: str) -> str:
        began = time.monotonic()
        output = self.tidemill("demo", *arguments).stdout
        self.seconds = time.monotonic() - began
        return output

    @property
    def key(self) -> str:
        return (self.home.secrets / "owner.key").read_text().strip()

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{json.loads((self.home.run / 'ports.json').read_text())[service]}"

    def client(self) -> Client:
        return Client(self.url("api"), self.key)

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url('dagster')}/graphql", json={"query": query, "variables": variables}, timeout=60
        )
        document = answer.json()
        assert "errors" not in document, document["errors"]
        return document["data"]

    def pids(self) -> list[int]:
        """Of every service and the supervisor."""
        report = json.loads(self.tidemill("status", "--json", check=False).stdout)
        if not report["running"]:
            return []
        return [report["supervisor"]["pid"], *(service["pid"] for service in report["services"])]


def until(probe: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """The first true answer of `probe`."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.25)
    return found


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A home in which the demo has run once, with its services up."""
    made = Box(Home.find(tmp_path_factory.mktemp("journey") / "home"))
    try:
        made.output = made.demo()
        yield made
    finally:
        made.tidemill("down", check=False)


@pytest.fixture
def client(box: Box) -> Iterator[Client]:
    with box.client() as made:
        yield made


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Tests that end the services come last."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)  # type: ignore[attr-defined]
