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
from dataclasses import dataclass

import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.body import BODY_SECONDS
from api.context import Context
from api.forms import is_plain
from api.front import ALWAYS, REQUEST_ID, InFlight
from api.tally import Count
from tidemill.ops.access import Caller
from tidemill.serve.plain import PlainAnswer, new_hex
from tidemill.serve.service import PredictionService

Headers = list[tuple[bytes, bytes]]

# What says in which form a body comes and an answer is to go.
FORMS = frozenset({b"content-type", b"accept", b"content-encoding"})
PREFIX, SUFFIX = b"/v1/projects/", b"/predictions"
ROUTE = "/v1/projects/{project}/predictions"
# Longer bodies hold many records, whose scoring would keep the loop from everyone else: they go to a thread.
LONG_BODY = 4096


@dataclass(frozen=True)
class _Place:
    """A project that was asked for before, where its requests are counted by the version that answers."""

    project: str
    service: PredictionService
    counts: dict[int, Count]


class PredictionRoute:
    """ASGI application, and `at_once` for a server that has a whole request in hand.

    `ordinary` is the whole API without this route.
    """

    def __init__(self, ordinary: ASGIApp, context: Context, in_flight: InFlight) -> None:
        self._ordinary = ordinary
        self._context = context
        self._keys = context.keys
        self._rates = context.rates
        self._in_flight = in_flight
        # What the ordinary way answers to: one that is asked again, and a page of another origin where those may.
        self._ordinary_headers = {b"idempotency-key"} | (
            {b"origin"} if context.settings.cors_origins else set()
        )
        self._access_log = context.access_log
        self._most_bytes = context.settings.max_body_bytes
        self._most_records = context.settings.max_records
        self._requests = context.metrics.requests.labels("POST", ROUTE, "200")
        self._seconds = context.metrics.seconds.labels("POST", ROUTE)
        self._places: dict[bytes, _Place] = {}

    def at_once(self, url: bytes, headers: Headers, body: bytes) -> bytes | None:
        """The answer to a POST of `url` from its headers on, in the log already; None when more has to be done.

        Waits for nothing but the write to the log. Raises what the log raises, StorageFull above all.
        """
        started = time.perf_counter()
        if len(body) > LONG_BODY or len(body) > self._most_bytes:
            return None
        place = self._places.get(url) or self._place(url)
        admitted = self._admitted(headers, place.project) if place is not None else None
        if place is None or admitted is None or self._in_flight.count >= self._in_flight.most:
            return None
        caller, request_id = admitted
        made = place.service.predict_plain(body, request_id, self._most_records)
        if made is None:
            return None
        self._rates.take(caller)
        self._measure(place, made, time.perf_counter() - started, request_id, caller)
        return b"content-length: %d\r\n%bx-request-id: %b\r\n\r\n%b" % (
            len(made.body),
            _SAME_HEAD,
            request_id.encode("ascii"),
            made.body,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        # A query asks for more than an answer.
        place = None if scope["query_string"] else self._place(scope["path"].encode())
        admitted = self._admitted(scope["headers"], place.project) if place is not None else None
        if place is None or admitted is None or self._in_flight.count >= self._in_flight.most:
            await self._ordinary(scope, receive, send)
            return
        caller, request_id = admitted
        self._in_flight.count += 1
        messages: list[Message | None] = []
        try:
            messages, body = await _received(receive, self._most_bytes)
            made = None if body is None else await self._made(place.service, body, request_id)
        except Exception as error:  # noqa: BLE001 - told by the ordinary route, which knows a fault from a bug
            scope.setdefault("state", {})["failure"] = error
            made = None
        finally:
            self._in_flight.count -= 1
        if made is None:
            await self._ordinary(scope, _again(messages, receive), send)
            return
        self._rates.take(caller)
        await send({"type": "http.response.start", "status": 200, "headers": _head(made.body, request_id)})
        await send({"type": "http.response.body", "body": made.body})
        self._measure(place, made, time.perf_counter() - started, request_id, caller)

    def _place(self, path: bytes) -> _Place | None:
        """The project of a path, if it was asked for before; others are not kept, so strangers cannot fill it."""
        project = path[len(PREFIX) : -len(SUFFIX)].decode("latin-1")
        service = self._context.loaded(project)
        if service is None or path != b"%b%b%b" % (PREFIX, project.encode("latin-1"), SUFFIX):
            return None
        return self._places.setdefault(path, _Place(project, service, {}))

    def _admitted(self, headers: Headers, project: str) -> tuple[Caller, str] | None:
        """Who asks, with a known key that may ask for predictions of `project` now, and the request's id; or None.

        Nothing is counted yet. Asking takes the least of roles (api/roles.py), so the role need not be looked at.
        """
        if self._keys.is_stale():
            return None
        request_id = bearer = None
        for name, value in headers:
            if name == b"authorization":
                if bearer is not None:
                    return None
                bearer = value
            elif name == b"x-request-id" and request_id is None:
                given = value.decode("latin-1")
                request_id = given if REQUEST_ID.fullmatch(given) else None
            elif name in self._ordinary_headers or (name in FORMS and not is_plain(name, value)):
                return None
        caller = None if bearer is None else self._keys.caller_of_bearer(bearer)
        if caller is None or not caller.reaches(project) or self._rates.wait(caller) > 0:
            return None
        return caller, request_id or new_hex()

    async def _made(self, service: PredictionService, body: bytes, request_id: str) -> PlainAnswer | None:
        """The answer, which is in the log by then. None: nothing happened, the ordinary route has to look."""
        if len(body) <= LONG_BODY:
            return service.predict_plain(body, request_id, self._most_records)
        return await anyio.to_thread.run_sync(
            service.predict_plain, body, request_id, self._most_records, limiter=self._context.predicting
        )

    def _measure(
        self, place: _Place, made: PlainAnswer, seconds: float, request_id: str, caller: Caller
    ) -> None:
        counted = place.counts.get(made.version)
        if counted is None:
            counted = self._context.metrics.predictions.labels(place.project, str(made.version))
            place.counts[made.version] = counted
        counted.inc(made.count)
        self._requests.inc()
        self._seconds.observe(seconds)
        if self._access_log.is_on:
            self._access_log.tell(
                request_id, "POST", ROUTE, 200, seconds, project=place.project, caller=caller.name
            )


_SAME = ((b"content-type", b"application/json"), *ALWAYS)
_SAME_HEAD = b"".join(b"%b: %b\r\n" % header for header in _SAME)


def _head(body: bytes, request_id: str) -> list[tuple[bytes, bytes]]:
    own = [(b"content-length", b"%d" % len(body)), (b"x-request-id", request_id.encode("ascii"))]
    return [*own, *_SAME]


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
