"""The access log: one line of JSON a request, when it is asked for. It holds no key, no query and no body."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

logger = logging.getLogger("tidemill.access")


class AccessLog:
    """Writes lines at level INFO, which are let through when it is on, whatever the level of other loggers."""

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on
        if is_on:
            logger.setLevel(logging.INFO)

    def tell(
        self,
        request_id: str,
        method: str,
        route: str,
        status: int,
        seconds: float,
        *,
        project: str | None = None,
        caller: str | None = None,
    ) -> None:
        """`route` is the template, never the path as sent. Does nothing when the log is off."""
        if self.is_on:
            line = {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "request_id": request_id,
                "caller": caller,
                "method": method,
                "route": route,
                "project": project,
                "status": status,
                "ms": round(seconds * 1000, 2),
            }
            logger.info("%s", json.dumps(line))
