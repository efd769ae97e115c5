"""The service `mlflow`: MLflow's own pages behind the gateway, started when somebody opens them.

What is let through is `mlflow_proxy.py`, who may look is `mlflow_session.py`; the server is
`resources/mlflow_server.py`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.security.utils import get_authorization_scheme_param
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.answers import answer
from api.auth import Asking, hold_rate, known
from api.context import Context, Ctx
from api.mlflow_proxy import STARTING, check_allowed, check_may_note, forward, is_note
from api.mlflow_session import COOKIE, HOURS, TICKET_SECONDS, check_reach
from api.schema_out import MLFLOW_LINK, ok, problems
from tidemill.errors import NotReady, Unauthorized
from tidemill.ops.access import Caller
from tidemill.ops.mlflow_page import PREFIX, want

router = APIRouter(tags=["mlflow"])

OPEN = "/v1/mlflow/open"
METHODS = ["GET", "HEAD", "POST", "PATCH", "DELETE"]


@router.post("/v1/mlflow/link", summary="A link to MLflow's pages", responses=ok(MLFLOW_LINK, 403))
def make_link(context: Ctx, request: Request, caller: Asking) -> Response:
    """A link that works once, for a minute, and needs no key. Asking for it starts MLflow's server."""
    ticket = context.mlflow_sessions.issue(caller)
    want(context.home)
    link = request.url.replace(path=OPEN, query=f"ticket={ticket}")
    return answer({"url": str(link), "seconds": int(TICKET_SECONDS)})


@router.get(
    OPEN,
    summary="Open MLflow's pages",
    status_code=303,
    response_class=RedirectResponse,
    responses={303: {"description": "To the pages, with a session."}, **problems(410, 422)},
)
def open_pages(
    context: Ctx, ticket: Annotated[str, Query(max_length=200, description="From the link.")] = ""
) -> Response:
    """Begin a session and send the browser on. Needs no key but a ticket, which is then used up."""
    session = context.mlflow_sessions.redeem(ticket)
    sent_on = RedirectResponse(f"{PREFIX}/", 303, {"Referrer-Policy": "no-referrer"})
    sent_on.set_cookie(COOKIE, session, max_age=HOURS * 3600, path=PREFIX, httponly=True, samesite="strict")
    return sent_on


@router.api_route(PREFIX, methods=["GET"], include_in_schema=False)
async def to_pages() -> Response:
    """With the slash, which the pages' relative addresses need."""
    return RedirectResponse(f"{PREFIX}/", 308)


@router.api_route(PREFIX + "/{path:path}", methods=METHODS, include_in_schema=False)
async def pass_on(path: str, context: Ctx, request: Request) -> Response:
    """MLflow's answer, for whoever has a session or a key."""
    caller = await _caller_of(context, request)
    if request.method == "GET" and path.endswith("/mlflow/gateway-proxy"):
        return answer(
            {"endpoints": []}
        )  # what MLflow says without a gateway of its own, which is not let through
    check_allowed(request, path)
    if is_note(request, path):
        request.state.asking = caller  # from here on it is in the audit log
        check_may_note(caller)
    want(context.home)
    try:
        return await forward(request, path, context.home)
    except NotReady as error:
        if path or "starting" not in error.title:
            raise
        return HTMLResponse(STARTING, 503, {"Retry-After": "2"})


async def _caller_of(context: Context, request: Request) -> Caller:
    """Whose session or key the request has. Raises Unauthorized, TooManyRequests or Forbidden."""
    scheme, key = get_authorization_scheme_param(request.headers.get("authorization"))
    if scheme.lower() == "bearer":
        caller = await known(context, key)
        hold_rate(context, caller)
        check_reach(caller)
        return caller
    found = context.mlflow_sessions.caller_of(request.cookies.get(COOKIE, ""))
    if found is None:
        raise Unauthorized(
            "A key or a session is needed",
            detail="the request has neither a key nor the cookie of a session that goes on",
            remedy="Press MLflow on the dashboard's overview, or say `./tidemill open mlflow`.",
        )
    check_reach(found)
    return found
