"""How fast one record of 12 mixed fields is answered over HTTP, against an echo and what is written by hand.

Ours: `python -m api` in one process, with a key, the contract's checks and each prediction in the log before its
answer. Echo: raw ASGI on the same server, the same body sent back. Peer: FastAPI + pydantic + scikit-learn on a
DataFrame, without key and log. All three run at once and are asked in turn, at 1, 16 and 64 connections, by a
client of our own on uvloop, which shares the processors with them.

    ./tidemill bench serving.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from answering.model import ESTIMATORS, NAME, make

from tidemill.home import CHECKOUT, Home
from tidemill.serve.deployment import deploy
from tidemill.store.state import open_state

CONNECTIONS = (1, 16, 64)
SERVERS = ("echo", "ours", "peer")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round instead of three")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    rounds, seconds = (1, 1.0) if options.quick else (3, 2.0)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        home = Home.find(Path(folder) / "home").ensure()
        records = make(home)
        for version, name in enumerate(ESTIMATORS, start=1):
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            found[name] = measure(home, version, records, rounds, seconds)
    report(found, options.json)
    return 0


def measure(home: Home, version: int, records: list[Any], rounds: int, seconds: float) -> dict[str, Any]:
    """Ratios, differences, memory and start of one model."""
    deploy(open_state(home), NAME, version, actor="bench", reason="benchmark")
    body = json.dumps(records[0]).encode()
    with ExitStack() as running:
        ports = {"echo": free_port(), "peer": free_port(), "ours": free_port()}
        running.enter_context(server([sys.executable, "-m", "answering.servers", "echo", str(ports["echo"])]))
        peer = [sys.executable, "-m", "answering.servers", "sklearn", str(ports["peer"])]
        # Two threads of OpenMP that wait by spinning brought boosted trees down to one request a second.
        running.enter_context(server([*peer, str(home.root), str(version)], OMP_NUM_THREADS="1"))
        wait_for(ports["echo"], "/", body, {})
        wait_for(ports["peer"], "/", body, {})
        began = time.perf_counter()
        process = running.enter_context(
            server(
                [sys.executable, "-m", "api"],
                TIDEMILL_HOME=str(home.root),
                TIDEMILL_API_PORT=str(ports["ours"]),
            )
        )
        path = f"/v1/projects/{NAME}/predictions"
        key = owner_key(home)
        wait_for(ports["ours"], path, body, {"Authorization": f"Bearer {key}"})
        ready = time.perf_counter() - began
        difference, flips = compared(home, version, ports["ours"], key, records)
        targets = {
            name: (port, path if name == "ours" else "/", key if name == "ours" else None)
            for name, port in ports.items()
        }
        rows = [
            {name: ask(*targets[name], body, count, seconds) | {"c": count} for name in SERVERS}
            for count in CONNECTIONS
            for _ in range(rounds)
        ]
        memory = psutil.Process(process.pid).memory_info().rss / 1e6
    return {
        **{f"rps_ratio_to_echo_c{count}": ratio(rows, count, "ours", "echo") for count in CONNECTIONS},
        **{f"rps_ratio_to_peer_c{count}": ratio(rows, count, "ours", "peer") for count in CONNECTIONS},
        "p99_ratio_to_echo_c16": ratio(rows, 16, "ours", "echo", "p99_ms"),
        "max_abs_difference": difference,
        "label_flips": flips,
        "worker_mb": memory,
        "ready_seconds": ready,
        "rps": {name: {count: median(rows, count, name) for count in CONNECTIONS} for name in SERVERS},
        "rounds": rows,
    }


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


def ask(port: int, path: str, key: str | None, body: bytes, count: int, seconds: float) -> dict[str, Any]:
    """One run of the client. Ends the benchmark when a request failed: a refusal is fast, and no answer."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    request = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
    command = [sys.executable, "-m", "answering.client", "127.0.0.1", str(port), str(count), str(seconds)]
    done = subprocess.run(
        command, cwd=CHECKOUT / "benchmarks", input=request, capture_output=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    if found["failed"]:
        raise SystemExit(f"{found['failed']} requests to {path} failed, such as: {found['first_failure']}")
    return found


@contextmanager
def server(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    # The API is found from the checkout, the servers beside it from benchmarks/.
    path = os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "benchmarks")])
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int, path: str, body: bytes, headers: dict[str, str]) -> None:
    """Until a request is answered with 200."""
    deadline = time.monotonic() + 60
    headers = {"Content-Type": "application/json", **headers}
    while time.monotonic() < deadline:
        try:
            url = f"http://127.0.0.1:{port}{path}"
            if httpx.post(url, content=body, headers=headers, trust_env=False, timeout=10).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"port {port} did not answer {path} within 60 s")


def owner_key(home: Home) -> str:
    from tidemill.ops.keys import ensure_owner_key

    return ensure_owner_key(home, open_state(home))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def median(rows: list[dict[str, Any]], count: int, name: str, what: str = "rps") -> float:
    return statistics.median(row[name][what] for row in rows if row[name]["c"] == count)


def ratio(rows: list[dict[str, Any]], count: int, ours: str, other: str, what: str = "rps") -> float:
    """The median of the ratios of each round, whose servers were asked right after each other."""
    return statistics.median(row[ours][what] / row[other][what] for row in rows if row[ours]["c"] == count)


def report(found: dict[str, Any], file: Path | None) -> None:
    """Print a table; write everything, with the median of the models, as JSON when asked."""
    print("requests a second at 1 / 16 / 64 connections (client of our own, on the same processors):")
    for name, result in found.items():
        print(f"{name}:")
        for each in SERVERS:
            print(f"  {each:5} " + " / ".join(f"{rate:,.0f}" for rate in result["rps"][each].values()))
        for metric, value in result.items():
            if isinstance(value, float | int):
                print(f"  {metric} {value:.3g}")
    names = [name for name, value in next(iter(found.values())).items() if isinstance(value, float | int)]
    medians = {name: statistics.median(result[name] for result in found.values()) for name in names}
    if file is not None:
        machine = {
            "cores": os.cpu_count(),
            "memory": psutil.virtual_memory().total,
            "python": platform.python_version(),
            "system": platform.platform(),
        }
        document = {"results": medians, "models": found, "machine": machine}
        file.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
