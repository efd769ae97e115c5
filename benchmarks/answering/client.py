"""A client that keeps N connections busy with requests in turn, in its own process on uvloop.

    python -m answering.client HOST PORT CONNECTIONS SECONDS < requests    prints JSON: rps, p50_ms, p99_ms, failed

A NUL stands between two requests. One that came again and again would find its path through a forest in the cache.

It takes processor time beside the server, so the rates of fast servers are what client and server reach together.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import uvloop


class Asking(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last is whole."""

    def __init__(
        self, requests: Iterator[bytes], until: float, seconds: list[float], failed: list[bytes]
    ) -> None:
        self._requests, self._until = requests, until
        self._seconds, self._failed = seconds, failed
        self._got = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._got = self._got + data if self._got else data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._got[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._got) < end + 4 + length:
            return
        now = time.perf_counter()
        self._seconds.append(now - self._sent)
        if not head.startswith(b"http/1.1 200"):
            self._failed.append(self._got[:500])
        self._got = b""
        if now < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(
    host: str, port: int, connections: int, seconds: float, requests: list[bytes]
) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    failed: list[bytes] = []
    turns = cycle(requests)
    began = time.perf_counter()
    made = [
        await loop.create_connection(lambda: Asking(turns, began + seconds, times, failed), host, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    took = time.perf_counter() - began
    times.sort()
    return {
        "rps": len(times) / took,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[int(len(times) * 0.99)] * 1000,
        "failed": len(failed),
        "first_failure": failed[0].decode(errors="replace") if failed else None,
    }


if __name__ == "__main__":
    given = (
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        float(sys.argv[4]),
        sys.stdin.buffer.read().split(b"\0"),
    )
    print(json.dumps(uvloop.run(load(*given))))
