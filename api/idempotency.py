"""The header Idempotency-Key of a POST: the same request again gives the first answer, and nothing is done twice.

Here belong the header and how a request and its answer are written down; the rules are `store/idempotency.py`. A
router made with `route_class=OnceRoute` keeps them for each of its POSTs. A route whose work leaves a mark that can
be found after a crash takes `OnceOnly` instead, and hands it its body and its work:

    return once(body.model_dump(), lambda claim: launched(...))

Files and rows need no key: they are known by their content, and the same again gives the stored record.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any

from anyio import CancelScope, to_thread
from fastapi import Depends, Header, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Message, Receive

from api.auth import Actor, bearer, require_caller
from api.body import sent_body
from api.context import Context, Ctx
from tidemill.errors import InvalidInput
from tidemill.store.idempotency import (
    Answer,
    Claim,
    answer_once,
    claim_or_answer,
    keep_answer,
    release,
)

KEY = re.compile(r"[\x21-\x7e]{1,200}")
REPLAYED = "Idempotency-Replayed"
KEY_DESCRIPTION = (
    "Any text of up to 200 characters, made anew for each new request. The same request with the same key gives "
    "the first answer again; another request with it is refused (422)."
)
_HEADER = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": KEY_DESCRIPTION,
}

Once = Callable[[Any, Callable[[Claim | None], Response]], Response]


async def _once(
    request: Request,
    context: Ctx,
    actor: Actor,
    idempotency_key: Annotated[
        str | None,
        Header(description=KEY_DESCRIPTION),
    ] = None,
) -> Once:
    """Does a request once per key, and each time when it comes without one."""

    def once(body: Any, do: Callable[[Claim | None], Response]) -> Response:
        if idempotency_key is None:
            return do(None)
        document, is_replay = answer_once(
            context.state,
            actor,
            _usable(idempotency_key),
            _digest(request, body),
            lambda claim: _written(do(claim)),
            keep_seconds=context.settings.idempotency_hours * 3600,
        )
        return _read(document, is_replay)

    return once


OnceOnly = Annotated[Once, Depends(_once)]


class OnceRoute(APIRoute):
    """Does a POST with a key once; any other request passes. A crash in the middle lets it be done again."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        if "POST" in (self.methods or ()) and not self._does_it_itself():
            self.openapi_extra = (self.openapi_extra or {}) | {"parameters": [_HEADER]}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        is_ours = not self._does_it_itself()

        async def once(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            if request.method != "POST" or key is None or not is_ours:
                return await handle(request)
            return await _done_once(request, _usable(key), handle)

        return once

    def _does_it_itself(self) -> bool:
        return any(each.call is _once for each in _all_dependencies(self.dependant))


async def _done_once(
    request: Request, key: str, handle: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    context: Context = request.app.state.context
    actor = (await require_caller(request, context, await bearer(request))).name
    data = await sent_body(request, context.settings.max_body_bytes)
    state, keep = context.state, context.settings.idempotency_hours * 3600
    asked = _digest(request, hashlib.sha256(data).hexdigest())
    found = await to_thread.run_sync(claim_or_answer, state, actor, key, asked, keep)
    if not isinstance(found, Claim):
        return _read(found, is_replay=True)
    try:
        response = await handle(Request(request.scope, _again(data, request)))
    except BaseException:
        with CancelScope(shield=True):
            await to_thread.run_sync(release, state, actor, key)
        raise
    with CancelScope(shield=True):
        await to_thread.run_sync(keep_answer, state, actor, key, _written(response))
    return response


def _again(data: bytes, request: Request) -> Receive:
    """`receive` of a request whose body was read already."""
    waiting: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop() if waiting else await request.receive()

    return receive


def _all_dependencies(dependant: Dependant) -> Iterator[Dependant]:
    for each in dependant.dependencies:
        yield each
        yield from _all_dependencies(each)


def _usable(key: str) -> str:
    """`key` itself. Raises InvalidInput."""
    if not KEY.fullmatch(key):
        raise InvalidInput(
            "That Idempotency-Key cannot be used",
            detail=f"it has {len(key)} characters, or blanks or signs outside ASCII",
            remedy="Use 1 to 200 printable ASCII characters without blanks, such as a UUID.",
        )
    return key


def _digest(request: Request, body: Any) -> str:
    """What makes two requests the same: method, path, query, what answer is wanted, and the body."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
    wanted = [request.headers.get(name, "") for name in ("content-type", "accept")]
    text = "\n".join([request.method, request.url.path, request.url.query, *wanted, canonical])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _written(response: Response) -> Answer:
    named = {name: response.headers[name] for name in ("location",) if name in response.headers}
    # Bytes as characters: an answer may be Arrow.
    body = bytes(response.body).decode("latin-1")
    kind = response.headers.get("content-type", response.media_type)
    return {"status": response.status_code, "headers": named, "body": body, "type": kind}


def _read(document: Answer, is_replay: bool) -> Response:
    headers = document["headers"] | ({REPLAYED: "true"} if is_replay else {})
    return Response(document["body"].encode("latin-1"), document["status"], headers, document["type"])
