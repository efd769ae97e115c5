"""A challenger beside real processes: compared, broken in every way, swapped under load, taken back.

One server for all tests; each leaves no challenger behind. Model 2's faults come from `faulty/sitecustomize.py`.
"""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import PROJECT
from tests.api.served import Served
from tidemill.client import ApiError, Client
from tidemill.home import Home
from tidemill.serve.deployment import deploy
from tidemill.store.sql import query
from tidemill.store.state import open_state

FAULTY = Path(__file__).parent / "faulty"
# Against hanging only; how fast it really is, benchmarks/rollout.py says.
PATIENCE = 60.0
LEAST = "minimum_answers: 20, minimum_truths: 20"
ROLLOUT = "rollout: {timeout_ms: %s, max_drift: %s, max_latency_ratio: %s, " + LEAST + "}\n"


class Place:
    """The server, its home, and what model 2 does."""

    def __init__(self, home: Home, server: Served, fault: Path) -> None:
        self.home = home
        self.server = server
        self._fault = fault
        self.client: Client
        self._numbers = 0

    def fault(self, text: str) -> None:
        self._fault.write_text(text)

    def project(
        self, *, timeout_ms: int = 2000, max_drift: float = 0.25, max_latency_ratio: float = 3
    ) -> None:
        policy = ROLLOUT % (timeout_ms, max_drift, max_latency_ratio)
        self.home.project_file("pets").write_text(PROJECT + policy)

    def ask(self, count: int) -> list[Any]:
        """Answers about new entities, half of them heavy."""
        found = []
        for _ in range(count):
            self._numbers += 1
            record = {"pet_id": f"p{self._numbers}", "weight": 18.0 if self._numbers % 2 else 2.0}
            found.append(self.client.predict("pets", record))
        return found

    def comparison(self) -> Any:
        with contextlib.suppress(ApiError):  # 404 until the first report
            return self.client.comparison("pets", self.since)
        return None

    @property
    def since(self) -> int:
        challenger = self.client.deployment("pets")["challenger"]
        assert challenger is not None
        return challenger["since"]


@pytest.fixture(scope="module")
def served(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("rollout")
    home = Home.find(folder / "home").ensure()
    fault = folder / "fault"
    fault.write_text("")
    shutil.copytree(bundles, home.models("pets"), dirs_exist_ok=True)
    home.project_file("pets").parent.mkdir(parents=True)
    server = Served(home)
    server.environment |= {
        "TIDEMILL_HOME": str(home.root),
        "PYTHONPATH": os.pathsep.join([str(FAULTY), os.environ.get("PYTHONPATH", "")]),
        "TEST_FAULT": str(fault),
    }
    state = open_state(home)
    deploy(state, "pets", 1, actor="test", reason="the first")
    place = Place(home, server, fault)
    place.project()
    with server:
        place.client = server.client()
        yield place
        place.client.close()
    state.engine.dispose()


@pytest.fixture
def place(served: Place) -> Iterator[Place]:
    served.project()
    served.fault("")
    yield served
    served.fault("")
    found = served.client.deployment("pets")
    if found["challenger"] is not None:
        found = served.client.withdraw("pets", "the end of a test")
    if found["champion"] != 1:
        served.client.deploy("pets", 1, "the end of a test")


def until(fine: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := fine()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_shadow_is_compared_and_answers_nobody(place: Place) -> None:
    place.client.shadow("pets", 2, "to compare")
    answers = place.ask(60)
    assert {(one["role"], one["model_version"]) for one in answers} == {("champion", 1)}
    report = until(lambda: (found := place.comparison()) and found["compared"] >= 60 and found)
    assert (report["stage"], report["compared"], report["dropped"]) == ("shadow", 60, 0)
    assert report["agreement"] == 1.0  # both were trained alike
    assert report["difference"]["largest"] == 0.0
    assert report["latency"]["champion"]["count"] == 60
    assert report["latency"]["challenger"]["p95_ms"] > 0
    rows = query(
        place.home,
        "pets",
        "SELECT c.role, c.model_version, c.label = p.label FROM challenger c JOIN predictions p "
        f"ON p.id = c.prediction_id WHERE p.id IN ({', '.join(repr(one['id']) for one in answers)})",
    ).rows
    assert rows == [["shadow", 2, True]] * 60
    place.client.send_truths(
        "pets", [{"prediction_id": one["id"], "label": one["label"]} for one in answers[:40]]
    )
    report = until(lambda: (found := place.comparison())["quality"] and found)
    assert (report["quality"]["count"], report["quality"]["challenger"]) == (40, 0)


@pytest.mark.parametrize("fault", ["raise", "exit", "hang"])
def test_a_shadow_that_breaks_touches_nobody(place: Place, fault: str) -> None:
    place.fault(fault)
    place.client.shadow("pets", 2, "a bad one")
    until(place.comparison)  # it is being watched
    answers = place.ask(40)
    assert {(one["role"], one["model_version"]) for one in answers} == {("champion", 1)}
    if fault == "raise":
        report = until(lambda: (found := place.comparison()) and found["errors"]["count"] >= 40 and found)
        assert report["errors"]["last"] == "ZeroDivisionError: as the test wants it"
        assert report["compared"] == 0
    if fault == "exit":
        until(lambda: [one for one in place.client.alerts("pets") if "ended with 9" in one["title"]])
    place.ask(10)
    assert place.client.withdraw("pets", "it is bad")["champion"] == 1


@pytest.mark.parametrize("kind", ["errors", "latency", "drift", "quality"])
def test_a_canary_that_breaks_its_policy_is_taken_back(place: Place, kind: str) -> None:
    faults = {"errors": "raise", "latency": "sleep 0.2", "drift": "same", "quality": "turn"}
    if kind == "quality":
        place.project(max_drift=1000)
    place.client.canary("pets", 2, "hopeful", percent=60, despite_gate=True)
    fine = place.ask(20)
    assert {one["role"] for one in fine} == {"champion", "canary"}
    place.fault(faults[kind])

    def taken_back() -> bool:
        answers = place.ask(10)
        if kind == "quality":
            truths = [
                {
                    "prediction_id": one["id"],
                    "label": one["label"] if one["role"] == "champion" else turned(one),
                }
                for one in answers
            ]
            place.client.send_truths("pets", truths)  # type: ignore[arg-type]
        return place.client.deployment("pets")["challenger"] is None

    until(taken_back)
    found = place.client.deployment("pets")
    last = found["history"][0]
    assert (found["champion"], last["action"], last["actor"]) == (1, "withdraw", "rollout policy")
    assert last["detail"] is not None
    assert last["detail"]["kind"] == kind
    assert any(one["title"].startswith("Canary 2 was taken back") for one in place.client.alerts("pets"))
    until(lambda: {one["role"] for one in place.ask(10)} == {"champion"})


def turned(answer: Any) -> str:
    return "no" if answer["label"] == "yes" else "yes"


def test_a_good_canary_stays(place: Place) -> None:
    place.project(timeout_ms=60_000, max_latency_ratio=1e6)  # a busy machine must not break it
    place.client.canary("pets", 2, "a good one", percent=50, despite_gate=True)
    place.ask(100)
    report = until(lambda: (found := place.comparison()) and found["compared"] >= 30 and found)
    assert (report["breach"], report["errors"]["count"], report["agreement"]) == (None, 0, 1.0)
    place.client.pause("pets", "for a while")
    assert {one["role"] for one in place.ask(30)} == {"champion"}
    place.client.resume("pets", "on")
    assert {one["role"] for one in place.ask(30)} == {"champion", "canary"}
    found = place.client.deploy("pets", 2, "as good", despite_gate=True)
    assert (found["champion"], found["challenger"]) == (2, None)
    assert found["history"][0]["action"] == "promote"


def test_twenty_swaps_under_load_lose_no_request(place: Place) -> None:
    statuses: list[int] = []
    seen: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with place.server.http() as http:
            while not stop.is_set():
                answer: httpx.Response = http.post("/v1/projects/pets/predictions", json={"weight": 5.0})
                statuses.append(answer.status_code)
                seen.append(answer.json().get("model_version"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for swap in range(20):
        wanted = 2 if swap % 2 == 0 else 1
        place.client.deploy("pets", wanted, f"swap {swap}", despite_gate=True)
        before = len(seen)
        until(lambda wanted=wanted, before=before: wanted in seen[before:])
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert set(seen) == {1, 2}
