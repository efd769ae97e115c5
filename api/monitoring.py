"""The services `drift`, `quality` and `alerts`: how the live model does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi import Path as PathParameter
from starlette.responses import Response

from api.answers import answer
from api.auth import Actor, require_key
from api.context import Context, Ctx, KnownName, KnownProject
from api.idempotency import OnceRoute
from api.schema_out import ALERTS, DRIFT, LAUNCHED, ONE_ALERT, QUALITY, ok
from api.training import launched
from tidemill.project import Project

router = APIRouter(
    prefix="/v1/projects/{project}",
    tags=["monitoring"],
    dependencies=[Depends(require_key)],
    route_class=OnceRoute,
)

AlertState = Literal["open", "acknowledged", "resolved"]


@router.get("/quality", summary="Live quality", responses=ok(QUALITY))
def get_quality(project: KnownProject, context: Ctx) -> Response:
    """Metrics of the predictions whose truth is known."""
    return answer(live_quality_of(context, project))


@router.get("/drift", summary="The newest drift report", responses=ok(DRIFT))
def get_drift(project: KnownName, context: Ctx) -> Response:
    """The newest report, or null before the first."""
    from tidemill.monitor.report import latest_report

    report = latest_report(context.home, project)
    return answer({"report": report.to_json() if report else None})


@router.post("/drift", status_code=202, summary="Make a drift report", responses=ok(LAUNCHED, status=202))
def start_drift(project: KnownProject, context: Ctx, actor: Actor) -> Response:
    """Compare the newest predictions with the live model's training rows now."""
    return launched(context, project.name, "monitoring", actor)


@router.get("/alerts", summary="Alerts", responses=ok(ALERTS))
def list_alerts(project: KnownName, context: Ctx, state: AlertState | None = None) -> Response:
    """Alerts, newest first; of one state when `state` is given."""
    from tidemill.monitor import alerts

    found = alerts.list_alerts(context.state, project, [state] if state else None)
    return answer({"alerts": [asdict(alert) for alert in found]})


@router.post("/alerts/{alert}/acknowledge", summary="Acknowledge an alert", responses=ok(ONE_ALERT, 409))
def acknowledge_alert(
    project: KnownName, alert: Annotated[int, PathParameter(ge=1, le=2**31 - 1)], context: Ctx
) -> Response:
    """Say that somebody looks after it; it stays until what it is about has passed."""
    from tidemill.monitor import alerts

    return answer(asdict(alerts.acknowledge(context.state, project, alert)))


def live_quality_of(context: Context, project: Project) -> dict[str, Any]:
    from tidemill.monitor.performance import live_quality
    from tidemill.store.sql import connect

    con = connect(context.home, project.name, project=project)
    try:
        outcomes = con.execute("SELECT role, predicted, truth, probabilities FROM outcomes").df()
    finally:
        con.close()
    return asdict(live_quality(outcomes, project))
