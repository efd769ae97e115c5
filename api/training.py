"""The services `trainings` and `runs`: start the jobs of a project, follow them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from api.answers import answer
from api.auth import Actor, require_key
from api.body import body_of
from api.context import Context, Ctx, KnownName, KnownProject
from api.schema_out import LAUNCHED, ONE_RUN, RUNS, TRAINING, TRAININGS, ok
from api.schemas import TrainingCreate, body_schema
from tidemill.errors import NotFound
from tidemill.learn.bundle_info import BundleInfo, list_bundles
from tidemill.learn.progress import read_progress
from tidemill.ops.runs import TAG_ACTOR, TAG_REASON, Run

router = APIRouter(
    prefix="/v1/projects/{project}", tags=["training and runs"], dependencies=[Depends(require_key)]
)

Limit = Annotated[int, Query(ge=1, le=200)]
JobName = Literal["ingest", "labels", "training", "monitoring", "loop"]


@router.post(
    "/trainings",
    status_code=202,
    summary="Train",
    openapi_extra=body_schema(TrainingCreate, ("With a reason", {"reason": "new data of April"})),
    responses=ok(LAUNCHED, status=202),
)
def start_training(
    project: KnownProject,
    context: Ctx,
    actor: Actor,
    body: Annotated[TrainingCreate, Depends(body_of(TrainingCreate))],
) -> Response:
    """Start a training: labels, features, search, evaluation, gate, and deployment when the gate is passed."""
    return launched(context, project.name, "training", actor, body.reason)


@router.get("/trainings", summary="Trainings", responses=ok(TRAININGS))
def list_trainings(project: KnownName, context: Ctx, limit: Limit = 20) -> Response:
    """The newest trainings, newest first."""
    models = _models_by_run(context, project)
    runs = context.runs.list(project, "training", limit)
    return answer({"trainings": [_training(context, run, models.get(run.id)) for run in runs]})


@router.get("/trainings/{run}", summary="One training", responses=ok(TRAINING))
def get_training(project: KnownName, run: str, context: Ctx) -> Response:
    """One training with its steps, and the model it made once there is one."""
    found = require_run(context, project, run)
    return answer(_training(context, found, _models_by_run(context, project).get(run)))


@router.get("/runs", summary="Runs of every job", responses=ok(RUNS))
def list_runs(project: KnownName, context: Ctx, job: JobName | None = None, limit: Limit = 20) -> Response:
    """The newest runs, newest first."""
    runs = context.runs.list(project, job, limit)
    return answer({"runs": [_shown(context, run, "runs") for run in runs]})


@router.get("/runs/{run}", summary="One run", responses=ok(ONE_RUN))
def get_run(project: KnownName, run: str, context: Ctx) -> Response:
    """One run of any job with its steps."""
    return answer(_shown(context, require_run(context, project, run), "runs"))


def launched(context: Context, project: str, job: str, actor: str, reason: str = "") -> Response:
    """Start a job: the answer that names its run."""
    tags = {TAG_ACTOR: actor} | ({TAG_REASON: reason} if reason else {})
    run_id = context.runs.launch(project, job, tags)
    kind = "trainings" if job == "training" else "runs"
    document = {
        "id": run_id,
        "status": "queued",
        "url": f"/v1/projects/{project}/{kind}/{run_id}",
        "dagster_url": context.runs.url(run_id),
    }
    return answer(document, 202, {"Location": document["url"] or ""})


def require_run(context: Context, project: str, run_id: str) -> Run:
    """A run of this project. Raises NotFound."""
    run = context.runs.get(run_id)
    if run is None or run.project != project:
        raise NotFound(
            "There is no such run",
            detail=f"project {project} has no run {run_id[:60]!r}",
            remedy=f"GET /v1/projects/{project}/runs lists the runs there are.",
        )
    return run


def _training(context: Context, run: Run, model: BundleInfo | None) -> dict[str, Any]:
    shown = _shown(context, run, "trainings")
    if run.status == "failed" and model and model.gate and not model.gate["passed"]:
        reasons = "; ".join(model.gate["reasons"])
        shown["error"] = f"Model {model.version} was made and not deployed. {reasons}"
    return shown | {
        "model_version": model.version if model else None,
        "progress": read_progress(context.home, run.id),
    }


def _models_by_run(context: Context, project: str) -> dict[str, BundleInfo]:
    bundles = list_bundles(context.home.models(project))
    return {str(bundle.provenance.get("run_id")): bundle for bundle in bundles}


def _shown(context: Context, run: Run, kind: str) -> dict[str, Any]:
    return {
        "id": run.id,
        "job": run.job,
        "status": run.status,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "steps": [step.__dict__ for step in run.steps],
        "error": run.error,
        "url": f"/v1/projects/{run.project}/{kind}/{run.id}",
        "dagster_url": context.runs.url(run.id),
    }
