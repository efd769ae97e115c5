"""The service `models`: what was trained, and how good it is. Which one answers is `api/deployments.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi import Path as PathParameter
from starlette.responses import Response

from api.answers import answer
from api.auth import require_key
from api.context import Context, Ctx, KnownName
from api.idempotency import OnceRoute
from api.schema_out import MODELS, ONE_MODEL, ok, problems

if TYPE_CHECKING:
    from tidemill.learn.bundle_info import BundleInfo

router = APIRouter(
    prefix="/v1/projects/{project}",
    tags=["models"],
    dependencies=[Depends(require_key)],
    route_class=OnceRoute,
)

# A card holds names from the data: whatever they are, a browser runs and fetches nothing.
CARD_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

Version = Annotated[int, PathParameter(ge=1, le=10**9)]


@router.get("/models", summary="Models", responses=ok(MODELS))
def list_models(project: KnownName, context: Ctx) -> Response:
    """All models, newest first, and the version that answers now. A challenger's `stage` is shadow or canary."""
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
