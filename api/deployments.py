"""The service `deployment`: which model answers, which one is tried beside it, and changing that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi import Path as PathParameter
from starlette.responses import Response

from api.answers import answer
from api.auth import Actor, require_key
from api.body import body_of
from api.context import Context, Ctx, KnownName, KnownProject
from api.idempotency import OnceRoute
from api.schema_out import COMPARISON, DEPLOYMENT, ok
from api.schemas import CanaryCreate, Change, DeploymentCreate, ShadowCreate, body_schema
from tidemill.errors import NotFound, NotReady
from tidemill.serve.deployment import Deployment

router = APIRouter(
    prefix="/v1/projects/{project}",
    tags=["models"],
    dependencies=[Depends(require_key)],
    route_class=OnceRoute,
)

Version = Annotated[int, PathParameter(ge=1, le=10**9)]
ChangeBody = Annotated[Change, Depends(body_of(Change))]
_CHANGE = body_schema(
    Change,
    ("Change it", {"reason": "answers look wrong"}),
    ("Only if nothing changed", {"reason": "answers look wrong", "expected_revision": 3}),
)


@router.post(
    "/models/{version}/deploy",
    summary="Deploy a model",
    openapi_extra=body_schema(
        DeploymentCreate,
        ("Deploy", {"reason": "better on new data"}),
        ("Only if nothing changed", {"reason": "better on new data", "expected_revision": 3}),
    ),
    responses=ok(DEPLOYMENT, 409),
)
def deploy_model(
    project: KnownName,
    version: Version,
    context: Ctx,
    actor: Actor,
    body: Annotated[DeploymentCreate, Depends(body_of(DeploymentCreate))],
) -> Response:
    """Make a model answer everyone. The one before answers until the new one is loaded: no request is dropped.

    Whatever challenger there was is so no more.
    """
    from tidemill.serve.deployment import deploy
    from tidemill.serve.release import require_deployable

    require_deployable(context.home, project, version, despite_gate=body.despite_gate)
    context.service(project).prepare(version)
    deploy(context.state, project, version, **_who(body, actor))
    return _changed(context, project)


@router.post(
    "/models/{version}/shadow",
    summary="Put a model into shadow",
    openapi_extra=body_schema(ShadowCreate, ("Into shadow", {"reason": "to compare with the live model"})),
    responses=ok(DEPLOYMENT, 409),
)
def put_into_shadow(
    project: KnownName,
    version: Version,
    context: Ctx,
    actor: Actor,
    body: Annotated[ShadowCreate, Depends(body_of(ShadowCreate))],
) -> Response:
    """Ask a model beside the live one, off the way of the answers, and compare the two. It answers nobody."""
    from tidemill.serve.challengers import shadow
    from tidemill.serve.release import require_deployable

    require_deployable(context.home, project, version, despite_gate=True)
    context.service(project).open_version(version)
    shadow(context.state, project, version, **_who(body, actor))
    return _changed(context, project)


@router.post(
    "/models/{version}/canary",
    summary="Make a model a canary",
    openapi_extra=body_schema(
        CanaryCreate,
        ("A tenth, or what project.yaml says", {"reason": "agrees in shadow"}),
        ("A quarter", {"reason": "all is well", "percent": 25}),
    ),
    responses=ok(DEPLOYMENT, 409),
)
def make_canary(
    project: KnownProject,
    version: Version,
    context: Ctx,
    actor: Actor,
    body: Annotated[CanaryCreate, Depends(body_of(CanaryCreate))],
) -> Response:
    """Let a model answer a share of the entities, always the same ones; a larger share keeps all it had.

    It is taken back by itself when it breaks the policy `rollout` of project.yaml.
    """
    from tidemill.serve.challengers import canary
    from tidemill.serve.release import require_deployable

    require_deployable(context.home, project.name, version, despite_gate=body.despite_gate)
    context.service(project.name).open_version(version)
    percent = body.percent if body.percent is not None else project.rollout.percent
    canary(context.state, project.name, version, percent, **_who(body, actor))
    return _changed(context, project.name)


@router.post(
    "/rollback", summary="Go back to the model before", openapi_extra=_CHANGE, responses=ok(DEPLOYMENT, 409)
)
def roll_back(project: KnownName, context: Ctx, actor: Actor, body: ChangeBody) -> Response:
    """Put back the model that answered before the live one. Whatever challenger there was is so no more."""
    from tidemill.serve.deployment import current, rollback

    live = current(context.state, project)
    if live is not None and live.previous is not None:
        context.service(project).prepare(live.previous)
    rollback(context.state, project, **_who(body, actor))
    return _changed(context, project)


@router.post(
    "/deployment/pause", summary="Pause the challenger", openapi_extra=_CHANGE, responses=ok(DEPLOYMENT, 409)
)
def pause_challenger(project: KnownName, context: Ctx, actor: Actor, body: ChangeBody) -> Response:
    """Ask the model in shadow or canary nothing until it is resumed; the live model answers everyone."""
    from tidemill.serve.challengers import pause

    return _change(context, project, pause, body, actor)


@router.post(
    "/deployment/resume",
    summary="Resume the challenger",
    openapi_extra=_CHANGE,
    responses=ok(DEPLOYMENT, 409),
)
def resume_challenger(project: KnownName, context: Ctx, actor: Actor, body: ChangeBody) -> Response:
    """Go on after a pause, with the same entities."""
    from tidemill.serve.challengers import resume

    return _change(context, project, resume, body, actor)


@router.post(
    "/deployment/withdraw",
    summary="Withdraw the challenger",
    openapi_extra=_CHANGE,
    responses=ok(DEPLOYMENT, 409),
)
def withdraw_challenger(project: KnownName, context: Ctx, actor: Actor, body: ChangeBody) -> Response:
    """End the shadow or canary: the live model answers everyone."""
    from tidemill.serve.challengers import withdraw

    return _change(context, project, withdraw, body, actor)


@router.get("/deployment", summary="What answers now", responses=ok(DEPLOYMENT))
def get_deployment(project: KnownName, context: Ctx) -> Response:
    """The live model, its challenger, the one a rollback would put back, and every change."""
    return answer(deployment_document(context, project))


@router.get("/deployment/comparison", summary="Champion and challenger compared", responses=ok(COMPARISON))
def get_comparison(
    project: KnownName,
    context: Ctx,
    since: Annotated[
        int | None,
        Query(ge=1, le=10**9, description="The revision that began a stage; the newest stage when unset."),
    ] = None,
) -> Response:
    """What two models said of the same records: agreement, differences, latencies, quality where truth has come.

    In shadow about all records that could be kept up with (`dropped` says how many not), in canary about its share.
    """
    from tidemill.serve.deployment import current
    from tidemill.serve.rollout_report import newest_report

    found = newest_report(context.home, project, since)
    if found is None:
        live = current(context.state, project)
        if since is None and live is not None and live.challenger is not None:
            raise NotReady(
                "The comparison has just begun",
                detail=f"model {live.challenger.version} of project {project} is in {live.challenger.stage}, and "
                "is being loaded beside the live one",
                remedy="Ask again in a few seconds.",
            )
        raise NotFound(
            "Nothing has been compared",
            detail=f"project {project} has had no model in shadow or canary"
            + (f" since revision {since}" if since else ""),
            remedy="Put a model into shadow; the first numbers come within seconds.",
        )
    return answer(found)


def deployment_document(context: Context, project: str) -> dict[str, Any]:
    from tidemill.serve.deployment import current, history

    live = current(context.state, project)
    return {
        "champion": live.champion if live else None,
        "previous": live.previous if live else None,
        "challenger": _challenger(live) if live else None,
        "revision": live.revision if live else 0,
        "changed_at": live.changed_at if live else None,
        "history": history(context.state, project),
    }


def _challenger(live: Deployment) -> dict[str, Any] | None:
    found = live.challenger
    if found is None:
        return None
    return {name: value for name, value in vars(found).items() if name != "salt"}


def _who(body: Change, actor: str) -> dict[str, Any]:
    return {"expected_revision": body.expected_revision, "actor": actor, "reason": body.reason}


def _change(
    context: Context, project: str, change: Callable[..., Deployment], body: Change, actor: str
) -> Response:
    change(context.state, project, **_who(body, actor))
    return _changed(context, project)


def _changed(context: Context, project: str) -> Response:
    # The answer comes once the model is loaded, or says why it could not be.
    context.service(project).load_now()
    context.service(project).follow()
    return answer(deployment_document(context, project))
