"""The one shape of every error: RFC 9457 problem documents.

Here belongs how an error becomes an answer. Which errors there are is said in `tidemill/errors.py`; nothing here
decides that something is wrong. Nothing of a request is echoed but its path, and no secret ever.
"""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tidemill.errors import NotReady, TidemillError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 2

logger = logging.getLogger("tidemill.api")

_SLUGS = {
    400: "bad-request",
    404: "no-such-page",
    405: "method-not-allowed",
    408: "too-slow",
    413: "too-large",
    431: "headers-too-large",
    500: "internal",
    429: "too-many-requests",
}

_REMEDIES = {
    404: "/docs lists every path.",
    405: "/docs lists the methods of every path; the header Allow names those of this one.",
    500: "Try again. If it stays so, `tidemill logs api` tells more under this request id.",
}


def problem(
    request: Request,
    status: int,
    title: str,
    *,
    slug: str | None = None,
    detail: str = "",
    remedy: str = "",
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document as an answer to `request`."""
    document = {
        "type": f"urn:tidemill:problem:{slug or _SLUGS.get(status, 'error')}",
        "title": title,
        "status": status,
        "detail": detail,
        "remedy": remedy or _REMEDIES.get(status, ""),
        "instance": request.url.path,
        "request_id": request.scope.get("state", {}).get("request_id", ""),
        **(extra or {}),
    }
    # ascii: a path or a found value may hold anything, even half of a surrogate pair.
    body = json.dumps(document, allow_nan=False, default=str).encode("ascii")
    return Response(body, status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make `app` answer every error it raises in the one shape."""
    app.add_exception_handler(TidemillError, _ours)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OperationalError, _database)


def from_error(request: Request, error: TidemillError) -> Response:
    """The answer to `request` that says what `error` says."""
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="tidemill"'
    if error.retryable:
        headers["Retry-After"] = str(error.extra.get("retry_after", RETRY_AFTER))
    if error.status >= 500 and error.status != 503:  # not being ready is a state, not an incident
        logger.warning("%s %s: %s", request.method, request.url.path, " ".join(str(error).splitlines()))
    return problem(
        request,
        error.status,
        error.title,
        slug=error.slug,
        detail=error.detail,
        remedy=error.remedy,
        headers=headers,
        extra=error.extra,
    )


def unexpected(request: Request) -> Response:
    """The answer to an error nobody foresaw; what happened goes to the log, not to the caller."""
    return problem(request, 500, "Something went wrong inside Tidemill")


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, TidemillError)
    return from_error(request, error)


async def _parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        {"field": ".".join(str(part) for part in fault["loc"][1:]), "message": fault["msg"]}
        for fault in error.errors()
    ]
    first = faults[0] if faults else {"field": "", "message": ""}
    return problem(
        request,
        422,
        "A parameter of the request is wrong",
        slug="invalid-input",
        detail=f"{first['field']}: {first['message']}",
        remedy="/docs says what each parameter may be.",
        extra={"faults": faults},
    )


async def _database(request: Request, error: Exception) -> Response:
    logger.warning("%s %s: the control database: %s", request.method, request.url.path, type(error).__name__)
    away = NotReady(
        "The control database does not answer",
        detail="it is away, or another process has held it for too long",
        remedy="Try again in a moment. If it stays so, `tidemill doctor` may name the cause.",
    )
    return from_error(request, away)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = {404: "There is no such page", 405: "That method does not exist here"}.get(error.status_code)
    phrase = title or http.HTTPStatus(error.status_code).phrase
    return problem(request, error.status_code, phrase, headers=error.headers)
