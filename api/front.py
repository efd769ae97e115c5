"""What every request passes first: its id, the limit on requests at once, metrics, and the last net for errors."""

from __future__ import annotations

import logging
import re
import time
import uuid

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access_log import AccessLog
from api.metrics import Metrics
from api.problems import RETRY_AFTER, problem, unexpected

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
# Probes must be answered when everything else is refused.
EXEMPT = frozenset({"/healthz", "/readyz", "/metrics"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# Headers of every answer.
ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

logger = logging.getLogger("tidemill.api")


class InFlight:
    """How many requests are being answered, and the most there may be."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0


class Front:
    """ASGI middleware. Requests beyond the limit of `in_flight` get 429 with Retry-After, at once."""

    def __init__(self, app: ASGIApp, metrics: Metrics, in_flight: InFlight, access_log: AccessLog) -> None:
        self.app = app
        self.metrics = metrics
        self.in_flight = in_flight
        self.access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        answered = _Answered(send, request_id_of(scope))
        scope.setdefault("state", {})["request_id"] = answered.request_id
        request = Request(scope)
        self.in_flight.count += 1
        try:
            if self.in_flight.count > self.in_flight.most and scope["path"] not in EXEMPT:
                self.metrics.refused.inc()
                await _overloaded(request, self.in_flight.most)(scope, receive, answered)
            else:
                await self.app(scope, receive, answered)
        except ClientDisconnect:
            pass  # nobody is there to be answered; it is measured as 499
        except Exception:
            logger.exception("request %s: %s %s", answered.request_id, scope["method"], scope["path"])
            if answered.status is not None:
                raise  # half an answer is out already: only cutting the connection tells the client
            await unexpected(request)(scope, receive, answered)
        finally:
            self.in_flight.count -= 1
            self._measure(scope, answered.status or 499, time.perf_counter() - started)

    def _measure(self, scope: Scope, status: int, seconds: float) -> None:
        # The template, never the path: a stranger's made-up paths must not become metrics.
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.seconds.labels(method, route).observe(seconds)
        if self.access_log.is_on:
            caller = scope["state"].get("asking")
            self.access_log.tell(
                scope["state"]["request_id"],
                method,
                route,
                status,
                seconds,
                project=scope.get("path_params", {}).get("project"),
                caller=caller.name if caller else None,
            )


class _Answered:
    """`send` that adds the request id and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self.request_id.encode("ascii")),
                *ALWAYS,
            ]
        await self._send(message)


def request_id_of(scope: Scope) -> str:
    """The caller's id when it is a sane one, else a new one."""
    for name, value in scope["headers"]:
        given: str = value.decode("latin-1")
        if name == b"x-request-id" and REQUEST_ID.fullmatch(given):
            return given
    return uuid.uuid4().hex


def _overloaded(request: Request, limit: int) -> ASGIApp:
    return problem(
        request,
        429,
        "Too many requests at once",
        detail=f"{limit} requests are being answered already",
        remedy="Try again after the time in Retry-After; TIDEMILL_REQUESTS_AT_ONCE raises the limit.",
        headers={"Retry-After": str(RETRY_AFTER)},
    )
