"""Assembly: one function builds the whole ASGI application. Nothing is opened or read at import."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from api import (
    audit,
    batch,
    deployments,
    imports,
    ingest,
    label_studio,
    labels,
    mlflow_pages,
    models,
    monitoring,
    overview,
    predict,
    problems,
    records,
    rejects,
    service,
    sources,
    tables,
    training,
    uploads,
)
from api.audited import Audited
from api.context import OTHER_THREADS, Context
from api.front import Front, InFlight
from api.openapi import document
from api.prediction_route import PredictionRoute
from tidemill import __version__
from tidemill.home import Home
from tidemill.ops.dagster_runs import dagster_runs
from tidemill.ops.runs import RunClient
from tidemill.settings import Settings

ROUTERS = (
    overview,
    audit,
    ingest,
    rejects,
    uploads,
    records,
    sources,
    tables,
    labels,
    label_studio,
    training,
    imports,  # before models: /models/imports is no version
    models,
    deployments,
    mlflow_pages,
    predict,
    batch,
    monitoring,
    service,
)


def create_app(
    home: Home,
    settings: Settings,
    *,
    runs: RunClient | None = None,
    home_id: str = "",
    max_in_flight: int | None = None,
) -> FastAPI:
    """The API of `home`.

    `runs` starts jobs (default: the home's Dagster). `home_id` is what /healthz says, so that a supervisor knows
    its own from a stranger. The home's folders, database and owner key are made when absent. Loaded models and
    log writers live from the application's start to its end.
    """
    from tidemill.ops.keys import ensure_owner_key
    from tidemill.store.state import open_state

    state = open_state(home.ensure(), settings.database_url)
    ensure_owner_key(home, state)
    context = Context(home, settings, state, runs or dagster_runs(home, settings.host), home_id)
    app = Gateway(
        title="Tidemill",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.context = context
    in_flight = InFlight(max_in_flight or settings.requests_at_once)
    context.metrics.in_flight.set_function(lambda: in_flight.count)
    app.add_middleware(Audited, context=context)
    app.add_middleware(Front, metrics=context.metrics, in_flight=in_flight, access_log=context.access_log)
    if origins := [each.strip() for each in settings.cors_origins.split(",") if each.strip()]:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["authorization", "content-type", "idempotency-key", "x-request-id"],
            expose_headers=["x-request-id", "retry-after", "idempotency-replayed", "location"],
        )
    app.predictions = PredictionRoute(app.ordinary, context, in_flight)
    problems.install(app)
    for module in ROUTERS:
        app.include_router(module.router)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


class Gateway(FastAPI):
    """FastAPI with one route in front of it: predictions, which must not cost what a route of FastAPI costs."""

    predictions: PredictionRoute

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith("/predictions"):
            await self.predictions(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def ordinary(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application without that route."""
        await super().__call__(scope, receive, send)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    context: Context = app.state.context
    anyio.to_thread.current_default_thread_limiter().total_tokens = OTHER_THREADS
    threading.Thread(target=context.watch_deployments, name="watch deployments", daemon=True).start()
    try:
        yield {}
    finally:
        await anyio.to_thread.run_sync(context.close)
