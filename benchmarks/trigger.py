"""How long it takes from `POST /trainings` to the training's first step, against Dagster as it comes.

Ours: the API asks Dagster's webserver, whose launcher forks a warm worker. Peer: the same assets under Dagster's
default settings (queue and default launcher), asked over the same GraphQL. Both run one training at a time on the
same small project, in turn.

    ./tidemill bench trigger.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from documents import write_document

from tidemill.client import Client
from tidemill.home import CHECKOUT, Home
from tidemill.ops import control
from tidemill.ops.dagster_runs import DagsterRunClient
from tidemill.ops.runs import Run

PROJECT = "wine"
SETTINGS = {"candidates": ["linear"], "trials": 1, "folds": 2}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two trainings, without the peer")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    rounds = 2 if options.quick else 10
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        home = make_home(Path(folder) / "home")
        state = control.start_detached(home, lambda line: print(f"  {line}", file=sys.stderr))
        try:
            key = (home.secrets / "owner.key").read_text().strip()
            with Client(state.urls()["API"], key, timeout=60.0) as client:
                client.wait_file(PROJECT, take_in(client, home), timeout=120.0)
                if options.quick:
                    rows = [{"ours": ours(client)} for _ in range(rounds)]
                else:
                    with stock_dagster(home, Path(folder) / "stock") as peer:
                        rows = [{"ours": ours(client), "dagster": theirs(peer)} for _ in range(rounds)]
        finally:
            control.stop(home, lambda _: None)
    report(rows, options.json)
    return 0


def make_home(root: Path) -> Home:
    """A home with one small project, whose training is short."""
    import yaml

    from tidemill.data.init import init_project
    from tidemill.data.samples import write_wine

    home = Home.find(root).ensure()
    init_project(home, write_wine(root / "wine")[0], PROJECT, "cultivar")
    file = home.project_file(PROJECT)
    document = yaml.safe_load(file.read_text())
    document["training"] = {**document.get("training", {}), **SETTINGS}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return home


def take_in(client: Client, home: Home) -> str:
    """Send the project's file over the API, which starts its ingestion; its id."""
    return client.upload(PROJECT, next((home.root / "wine").iterdir()))["id"]


def ours(client: Client) -> float:
    """Seconds from the request to the first step, through the API."""
    began = time.time()
    training = client.wait_training(PROJECT, client.start_training(PROJECT, "benchmark")["id"], timeout=300.0)
    if training["status"] != "succeeded":
        raise SystemExit(f"the training ended as {training['status']}: {training['error']}")
    return first_step([step["started_at"] for step in training["steps"]]) - began


def theirs(peer: DagsterRunClient) -> float:
    """Seconds from the request to the first step, through Dagster's GraphQL under its default settings."""
    began = time.time()
    run_id = peer.launch(PROJECT, "training")
    run: Run | None = None
    while run is None or not run.is_finished:
        time.sleep(0.5)
        run = peer.get(run_id)
    if run.status != "succeeded":
        raise SystemExit(f"the peer's training ended as {run.status}: {run.error}")
    return first_step([step.started_at for step in run.steps]) - began


def first_step(started: list[str | None]) -> float:
    return min(datetime.fromisoformat(stamp).timestamp() for stamp in started if stamp)


@contextmanager
def stock_dagster(home: Home, folder: Path) -> Iterator[DagsterRunClient]:
    """Webserver and daemon as `dagster` starts them, with our assets and nothing of ours in their settings."""
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    port = free_port()
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(folder),
        "TIDEMILL_HOME": str(home.root),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    workspace = str(CHECKOUT / "workspace.yaml")
    commands = [
        [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", workspace],
        [sys.executable, "-m", "dagster._daemon", "run", "-w", workspace],
    ]
    log = (folder / "log").open("wb")
    started = [
        subprocess.Popen(each, cwd=CHECKOUT, env=environment, stdout=log, stderr=log, start_new_session=True)
        for each in commands
    ]
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/server_info")
        yield DagsterRunClient(lambda: url)
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            process.wait(30)
        log.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2.0).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise SystemExit(f"{url} did not answer within 120 s")


def report(rows: list[dict[str, float]], file: Path | None) -> None:
    """Print medians and ratio; write them as JSON when asked."""
    results: dict[str, Any] = {
        "seconds_to_first_step": statistics.median(row["ours"] for row in rows),
        "seconds_to_first_step_worst": max(row["ours"] for row in rows),
    }
    print(f"seconds to the first step, {len(rows)} trainings, median (worst):")
    print(
        f"  tidemill  {results['seconds_to_first_step']:.2f} ({results['seconds_to_first_step_worst']:.2f})"
    )
    if "dagster" in rows[0]:
        peer = statistics.median(row["dagster"] for row in rows)
        results["dagster_seconds_to_first_step"] = peer
        results["ratio"] = peer / results["seconds_to_first_step"]
        print(f"  dagster   {peer:.2f} ({max(row['dagster'] for row in rows):.2f})")
        print(f"  ratio     {results['ratio']:.1f}")
    else:
        print("  the peer was left out (--quick), so there is no ratio")
    write_document(file, results, rows)


if __name__ == "__main__":
    sys.exit(main())
