"""ASGI middleware: each request that may change something is in the audit log before its answer leaves.

Here belongs which requests are worth an entry; the log is `store/audit.py`. Predictions and truths stand in logs of
their own, and the parts of an upload are told by its beginning and by the file they become.
"""

from __future__ import annotations

import logging

import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.context import Context
from api.roles import READING
from tidemill.ops.access import Caller
from tidemill.store import audit

_PROJECT = "/v1/projects/{project}"
TOLD_ELSEWHERE = frozenset(
    {
        ("POST", f"{_PROJECT}/predictions"),
        ("POST", f"{_PROJECT}/ground-truth"),
        ("PATCH", f"{_PROJECT}/uploads/{{upload}}"),
    }
)

logger = logging.getLogger("tidemill.api")


class Audited:
    """Writes an entry when an answer begins, or when the request failed without one."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        is_told = False

        async def told(message: Message) -> None:
            nonlocal is_told
            if message["type"] == "http.response.start" and not is_told:
                is_told = True
                await self._tell(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, told)
        except Exception:
            if not is_told:
                await self._tell(scope, 500)
            raise

    async def _tell(self, scope: Scope, status: int) -> None:
        caller: Caller | None = scope["state"].get("asking")
        template = getattr(scope.get("route"), "path", None)
        if caller is None or template is None or (scope["method"], template) in TOLD_ELSEWHERE:
            return
        given = dict(scope.get("path_params", {}))
        try:
            await anyio.to_thread.run_sync(
                lambda: audit.append(
                    self._context.state,
                    caller.name,
                    f"{scope['method']} {template}",
                    role=caller.role.value,
                    project=given.pop("project", None),
                    subject=given,
                    status=status,
                    request_id=scope["state"]["request_id"],
                )
            )
        except SQLAlchemyError as error:
            # What was asked for is done; its answer must not say otherwise.
            self._context.metrics.unaudited.inc()
            logger.error(
                "request %s of %s is missing in the audit log: %s %s answered %d, the database: %s",
                scope["state"]["request_id"],
                caller.name,
                scope["method"],
                template,
                status,
                type(error).__name__,
            )
