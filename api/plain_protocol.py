"""Plain predictions answered where their last byte is read, before uvicorn makes a task and an application of them.

Here belongs when a request may be answered at once, and putting the answer on the wire; what it says is up to
`api/prediction_route.py`. A request whose body does not come with its head, or that is odd in any way, is handed to
uvicorn as if nobody had looked: limits of time, shutting down and pipelines stay its business. docs/adr/0014 tells
why this is worth it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.guard import GuardedProtocol
from api.prediction_route import SUFFIX, PredictionRoute

_OK: bytes = STATUS_LINE[200]


class Outbox:
    """Answers that leave together, once every connection that the loop found readable has been read.

    Sent one by one each wakes its client, which then takes the processor from the requests that wait here.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, answer: bytes) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.send)
        self._waiting.append((transport, answer))

    def send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport, answer in waiting:
            transport.write(answer)


# One loop serves a process.
_outbox = Outbox()


class PlainProtocol(GuardedProtocol):
    """uvicorn's HTTP protocol with a way out for predictions."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._predictions: PredictionRoute | None = getattr(self.config.app, "predictions", None)
        # The pieces of a body that may be answered at once; None when uvicorn has the request.
        self._held: list[bytes] | None = None
        self._defaults: list[tuple[bytes, bytes]] | None = None
        self._head = b""
        self._outbox = _outbox

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        held = self._held
        if held is not None:
            # The rest of the body has yet to come: uvicorn waits for it, and knows for how long.
            self._held = None
            if not self.transport.is_closing():
                self._hand_on(b"".join(held))

    def on_headers_complete(self) -> None:
        if self._may_be_plain():
            self._head_is_complete()
            self._held = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        held = self._held
        if held is None:
            super().on_message_complete()
            return
        self._held = None
        body = held[0] if len(held) == 1 else b"".join(held)
        answer = None
        try:
            answer = self._predictions.at_once(self.url, self.headers, body)  # type: ignore[union-attr]
        except Exception as error:  # noqa: BLE001 - told by the ordinary route, which knows a fault from a bug
            self.scope["state"]["failure"] = error
        if answer is None:
            self._hand_on(body)
            super().on_message_complete()
        else:
            self._outbox.put(self.transport, b"".join((_OK, self._default_head(), answer)))
            self.on_response_complete()

    def shutdown(self) -> None:
        self._outbox.send()
        super().shutdown()

    def _refuse(self, status: int, slug: str, title: str) -> None:
        self._outbox.send()  # answers leave in the order of their requests
        super()._refuse(status, slug, title)

    def _may_be_plain(self) -> bool:
        """Whether the request is a prediction, and nothing is under way that would have to be waited for."""
        if self._predictions is None or not self.url.endswith(SUFFIX):
            return False
        parser, cycle = self.parser, self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and parser.get_method() == b"POST"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _hand_on(self, body: bytes) -> None:
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _default_head(self) -> bytes:
        """uvicorn's own headers, such as the date; it makes a new list of them each second."""
        defaults = self.server_state.default_headers
        if defaults is not self._defaults:
            self._defaults = defaults
            self._head = b"".join(b"%b: %b\r\n" % header for header in defaults)
        return self._head
