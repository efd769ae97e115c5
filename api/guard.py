"""Guards below HTTP that uvicorn lacks: a client may not take for ever over its headers, nor send endless ones.

Bodies are limited where they are read (`api/body.py`).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_SECONDS = 10.0
HEAD_BYTES = 65_536


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a clock and a limit on the head of each request."""

    head_seconds = HEAD_SECONDS
    head_bytes = HEAD_BYTES

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._clock: asyncio.TimerHandle | None = None
        self._received = 0
        self._in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_head = False
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._clock is not None:
            self._received += len(data)
            # A body may ride in the same packet as the head: only what cannot be a head is refused.
            if self._received > self.head_bytes and b"\r\n\r\n" not in data:
                self._refuse(431, "headers-too-large", "The headers are too large")
                return
        super().data_received(data)
        # Most heads come whole, and need no clock.
        if self._in_head and self._clock is None and not self.transport.is_closing():
            self._start_clock()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._head_is_complete()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad-request", msg)

    def _head_is_complete(self) -> None:
        self._in_head = False
        self._stop_clock()

    def _start_clock(self) -> None:
        self._received = 0
        self._clock = self.loop.call_later(
            self.head_seconds, self._refuse, 408, "too-slow", "The headers did not arrive in time"
        )

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _refuse(self, status: int, slug: str, title: str) -> None:
        self._stop_clock()
        if self.transport.is_closing():
            return
        document = {
            "type": f"urn:tidemill:problem:{slug}",
            "title": title,
            "status": status,
            "detail": f"a head may take {self.head_seconds:.0f} s and {self.head_bytes} bytes",
            "remedy": "Send a well-formed HTTP/1.1 request.",
            "instance": "",
            "request_id": "",
        }
        body = json.dumps(document).encode()
        head = (
            b"content-type: application/problem+json\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
