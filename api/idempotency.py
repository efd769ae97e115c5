"""The header Idempotency-Key of a POST: the same request again gives the first answer, and nothing is done twice.

Here belong the header and how a request and its answer are written down; the rules are `store/idempotency.py`. A
route takes `OnceOnly` and hands it its body and its work:

    return once(body.model_dump(), lambda claim: launched(...))
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from starlette.responses import Response

from api.auth import Actor
from api.context import Ctx
from tidemill.errors import InvalidInput
from tidemill.store.idempotency import Answer, Claim, answer_once

KEY = re.compile(r"[\x21-\x7e]{1,200}")
REPLAYED = "Idempotency-Replayed"

Once = Callable[[Any, Callable[[Claim | None], Response]], Response]


async def _once(
    request: Request,
    context: Ctx,
    actor: Actor,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Any text of up to 200 characters, made anew for each new request. The same request with "
            "the same key gives the first answer again; another request with it is refused (422)."
        ),
    ] = None,
) -> Once:
    """Does a request once per key, and each time when it comes without one."""

    def once(body: Any, do: Callable[[Claim | None], Response]) -> Response:
        if idempotency_key is None:
            return do(None)
        if not KEY.fullmatch(idempotency_key):
            raise InvalidInput(
                "That Idempotency-Key cannot be used",
                detail=f"it has {len(idempotency_key)} characters, or blanks or signs outside ASCII",
                remedy="Use 1 to 200 printable ASCII characters without blanks, such as a UUID.",
            )
        document, is_replay = answer_once(
            context.state,
            actor,
            idempotency_key,
            _digest(request, body),
            lambda claim: _written(do(claim)),
            keep_seconds=context.settings.idempotency_hours * 3600,
        )
        return _read(document, is_replay)

    return once


OnceOnly = Annotated[Once, Depends(_once)]


def _digest(request: Request, body: Any) -> str:
    """What makes two requests the same: method, path, and the body whatever its spelling."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
    text = "\n".join([request.method, request.url.path, canonical])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _written(response: Response) -> Answer:
    named = {name: response.headers[name] for name in ("location",) if name in response.headers}
    body = bytes(response.body).decode()
    return {"status": response.status_code, "headers": named, "body": body, "type": response.media_type}


def _read(document: Answer, is_replay: bool) -> Response:
    headers = document["headers"] | ({REPLAYED: "true"} if is_replay else {})
    return Response(document["body"], document["status"], headers, document["type"])
