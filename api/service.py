"""What the service says of itself: alive, ready, metrics, and a page that shows the API without any network."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import HTMLResponse, Response

from api.answers import answer
from api.context import Context, Ctx
from api.docs_page import PAGE
from tidemill import __version__

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Alive")
async def health(context: Ctx) -> Response:
    """Whether this process answers. Needs no key."""
    return answer({"service": "tidemill", "home_id": context.home_id, "status": "ok", "version": __version__})


@router.get("/readyz", summary="Ready", responses={503: {"description": "Not ready yet"}})
def ready(context: Ctx) -> Response:
    """Whether it can do its work now: 503 while the database is away or a deployed model is loading."""
    checks, blocking = readiness(context)
    return answer(
        {"status": "not ready" if blocking else "ready", "checks": checks}, 503 if blocking else 200
    )


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(context: Ctx) -> Response:
    """Prometheus' text format. Needs no key."""
    return Response(generate_latest(context.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """A page that draws /openapi.json, with nothing loaded from elsewhere."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": "default-src 'self' 'unsafe-inline'"})


def readiness(context: Context) -> tuple[dict[str, Any], bool]:
    """What was looked at, and whether any of it stands in the way."""
    try:
        with context.state.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return {"database": f"does not answer ({type(error).__name__})"}, True
    models = _models(context)
    checks = {
        "database": "ok",
        "dagster": "ok" if context.runs.is_reachable() else "does not answer; predictions go on without it",
        "models": {name: " ".join(part for part in found if part) for name, found in models.items()},
    }
    return checks, any(found[0] == "loading model" for found in models.values())


def _models(context: Context) -> dict[str, tuple[str, str]]:
    from tidemill.serve.deployment import deployed

    names = [name for name in deployed(context.state) if (context.home.projects / name).is_dir()]
    return {name: context.service(name).readiness() for name in names}
