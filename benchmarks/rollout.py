"""What trying a model costs those who are answered, and how fast one is swapped or taken back.

Shadow: p99 and rate of one-record requests with a boosted model in shadow against without, in turn, at 1 and 16
connections that are never idle; the same with a challenger that sleeps 50 ms a record. Swaps: 20 promotions while
16 connections ask; failed requests, and the time from the commit by another process to the first answer of the new
model. Canaries: the time from the first bad answer to the withdrawal, for each policy, at about 100 requests/s.

    ./tidemill bench rollout.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from answering.model import NAME, PROJECT, make
from documents import write_document
from serving import Server, ask, free_port, owner_key, server, wait_for

from tidemill.client import ApiError, Client
from tidemill.home import CHECKOUT, Home
from tidemill.serve.deployment import current, deploy
from tidemill.store.events import EventLog
from tidemill.store.state import State, now, open_state

PATH = f"/v1/projects/{NAME}/predictions"
FAULTY = CHECKOUT / "tests" / "api" / "faulty"
CONNECTIONS = (1, 16)
PATIENCE = 120
KINDS = {"errors": "raise", "latency": "sleep 0.2", "drift": "same", "quality": "turn"}
ROLLOUT = "rollout: {{minimum_answers: 20, minimum_truths: 20, timeout_ms: 2000, max_drift: {drift}}}\n"


class Place:
    """A server with its home; `fault` says what model 2 does, where it was started to be faulty."""

    def __init__(self, home: Home, state: State, port: int, fault: Path) -> None:
        self.home, self.state, self.port = home, state, port
        self.fault = fault
        self.key = owner_key(home)
        self.asked = Server("ours", port, PATH, key=self.key)
        self.client = Client(f"http://127.0.0.1:{port}", self.key)

    def shadow(self) -> None:
        """Model 2 in shadow, being watched."""
        since = self.client.shadow(NAME, 2, "to be measured")["revision"]
        until(lambda: self.report(since))

    def withdraw(self) -> None:
        self.client.withdraw(NAME, "measured")
        time.sleep(1.0)  # the process beside it has ended by then

    def report(self, since: int | None = None) -> Any:
        try:
            return self.client.comparison(NAME, since)
        except ApiError:
            return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round and few swaps")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    rounds, seconds, swaps = (1, 2.0, 5) if options.quick else (5, 3.0, 20)
    results: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        home = Home.find(Path(folder) / "home").ensure()
        records = make(home)
        state = open_state(home)
        deploy(state, NAME, 1, actor="bench", reason="benchmark")
        fault = Path(folder) / "fault"
        fault.write_text("")
        body = json.dumps(records[0]).encode()
        with running(home, state, fault, body) as place:
            results |= shadowed(place, body, rounds, seconds, "", rows)
            results |= swapped(place, body, swaps)
        with running(home, state, fault, body, faulty=True) as place:
            fault.write_text("sleep 0.05")
            results |= shadowed(place, body, rounds, seconds, "_slow", rows)
            results |= taken_back(place, records)
        state.engine.dispose()
    for name, value in results.items():
        print(f"{name:40} {value:.4g}")
    write_document(options.json, results, rows)
    return 0


@contextmanager
def running(home: Home, state: State, fault: Path, body: bytes, *, faulty: bool = False) -> Iterator[Place]:
    port = free_port()
    environment = {"TIDEMILL_HOME": str(home.root), "TIDEMILL_API_PORT": str(port)}
    if faulty:
        environment |= {"PYTHONPATH": f"{FAULTY}{os.pathsep}{CHECKOUT}", "TEST_FAULT": str(fault)}
    with server([sys.executable, "-m", "api"], **environment):
        place = Place(home, state, port, fault)
        wait_for(place.asked, body)
        yield place
        place.client.close()


def shadowed(
    place: Place, body: bytes, rounds: int, seconds: float, named: str, rows: list[dict[str, Any]]
) -> dict[str, float]:
    """Ratios of p99 and rate with a shadow to without, medians over rounds in which both were asked in turn."""
    found: dict[str, float] = {}
    for connections in CONNECTIONS:
        ratios: dict[str, list[float]] = {"p50": [], "p99": [], "rps": []}
        for turn in range(rounds):
            both: dict[bool, dict[str, Any]] = {}
            # Which goes first changes: a machine that gets busier must not favour one.
            for is_shadowed in (False, True) if turn % 2 == 0 else (True, False):
                if is_shadowed:
                    place.shadow()
                both[is_shadowed] = ask(place.asked, PATH, [body], connections, seconds)
                if is_shadowed:
                    report = place.report()
                    place.withdraw()
            rows.append({"c": connections, "shadow": named or "boosted", "without": both[False], "with": both[True],
                         "compared": report["compared"], "dropped": report["dropped"]})  # fmt: skip
            for name, key in (("p50", "p50_ms"), ("p99", "p99_ms"), ("rps", "rps")):
                ratios[name].append(both[True][key] / both[False][key])
        for name, values in ratios.items():
            found[f"shadow{named}_{name}_ratio_c{connections}"] = statistics.median(values)
    return found


def swapped(place: Place, body: bytes, swaps: int) -> dict[str, float]:
    """Seconds from a commit by this process to the first answer of the new model, under load; failed requests."""
    request = [sys.executable, "-m", "answering.client", "127.0.0.1", str(place.port), "16", str(swaps * 2.0)]
    lines = [f"POST {PATH} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {place.key}", f"Content-Length: {len(body)}", "", ""]
    load = subprocess.Popen(
        request, cwd=CHECKOUT / "benchmarks", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert load.stdin is not None
    assert load.stdout is not None
    load.stdin.write("\r\n".join(lines).encode() + body)
    load.stdin.close()
    took: list[float] = []
    record = json.loads(body)
    for swap in range(swaps):
        wanted = 2 if swap % 2 == 0 else 1
        deploy(place.state, NAME, wanted, actor="bench", reason=f"swap {swap}")
        began = time.perf_counter()
        until(lambda wanted=wanted: place.client.predict(NAME, record)["model_version"] == wanted, 0.005)
        took.append(time.perf_counter() - began)
        time.sleep(max(0.0, 1.5 - took[-1]))
    told = json.loads(load.stdout.read())
    load.wait()
    deploy(place.state, NAME, 1, actor="bench", reason="measured")
    return {
        "swaps": swaps,
        "swap_requests": told["rps"] * swaps * 2.0,
        "swap_failed_requests": told["failed"],
        "swap_seconds_median": statistics.median(took),
        "swap_seconds_most": max(took),
    }


def taken_back(place: Place, records: list[Any]) -> dict[str, float]:
    """Seconds from the first bad answer of a canary to its withdrawal, for each policy."""
    found: dict[str, float] = {}
    for kind, fault in KINDS.items():
        place.fault.write_text("")
        drift = 1000 if kind == "quality" else 0.25
        place.home.project_file(NAME).write_text(PROJECT + ROLLOUT.format(drift=drift))
        since = place.client.canary(NAME, 2, "to be broken", percent=50, despite_gate=True)["revision"]
        until(lambda since=since: place.report(since))
        with asking(place, records, send_truths=kind == "quality"):
            time.sleep(2)
            place.fault.write_text(fault)
            began = time.perf_counter()
            until(lambda: (live := current(place.state, NAME)) is not None and live.challenger is None)
            found[f"taken_back_seconds_{kind}"] = time.perf_counter() - began
        last = place.client.deployment(NAME)["history"][0]
        if last["actor"] != "rollout policy" or (last["detail"] or {}).get("kind") != kind:
            raise SystemExit(f"the canary was to break {kind}, and the history says: {last}")
    return found


@contextmanager
def asking(place: Place, records: list[Any], *, send_truths: bool) -> Iterator[None]:
    """About 100 requests/s from 4 threads; with truths, which agree with the champion and not with the canary."""
    stop = threading.Event()
    # Into the log at once: the route first looks for the prediction in all of what was asked before.
    truths = EventLog(place.home, NAME, "ground_truth")

    def ask_on(offset: int) -> None:
        with Client(f"http://127.0.0.1:{place.port}", place.key) as client:
            for turn in range(offset, 10**9):
                if stop.is_set():
                    return
                answer = client.predict(NAME, records[turn % len(records)])
                if send_truths:
                    label = answer["label"]
                    if answer["role"] == "canary" and place.fault.read_text():
                        label = "no" if label == "yes" else "yes"
                    truths.append([truth_of(answer["id"], label)])
                time.sleep(0.04)

    threads = [threading.Thread(target=ask_on, args=(number * 17,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


def truth_of(prediction: str, label: Any) -> dict[str, Any]:
    known = {"prediction_id": prediction, "entity_id": None, "label": label}
    return {
        "id": uuid.uuid4().hex,
        "at": now(),
        "project": NAME,
        "observed_at": None,
        "source": "bench",
        **known,
    }


def until(fine: Callable[[], Any], pause: float = 0.05) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := fine()):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited for {PATIENCE} s in vain")
        time.sleep(pause)
    return found


if __name__ == "__main__":
    sys.exit(main())
