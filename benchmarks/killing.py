"""What the prediction log holds after workers of the API were killed with -9 under load.

Two workers answer 16 connections; one of them is killed at a random moment, 50 times. Every prediction whose answer
arrived must be in the log, once. What is in the log and was not answered is counted too: it died on the way back.

    ./tidemill bench killing.py [--kills N] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from answering.model import NAME, make
from documents import write_document
from serving import PATH, Server, free_port, owner_key, server, wait_for

from tidemill.home import Home
from tidemill.serve.deployment import deploy
from tidemill.store.segments import list_segments, open_to_read
from tidemill.store.state import open_state

WORKERS = 2
CONNECTIONS = 16


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="3 kills")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        home = Home.find(Path(folder) / "home").ensure()
        body = json.dumps(make(home)[0]).encode()
        deploy(open_state(home), NAME, 1, actor="bench", reason="benchmark")
        asked = Server("ours", free_port(), PATH, PATH, owner_key(home))
        environment = {"TIDEMILL_HOME": str(home.root), "TIDEMILL_API_PORT": str(asked.port)}
        command = [sys.executable, "-m", "api", "--workers", str(WORKERS)]
        with server(command, **environment) as parent:
            wait_for(asked, body)
            answered = asyncio.run(
                asked_and_killed(
                    asked, body, psutil.Process(parent.pid), 3 if options.quick else options.kills
                )
            )
        logged = Counter(logged_ids(home))
    results = {
        "kills": 3 if options.quick else options.kills,
        "answered": len(answered),
        "answered_twice": len(answered) - len(set(answered)),
        "lost": sum(identity not in logged for identity in answered),
        "doubled": sum(count > 1 for count in logged.values()),
        "logged_unanswered": len(logged) - len(set(answered)),
    }
    for name, value in results.items():
        print(f"{name:18} {value:,}")
    write_document(options.json, results, [])
    return 1 if results["lost"] or results["doubled"] or results["answered_twice"] else 0


async def asked_and_killed(asked: Server, body: bytes, parent: psutil.Process, kills: int) -> list[str]:
    """The ids of all predictions whose answers arrived whole."""
    answered: list[str] = []
    clients = [asyncio.create_task(ask_for_ever(asked, body, answered)) for _ in range(CONNECTIONS)]
    for number in range(kills):
        await ready(parent, answered)
        await asyncio.sleep(random.uniform(0.0, 0.3))
        victim = random.choice(parent.children())
        victim.kill()
        print(f"killed {victim.pid}, number {number + 1}", file=sys.stderr)
    await ready(parent, answered)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return answered


async def ready(parent: psutil.Process, answered: list[str]) -> None:
    """Until all workers run and some have answered since."""
    deadline, before = time.monotonic() + 60, len(answered)
    while len(parent.children()) < WORKERS or len(answered) < before + 200:
        if time.monotonic() > deadline:
            raise SystemExit("the workers did not come back within 60 s")
        await asyncio.sleep(0.05)


async def ask_for_ever(asked: Server, body: bytes, answered: list[str]) -> None:
    head = (
        f"POST {asked.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {asked.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", asked.port)
            while True:
                writer.write(head.encode() + body)
                answered.append(await answer_of(reader))
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.01)  # its worker was killed, or is not there yet


async def answer_of(reader: asyncio.StreamReader) -> str:
    """The id in the next answer. A refusal ends the benchmark."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    document: dict[str, Any] = json.loads(await reader.readexactly(length))
    # The first request of a new worker may come before its model is loaded.
    if b" 503 " in head.split(b"\r\n")[0]:
        raise OSError("not ready")
    return str(document["id"])


def logged_ids(home: Home) -> list[str]:
    found = []
    for path in list_segments(home.log, NAME, "predictions"):
        file = open_to_read(path)
        try:
            for chunk in file.chunks():
                found += [json.loads(line)["id"] for line in chunk.splitlines()]
        finally:
            file.close()
    return found


if __name__ == "__main__":
    sys.exit(main())
