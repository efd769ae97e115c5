"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): what changes, as it changes.

Here belong the wire format, the clock and the bound on streams. What is looked at is the route's business.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.answers import answer
from api.context import Context
from api.problems import from_error
from tidemill.errors import NotReady

# A stream takes one of the server's places for requests; most of these are for others.
MOST_STREAMS = 16
LOOK_SECONDS = 0.5
HEARTBEAT_SECONDS = 10.0
LONGEST_SECONDS = 900.0
RETRY_MS = 2000


@dataclass(frozen=True)
class Event:
    """The state of what is followed; `is_last` says that it will not change again."""

    name: str
    data: dict[str, Any]
    is_last: bool = False

    @property
    def text(self) -> str:
        return bytes(answer(self.data).body).decode()

    @property
    def id(self) -> str:
        """The same for the same state, in every process."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def __bytes__(self) -> bytes:
        return f"id: {self.id}\nevent: {self.name}\ndata: {self.text}\n\n".encode()


async def follow(look: Callable[[], Event], context: Context, last_id: str | None) -> Response:
    """A stream of what `look` finds, an event for each change, until the last one.

    `look` is called in a thread; what it raises at first is the answer. `last_id` is the event that the client has
    seen: it is not sent again, and when it was the last there is nothing more (204, on which browsers stop asking).
    """
    first = await anyio.to_thread.run_sync(look)
    if first.is_last and first.id == last_id:
        return Response(status_code=204)
    return EventStream(_events(look, first, context, last_id), context)


class EventStream(StreamingResponse):
    """An answer that lasts. Beyond the bound it is a problem instead; however it ends, its place is free again."""

    def __init__(self, events: AsyncIterator[bytes], context: Context) -> None:
        # nginx would hold events back until its buffer is full.
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._context.streams >= MOST_STREAMS:
            await from_error(Request(scope), _too_many())(scope, receive, send)
            return
        self._context.streams += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._context.streams -= 1


async def _events(
    look: Callable[[], Event], event: Event, context: Context, seen: str | None
) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY_MS}\n\n".encode()
    started = quiet_since = time.monotonic()
    while True:
        if event.id != seen:
            yield bytes(event)
            seen, quiet_since = event.id, time.monotonic()
        elif time.monotonic() - quiet_since >= HEARTBEAT_SECONDS:
            yield b": still here\n\n"
            quiet_since = time.monotonic()
        # The client comes back with the id of its last event, and goes on.
        is_over = time.monotonic() - started > LONGEST_SECONDS or context.stopping.is_set()
        if event.is_last or is_over:
            return
        await anyio.sleep(LOOK_SECONDS)
        event = await anyio.to_thread.run_sync(look)


def _too_many() -> NotReady:
    return NotReady(
        "Too many event streams are open",
        detail=f"{MOST_STREAMS} are followed already",
        remedy="Close one, or ask for the object itself now and then.",
    )
