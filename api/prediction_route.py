"""Predictions without a framework: raw ASGI in front of the FastAPI application, for plain requests.

Here belongs what stands between the server and `PredictionService.predict_plain`: the key, the limits, the body,
the answer's head and the metrics. Whatever is not plain (no key or a stale one, a model not at hand, a body that
comes late or is too large, a record with a fault) is handed to the route of `api/predict.py` as it came, body and
all, and that one says what is wrong. What fails on the way here goes along as `request.state.failure`, to be told
and not tried again. So this route has no error of its own, and the OpenAPI document needs no second entry.
docs/adr/0014 tells why.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.body import BODY_SECONDS
from api.context import Context
from api.front import ALWAYS, REQUEST_ID, InFlight
from tidemill.serve.plain import PlainAnswer, new_id
from tidemill.serve.service import PredictionService

BEFORE, AFTER = "/v1/projects/", "/predictions"
ROUTE = "/v1/projects/{project}/predictions"
# Longer bodies hold many records, whose scoring would keep the loop from everyone else: they go to a thread.
LONG_BODY = 4096


class PredictionRoute:
    """ASGI application. `ordinary` is the whole API without this route."""

    def __init__(self, ordinary: ASGIApp, context: Context, in_flight: InFlight) -> None:
        self._ordinary = ordinary
        self._context = context
        self._keys = context.keys
        self._in_flight = in_flight
        self._most_bytes = context.settings.max_body_bytes
        self._most_records = context.settings.max_records
        self._requests = context.metrics.requests.labels("POST", ROUTE, "200")
        self._seconds = context.metrics.seconds.labels("POST", ROUTE)
        self._counts: dict[tuple[str, int], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        project = scope["path"][len(BEFORE) : -len(AFTER)]
        # A query asks for more than an answer.
        is_ours = scope["path"].startswith(BEFORE) and not scope["query_string"]
        service = self._context.loaded(project) if is_ours else None
        request_id = self._admitted(scope["headers"]) if service is not None else None
        if service is None or request_id is None or self._in_flight.count >= self._in_flight.most:
            await self._ordinary(scope, receive, send)
            return
        self._in_flight.count += 1
        messages: list[Message | None] = []
        try:
            messages, body = await _received(receive, self._most_bytes)
            made = None if body is None else await self._made(service, body, request_id)
        except Exception as error:  # noqa: BLE001 - told by the ordinary route, which knows a fault from a bug
            scope.setdefault("state", {})["failure"] = error
            made = None
        finally:
            self._in_flight.count -= 1
        if made is None:
            await self._ordinary(scope, _again(messages, receive), send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": _head(made.body, request_id)})
        await send({"type": "http.response.body", "body": made.body})
        self._measure(project, made, time.perf_counter() - started)

    def _admitted(self, headers: list[tuple[bytes, bytes]]) -> str | None:
        """The id of a request that has a known key, or None."""
        if self._keys.is_stale():
            return None
        request_id = key = None
        for name, value in headers:
            if name == b"authorization":
                if key is not None or value[:7] != b"Bearer ":
                    return None
                key = value[7:].decode("latin-1")
            elif name == b"x-request-id" and request_id is None:
                given = value.decode("latin-1")
                request_id = given if REQUEST_ID.fullmatch(given) else None
        if key is None or self._keys.name_of(key) is None:
            return None
        return request_id or new_id().replace("-", "")

    async def _made(self, service: PredictionService, body: bytes, request_id: str) -> PlainAnswer | None:
        """The answer, which is in the log by then. None: nothing happened, the ordinary route has to look."""
        if len(body) <= LONG_BODY:
            return service.predict_plain(body, request_id, self._most_records)
        return await anyio.to_thread.run_sync(
            service.predict_plain, body, request_id, self._most_records, limiter=self._context.predicting
        )

    def _measure(self, project: str, made: PlainAnswer, seconds: float) -> None:
        counted = self._counts.get((project, made.version))
        if counted is None:
            counted = self._context.metrics.predictions.labels(project, str(made.version))
            self._counts[project, made.version] = counted
        counted.inc(made.count)
        self._requests.inc()
        self._seconds.observe(seconds)


def _head(body: bytes, request_id: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-length", str(len(body)).encode()),
        (b"content-type", b"application/json"),
        (b"x-request-id", request_id.encode("ascii")),
        *ALWAYS,
    ]


async def _received(receive: Receive, most_bytes: int) -> tuple[list[Message | None], bytes | None]:
    """The messages of a request, and its body when it came whole; a last None for a sender that fell silent."""
    messages: list[Message | None] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                messages.append(message)
                if message["type"] != "http.request":
                    return messages, None
                piece: bytes = message.get("body", b"")
                size += len(piece)
                if size > most_bytes:
                    return messages, None
                if not message.get("more_body"):
                    break
    except TimeoutError:
        return [*messages, None], None
    if len(messages) == 1:
        return messages, piece
    return messages, b"".join(one.get("body", b"") for one in messages if one)


def _again(messages: list[Message | None], receive: Receive) -> Receive:
    """`receive` that gives `messages` once more; None says that the time for them is over."""
    waiting = messages[::-1]

    async def repeated() -> Message:
        if not waiting:
            return await receive()
        message = waiting.pop()
        if message is None:
            raise TimeoutError
        return message

    return repeated
