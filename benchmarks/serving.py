"""How fast one record of 12 mixed fields is answered over HTTP, against an echo and against peers.

Ours: `python -m api` in one process, with a key, the contract's checks and each prediction in the log before its
answer. Echo: raw ASGI on the same server, the same body sent back. Peers, without key, log or contract: FastAPI +
pydantic + scikit-learn on a DataFrame; LitServe with batching and KServe's Python server, in environments of their
own that are made under ~/.cache/tidemill-bench. `same` is FastAPI + pydantic before our compiled scorer: what is
left is the way to it. All run at once and are asked in turn, at 1, 16 and 64 connections and with 100
records a request, by a client of our own on uvloop, which shares the processors with them.

    ./tidemill bench serving.py [--quick] [--json FILE]

`--quick` leaves KServe out, and FastAPI with our scorer.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import httpx
import psutil
from answering.model import ESTIMATORS, NAME, make, pipeline_file
from answering.peers import PEERS
from documents import write_document
from environments import python_with

from tidemill.home import CHECKOUT, Home
from tidemill.serve.deployment import deploy
from tidemill.store.state import open_state

CACHE = Path.home() / ".cache" / "tidemill-bench"
CONNECTIONS = (1, 16, 64)
BATCH = 100
PATH = f"/v1/projects/{NAME}/predictions"
SHORT = {"linear": "linear", "hist_gradient_boosting": "boosted", "random_forest": "forest"}
# The pipeline that peers run is unpickled in their environment, with the classes of our encoders.
SHARED = ("scikit-learn", "numpy", "scipy", "pandas", "joblib", "threadpoolctl", "pydantic", "pyyaml")


@dataclass(frozen=True)
class Server:
    """A server to ask: where one record goes, where many, and the key it wants."""

    name: str
    port: int
    path: str = "/"
    many: str | None = None
    key: str | None = None

    @property
    def is_peer(self) -> bool:
        return self.name not in ("echo", "ours", "same")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round instead of three, fewer servers"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    rounds, seconds = (1, 0.4) if options.quick else (3, 2.0)
    kinds = ["echo", "ours", "by_hand", *([] if options.quick else ["same"])]
    for peer in ["litserve"] if options.quick else PEERS:
        kinds += [peer] if environment(peer) is not None else []
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        home = Home.find(Path(folder) / "home").ensure()
        records = make(home)
        for number, name in enumerate(ESTIMATORS, start=1):
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            found[SHORT[name]] = measure(home, number, name, records, kinds, rounds, seconds)
    report(found, options.json)
    return 0


def measure(
    home: Home, number: int, name: str, records: list[Any], kinds: list[str], rounds: int, seconds: float
) -> dict[str, Any]:
    """Ratios, differences, memory and start of one model."""
    deploy(open_state(home), NAME, number, actor="bench", reason="benchmark")
    ones = [json.dumps(record).encode() for record in records]
    hundred = [json.dumps({"records": records[:BATCH]}).encode()]
    with ExitStack() as running:
        servers = [begun(running, kind, home, number, name) for kind in kinds if kind != "ours"]
        for one in servers:
            wait_for(one, ones[0])
        began = time.perf_counter()
        port, key = free_port(), owner_key(home)
        environment = {"TIDEMILL_HOME": str(home.root), "TIDEMILL_API_PORT": str(port)}
        process = running.enter_context(server([sys.executable, "-m", "api"], **environment))
        ours = Server("ours", port, PATH, PATH, key)
        wait_for(ours, ones[0])
        ready = time.perf_counter() - began
        difference, flips = compared(home, number, port, key, records)
        servers.insert(1, ours)
        rows = [
            {one.name: ask(one, one.path, ones, count, seconds) | {"c": count} for one in servers}
            for count in CONNECTIONS
            for _ in range(rounds)
        ]
        batches = [
            {one.name: ask(one, one.many, hundred, 16, seconds) | {"c": 16} for one in servers if one.many}
            for _ in range(rounds)
        ]
        memory = psutil.Process(process.pid).memory_info().rss / 1e6
    peers = [one.name for one in servers if one.is_peer]
    names = [one.name for one in servers]
    found = {
        **{f"rps_ratio_to_echo_c{count}": ratio(rows, count, ["echo"]) for count in CONNECTIONS},
        **{f"rps_ratio_to_best_peer_c{count}": ratio(rows, count, peers) for count in CONNECTIONS},
        "p99_ratio_to_echo_c16": ratio(rows, 16, ["echo"], "p99_ms"),
        "batch100_ratio_to_best_peer_c16": ratio(batches, 16, peers),
        "max_abs_difference": difference,
        "label_flips": flips,
        "worker_mb": memory,
        "ready_seconds": ready,
    }
    if "same" in names:
        found["rps_ratio_to_same_scorer_c16"] = ratio(rows, 16, ["same"])
    return {
        "metrics": found,
        "rps": {one: {count: median(rows, count, one) for count in CONNECTIONS} for one in names},
        "batches": {one.name: median(batches, 16, one.name) for one in servers if one.many},
        "rounds": rows + batches,
    }


def begun(running: ExitStack, kind: str, home: Home, number: int, name: str) -> Server:
    """One of the servers beside ours, started."""
    port = free_port()
    # Two threads of OpenMP that wait by spinning brought boosted trees down to one request a second.
    if kind not in PEERS:
        command = [sys.executable, "-m", "answering.servers", kind, str(port)]
        command += [] if kind == "echo" else [str(home.root), str(number)]
        running.enter_context(server(command, OMP_NUM_THREADS="1"))
        return Server(kind, port, "/", None if kind == "echo" else "/many")
    command = [str(environment(kind)), "-m", f"answering.peer_{kind}", str(port)]
    running.enter_context(server([*command, str(pipeline_file(home, name))], OMP_NUM_THREADS="1"))
    return Server(kind, port, PEERS[kind][1], PEERS[kind][1])


def environment(peer: str) -> Path | None:
    """The Python of a peer's environment; its scikit-learn is ours, so that it can open the same pipeline."""
    packages = [*PEERS[peer][0], *(f"{name}=={installed(name)}" for name in SHARED)]
    return python_with(CACHE / f"serving-{peer}", packages)


def compared(home: Home, version: int, port: int, key: str, records: list[Any]) -> tuple[float, int]:
    """The largest difference of answers, over HTTP, from the pipeline's; and how many labels differ."""
    from tidemill.project import Project
    from tidemill.serve.record import RecordContract
    from tidemill.serve.scorer import SklearnScorer

    project = Project.load(home.project_file(NAME))
    checked = [one.values for one in RecordContract(project).check_all(records)]
    truth = SklearnScorer(home.models(NAME), version, project).score(checked)
    largest, flips = 0.0, 0
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, trust_env=False
    ) as client:
        path = f"/v1/projects/{NAME}/predictions"
        single = [client.post(path, json=record).raise_for_status().json() for record in records]
        many = client.post(path, json={"records": records}).raise_for_status().json()["predictions"]
    for answers in (single, many):
        for answer, wanted in zip(answers, truth, strict=True):
            flips += answer["label"] != wanted.label
            for name, probability in (wanted.probabilities or {}).items():
                largest = max(largest, abs(answer["probabilities"][name] - probability))
    return largest, flips


def ask(asked: Server, path: str | None, bodies: list[bytes], count: int, seconds: float) -> dict[str, Any]:
    """One run of the client. Ends the benchmark when a request failed: a refusal is fast, and no answer."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {asked.key}"] if asked.key else []
    requests = [
        "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body for body in bodies
    ]
    command = [sys.executable, "-m", "answering.client", "127.0.0.1"]
    done = subprocess.run(
        [*command, str(asked.port), str(count), str(seconds)],
        cwd=CHECKOUT / "benchmarks",
        input=b"\0".join(requests),
        capture_output=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    if found["failed"]:
        what = f"{found['failed']} requests to {asked.name} failed"
        raise SystemExit(f"{what}, such as: {found['first_failure']}")
    return found


@contextmanager
def server(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    # The API is found from the checkout, the servers beside it from benchmarks/, our classes from platform/.
    path = os.pathsep.join(str(CHECKOUT / folder) for folder in ("", "benchmarks", "platform"))
    process = subprocess.Popen(
        command,
        cwd=CACHE,
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if "answering.peer_" in " ".join(command) else None,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        # LitServe's workers outlive it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(asked: Server, body: bytes) -> None:
    """Until a request is answered with 200."""
    deadline = time.monotonic() + 90
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {asked.key}"} if asked.key else {}
    url = f"http://127.0.0.1:{asked.port}{asked.path}"
    while time.monotonic() < deadline:
        try:
            if httpx.post(url, content=body, headers=headers, trust_env=False, timeout=10).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"{asked.name} did not answer {asked.path} within 90 s")


def owner_key(home: Home) -> str:
    from tidemill.ops.keys import ensure_owner_key

    return ensure_owner_key(home, open_state(home))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def median(rows: list[dict[str, Any]], count: int, name: str, what: str = "rps") -> float:
    return statistics.median(row[name][what] for row in rows if row[name]["c"] == count)


def ratio(rows: list[dict[str, Any]], count: int, others: list[str], what: str = "rps") -> float:
    """The median of the ratios of each round to the best of `others`; all were asked right after each other."""
    best = min if what == "p99_ms" else max
    return statistics.median(
        row["ours"][what] / best(row[other][what] for other in others)
        for row in rows
        if row["ours"]["c"] == count
    )


def report(found: dict[str, Any], file: Path | None) -> None:
    """Print a table; write everything, with the median of the models, as JSON when asked."""
    print("requests a second at 1 / 16 / 64 connections (client of our own, on the same processors):")
    for name, result in found.items():
        print(f"{name}:")
        for server, rates in result["rps"].items():
            batch = result["batches"].get(server)
            more = "" if batch is None else f"   {BATCH} records: {batch:,.1f}"
            print(f"  {server:9} " + " / ".join(f"{rate:,.0f}" for rate in rates.values()) + more)
        for metric, value in result["metrics"].items():
            print(f"  {metric} {value:.3g}")
    results: dict[str, float] = {}
    for metric in next(iter(found.values()))["metrics"]:
        results[metric] = statistics.median(result["metrics"][metric] for result in found.values())
        results |= {f"{name}_{metric}": result["metrics"][metric] for name, result in found.items()}
    rows = [{"model": name, **row} for name, result in found.items() for row in result["rounds"]]
    write_document(file, results, rows)


if __name__ == "__main__":
    sys.exit(main())
