"""The service `labels` where people answer in Label Studio: the way in without a second login, and its webhook.

What is asked and answered there is `tidemill/labels/label_studio.py`; here a browser is only sent on.
"""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import RedirectResponse, Response

from api.answers import answer
from api.auth import Actor
from api.context import Ctx, KnownProject
from api.schema_out import HINT_TAKEN, LABEL_STUDIO_LINK, ok, problems
from tidemill.errors import Conflict, Unauthorized
from tidemill.labels.hints import HOOK_HEADER
from tidemill.project import Project

router = APIRouter(prefix="/v1", tags=["labels"])

OPEN = "/v1/label-studio/open"
SECRET_HEADER = HOOK_HEADER
# A cookie of one name of this machine is sent to every port of that name, and to no other name.
OUR_NAMES = frozenset({"127.0.0.1", "localhost"})


async def _know_secret(
    context: Ctx, given: Annotated[str, Header(alias=SECRET_HEADER, max_length=200)] = ""
) -> None:
    """Raises Unauthorized without the secret of this home's webhook."""
    from tidemill.ops.label_studio import secret

    wanted = secret(context.home, "webhook")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode()):
        raise Unauthorized(
            "The webhook's secret is wrong",
            detail=f"the header {SECRET_HEADER} is absent or holds something else",
            remedy="Set it to what the home's secrets/label-studio.webhook holds, in Label Studio under "
            "Settings, Webhooks, Headers.",
        )


@router.post(
    "/projects/{project}/label-studio/link",
    summary="A link into Label Studio",
    responses=ok(LABEL_STUDIO_LINK, 409),
)
def make_link(
    project: KnownProject,
    context: Ctx,
    request: Request,
    actor: Actor,
    annotator: Annotated[str, Query(max_length=60, description="Who answers; else the key's name.")] = "",
) -> Response:
    """A link to its page in Label Studio.

    To our own server it works once, for a minute, and needs no login: it opens the annotator's account, which is
    made when it is not there.
    """
    from tidemill.labels.label_studio_login import LIFETIME
    from tidemill.labels.label_studio_people import account_of
    from tidemill.labels.sources import label_studio_of

    _require_label_studio(project)
    backend = label_studio_of(context.home, project)
    try:
        page = backend.page()
    finally:
        backend.close()
    if project.labels.url is not None:
        return answer({"url": project.labels.url.rstrip("/") + page, "seconds": None})
    person = annotator.strip() or actor
    account_of(person)
    ticket = context.tickets.issue(page, person)
    link = request.url.replace(path=OPEN, query=f"ticket={ticket}")
    return answer({"url": str(link), "seconds": int(LIFETIME)})


@router.get(
    "/label-studio/open",
    summary="Open Label Studio",
    status_code=303,
    response_class=RedirectResponse,
    responses={303: {"description": "To the project's page, with a session."}, **problems(410, 422, 503)},
)
def open_label_studio(
    context: Ctx,
    request: Request,
    ticket: Annotated[str, Query(max_length=200, description="From the link.")] = "",
) -> Response:
    """Log the browser in and send it to the project's page. Needs no key but a ticket, which is then used up."""
    from tidemill.labels.label_studio_login import SESSION, log_in
    from tidemill.ops.label_studio import address

    page, person = context.tickets.redeem(ticket)
    session = log_in(context.home, person)
    asked = request.url.hostname or ""
    name = asked if asked in OUR_NAMES else "127.0.0.1"
    port = address(context.home).rpartition(":")[2]
    sent_on = RedirectResponse(f"http://{name}:{port}{page}", 303, {"Referrer-Policy": "no-referrer"})
    sent_on.set_cookie(SESSION, session, httponly=True, samesite="lax")
    return sent_on


@router.post(
    "/projects/{project}/label-studio/webhook",
    status_code=202,
    summary="Label Studio says that somebody answered",
    dependencies=[Depends(_know_secret)],
    responses=ok(HINT_TAKEN, 409, status=202),
)
def take_webhook(project: KnownProject, context: Ctx) -> Response:
    """Take the answers over soon. What is sent is not read: the answers are asked from Label Studio itself."""
    from tidemill.labels.sources import sync

    _require_label_studio(project)
    context.hints.ask(project.name, lambda: sync(context.home, context.state, project))
    return answer({"within_seconds": context.hints.wait}, 202)


def _require_label_studio(project: Project) -> None:
    if project.labels.kind != "label-studio":
        raise Conflict(
            "People do not answer in Label Studio",
            detail=f"project {project.name} has labels: {project.labels.kind} in project.yaml",
            remedy="Set labels to label-studio, or answer on the page Label.",
        )
