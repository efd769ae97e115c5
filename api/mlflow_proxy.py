"""Between a browser and MLflow's server: what is let through, and how it is passed on.

People look and take notes there; what changes experiments, models or aliases is refused, since those mirror what
Tidemill did, and since who may make an experiment in MLflow may name any folder of this machine as its files.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tidemill.errors import Forbidden, NotReady
from tidemill.home import Home
from tidemill.ops.access import Caller, Role
from tidemill.ops.mlflow_page import PREFIX, is_supervised, socket_path

# The page and its parts, and what it asks for. Not: gateway, assistant, jobs, webhooks, uploads.
_READ = re.compile(
    r"(?:|index\.html|health|version|static-files/.*|get-artifact|model-versions/get-artifact"
    r"|server-info|(?:ajax-)?api/[23]\.0/mlflow/(?:server-info|experiments|runs|metrics|artifacts|datasets|traces"
    r"|registered-models|model-versions|logged-models|ui-telemetry|get-trace-artifact|users)\b.*)"
)
# Questions that are asked by POST, and notes.
_ASK = re.compile(
    r"(?:graphql|(?:ajax-)?api/[23]\.0/mlflow/(?:[a-z-]+/(?:search|search-datasets|metrics)"
    r"|runs/(?:update|set-tag|delete-tag)|experiments/set-experiment-tag|metrics/get-history-bulk))"
)
_NOTE = re.compile(r".*/(?:runs/(?:update|set-tag|delete-tag)|experiments/set-experiment-tag)")
_PASSED_ON = ("accept", "accept-language", "content-type", "if-modified-since", "if-none-match", "range")
_GIVEN_BACK = (
    "content-type", "content-disposition", "content-length", "etag", "last-modified", "accept-ranges",
    "content-range", "content-encoding", "x-frame-options",
)  # fmt: skip
# The pages bring everything themselves; with this a browser asks nobody else, whatever they say.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    "frame-ancestors 'self'"
)
_TIMEOUT = httpx.Timeout(60.0, connect=2.0)
MOST_BODY = 1_000_000

STARTING = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>MLflow is starting</title><style>body{font:16px/1.5 system-ui,sans-serif;margin:20vh auto;max-width:30rem;
padding:0 1rem;color:#17212b}</style></head><body><h1>MLflow is starting</h1>
<p>It runs only while somebody looks. This page opens by itself, in about a quarter of a minute.</p></body>
</html>"""


def check_allowed(request: Request, path: str) -> None:
    """Raises Forbidden for what these pages are not for, and for what another site makes a browser send."""
    is_read = request.method in ("GET", "HEAD") and _READ.fullmatch(path)
    is_asked = request.method in ("POST", "PATCH", "DELETE") and _ASK.fullmatch(path)
    if not (is_read or is_asked) or ".." in path:
        raise Forbidden(
            "MLflow's pages are for looking and for notes",
            detail=f"{request.method} {PREFIX}/{path[:200]} changes what Tidemill keeps, or is no part of them",
            remedy="Train, deploy and roll back with Tidemill; runs and registry follow.",
        )
    origin, own = request.headers.get("origin"), f"{request.url.scheme}://{request.url.netloc}"
    if request.method not in ("GET", "HEAD") and origin and origin != own:
        raise Forbidden(
            "Another site sent this request",
            detail="the header Origin names another address than the one that was asked",
            remedy=f"Open {PREFIX}/ itself.",
        )


def is_note(request: Request, path: str) -> bool:
    """Whether it changes a tag, a note or the name of a run."""
    return request.method not in ("GET", "HEAD") and _NOTE.fullmatch(path) is not None


def check_may_note(caller: Caller) -> None:
    """Raises Forbidden for who may only look: runs are renamed and tagged by those who may train."""
    if not caller.may(Role.TRAINER):
        raise Forbidden(
            "This key may look at MLflow's pages only",
            detail=f"notes take the role {Role.TRAINER}; the key {caller.name!r} has {caller.role}",
            remedy="Use a key that has it, or ask the owner for one.",
        )


async def forward(request: Request, path: str, home: Home) -> Response:
    """MLflow's answer to `request`. Raises NotReady while its server is not up."""
    client = httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(socket_path(home))),
        base_url="http://localhost",
        timeout=_TIMEOUT,
        trust_env=False,
    )
    sent = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    # Not compressed: it comes from this machine, and is passed on as it is.
    asked = client.build_request(
        request.method,
        httpx.URL(path=f"{PREFIX}/{path}", query=request.url.query.encode()),
        headers={**sent, "accept-encoding": "identity"},
        content=await body_of(request),
    )
    try:
        answered = await client.send(asked, stream=True)
    except httpx.TransportError as error:
        await client.aclose()
        raise _not_up(home, error) from error
    headers = {name: answered.headers[name] for name in _GIVEN_BACK if name in answered.headers}
    headers["content-security-policy"] = _POLICY
    return StreamingResponse(_streamed(client, answered), answered.status_code, _plain(headers))


async def body_of(request: Request) -> bytes:
    """The body, which is small here. Raises Forbidden for a large one."""
    parts = b""
    async for part in request.stream():
        parts += part
        if len(parts) > MOST_BODY:
            raise Forbidden(
                "The question is too long", detail=f"MLflow is asked in {MOST_BODY} bytes at most"
            )
    return parts


async def _streamed(client: httpx.AsyncClient, answered: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answered.aiter_raw():
            yield part
    finally:
        await answered.aclose()
        await client.aclose()


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    return dict(headers)


def _not_up(home: Home, error: httpx.TransportError) -> NotReady:
    if is_supervised(home):
        return NotReady(
            "MLflow's pages are starting",
            detail="their server runs only while somebody looks, and was asked for now",
            remedy="Try again in a quarter of a minute; `./tidemill logs mlflow` says what it does.",
        )
    return NotReady(
        "MLflow's pages are not running",
        detail=f"nobody supervises {home.root}, so nobody starts them ({type(error).__name__})",
        remedy="Start Tidemill with `./tidemill up`. All else works without them.",
    )
