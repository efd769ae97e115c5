"""The service `models`: what was trained, how good it is, and which one answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi import Path as PathParameter
from starlette.responses import Response

from api.answers import answer
from api.auth import Actor, require_key
from api.body import body_of
from api.context import Context, Ctx, KnownName
from api.schema_out import DEPLOYMENT, MODELS, ONE_MODEL, ok, problems
from api.schemas import DeploymentCreate, RollbackCreate, body_schema
from tidemill.errors import Conflict

if TYPE_CHECKING:
    from tidemill.learn.bundle_info import BundleInfo

router = APIRouter(prefix="/v1/projects/{project}", tags=["models"], dependencies=[Depends(require_key)])

# A card holds names from the data: whatever they are, a browser runs and fetches nothing.
CARD_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

Version = Annotated[int, PathParameter(ge=1, le=10**9)]


@router.get("/models", summary="Models", responses=ok(MODELS))
def list_models(project: KnownName, context: Ctx) -> Response:
    """All models, newest first, and the version that answers now."""
    from tidemill.learn.bundle_info import list_bundles

    champion = _champion(context, project)
    bundles = list_bundles(context.home.models(project))
    shown = [_shown(bundle, champion) for bundle in reversed(bundles)]
    return answer({"models": shown, "champion": champion})


@router.get("/models/{version}", summary="One model", responses=ok(ONE_MODEL))
def get_model(project: KnownName, version: Version, context: Ctx) -> Response:
    """One model with its evaluation on held-out rows, the candidates of the search, and its card."""
    from tidemill.learn.bundle_info import load_info

    return answer(_detail(load_info(context.home.models(project), version), _champion(context, project)))


@router.get(
    "/models/{version}/card",
    summary="The card of a model",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/html": {
                    "schema": {"type": "string"},
                    "example": "<!doctype html><title>Pets: model 1</title>",
                },
                "text/markdown": {"schema": {"type": "string"}, "example": "# Pets: model 1"},
            }
        },
        **problems(401, 404, 422),
    },
)
def get_model_card(
    project: KnownName, version: Version, context: Ctx, form: Literal["html", "markdown"] = "html"
) -> Response:
    """What the model is, how good and what it is not for: a page to read, print or mail, or Markdown."""
    from tidemill.learn.bundle_info import load_info

    bundle = load_info(context.home.models(project), version)
    shown = bundle.card_html if form == "html" else bundle.card
    named = f'inline; filename="{project}-model-{version}.{"html" if form == "html" else "md"}"'
    headers = {"Content-Disposition": named, "Content-Security-Policy": CARD_POLICY}
    return Response(shown, media_type=f"text/{form}", headers=headers)


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
    """Make a model answer. The one before answers until the new one is loaded: no request is dropped."""
    from tidemill.serve.deployment import deploy

    require_deployable(context, project, version, body.despite_gate)
    context.service(project).prepare(version)
    deploy(
        context.state,
        project,
        version,
        expected_revision=body.expected_revision,
        actor=actor,
        reason=body.reason,
    )
    return _changed(context, project)


@router.post(
    "/rollback",
    summary="Go back to the model before",
    openapi_extra=body_schema(RollbackCreate, ("Roll back", {"reason": "answers look wrong"})),
    responses=ok(DEPLOYMENT, 409),
)
def roll_back(
    project: KnownName,
    context: Ctx,
    actor: Actor,
    body: Annotated[RollbackCreate, Depends(body_of(RollbackCreate))],
) -> Response:
    """Put back the model that answered before the live one."""
    from tidemill.serve.deployment import current, rollback

    live = current(context.state, project)
    if live is not None and live.previous is not None:
        context.service(project).prepare(live.previous)
    rollback(
        context.state,
        project,
        expected_revision=body.expected_revision,
        actor=actor,
        reason=body.reason,
    )
    return _changed(context, project)


@router.get("/deployment", summary="What answers now", responses=ok(DEPLOYMENT))
def get_deployment(project: KnownName, context: Ctx) -> Response:
    """The live model, the one a rollback would put back, and every change."""
    return answer(deployment_document(context, project))


def require_deployable(context: Context, project: str, version: int, despite_gate: bool) -> None:
    """Raise NotFound for a model that is not there, Conflict for one that has not passed its gate."""
    from tidemill.learn.bundle_info import load_info

    gate = load_info(context.home.models(project), version).gate
    if despite_gate or (gate and gate.get("passed")):
        return
    reasons = "; ".join(gate.get("reasons", [])) if gate else "it was not evaluated yet"
    raise Conflict(
        "The model has not passed its gate",
        detail=f"project {project}, model {version}: {reasons}",
        remedy="Train again with more or better data. To deploy it all the same, send despite_gate: true.",
        gate=gate,
    )


def deployment_document(context: Context, project: str) -> dict[str, Any]:
    from tidemill.serve.deployment import current, history

    live = current(context.state, project)
    return {
        "champion": live.champion if live else None,
        "previous": live.previous if live else None,
        "revision": live.revision if live else 0,
        "changed_at": live.changed_at if live else None,
        "history": history(context.state, project),
    }


def _changed(context: Context, project: str) -> Response:
    # The answer comes once the model is loaded, or says why it could not be.
    context.service(project).load_now()
    return answer(deployment_document(context, project))


def _champion(context: Context, project: str) -> int | None:
    from tidemill.serve.deployment import current

    live = current(context.state, project)
    return live.champion if live else None


def _shown(bundle: BundleInfo, champion: int | None) -> dict[str, Any]:
    return {
        "version": bundle.version,
        "estimator": bundle.estimator,
        "created": bundle.created,
        "metric": bundle.metric,
        "metrics": bundle.metrics,
        "baseline": bundle.baseline,
        "gate": bundle.gate,
        "champion": bundle.version == champion,
        "provenance": bundle.provenance,
    }


def _detail(bundle: BundleInfo, champion: int | None) -> dict[str, Any]:
    return _shown(bundle, champion) | {
        "evaluation": bundle.evaluation,
        "candidates": bundle.candidates,
        "card": bundle.card,
        "classes": bundle.classes or None,
        "positive": bundle.positive,
        "threshold": bundle.threshold,
    }
