"""The services `trainings` and `runs`: start the jobs of a project, follow them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from api.answers import answer
from api.auth import Actor, require_key
from api.body import body_of
from api.context import Context, Ctx, KnownName, KnownProject
from api.event_stream import Event, follow
from api.idempotency import OnceOnly, OnceRoute
from api.run_documents import require_run, show_runs, show_trainings
from api.schema_out import LAUNCHED, ONE_RUN, RUNS, TRAINING, TRAINING_EVENTS, TRAININGS, ok, stream
from api.schemas import TrainingCreate, TrainingEnd, body_schema
from tidemill.data.first import waits_for_first
from tidemill.errors import Conflict
from tidemill.ops.cancellations import note_cancellation
from tidemill.ops.runs import (
    FINISHED,
    TAG_ACTOR,
    TAG_REASON,
    TAG_REQUEST,
    TAG_RETRY_OF,
    TAG_TRIGGER,
    Run,
)
from tidemill.store.idempotency import Claim

router = APIRouter(
    prefix="/v1/projects/{project}",
    tags=["training and runs"],
    dependencies=[Depends(require_key)],
    route_class=OnceRoute,
)

FIRST = "a training waits for the first file"
LOOKED_AT = 5

Limit = Annotated[int, Query(ge=1, le=200)]
JobName = Literal["ingest", "labels", "training", "monitoring", "loop", "imports"]


@router.post(
    "/trainings",
    status_code=202,
    summary="Train",
    openapi_extra=body_schema(TrainingCreate, ("With a reason", {"reason": "new data of April"})),
    responses=ok(LAUNCHED, 409, status=202),
)
def start_training(
    project: KnownProject,
    context: Ctx,
    actor: Actor,
    once: OnceOnly,
    body: Annotated[TrainingCreate, Depends(body_of(TrainingCreate))],
) -> Response:
    """Start a training: labels, features, search, evaluation, gate, and deployment when the gate is passed.

    It waits its turn while another training of the project goes on, and for the first file of a project that has no
    data yet; 409 when no such file waits. With the header `Idempotency-Key` the same
    request may be sent again, such as after a lost answer: it names the run that was started first.
    """
    tags = {TAG_TRIGGER: body.trigger, TAG_REASON: body.reason}
    return once(body.model_dump(), lambda claim: _trained(context, project.name, actor, tags, claim))


@router.get("/trainings", summary="Trainings", responses=ok(TRAININGS))
def list_trainings(project: KnownName, context: Ctx, limit: Limit = 20) -> Response:
    """The newest trainings, newest first."""
    runs = context.runs.list(project, "training", limit)
    return answer({"trainings": show_trainings(context, project, runs)})


@router.get("/trainings/{run}", summary="One training", responses=ok(TRAINING))
def get_training(project: KnownName, run: str, context: Ctx) -> Response:
    """One training with its steps, how far it is in percent, the best score so far, and the model it made."""
    return answer(show_trainings(context, project, [require_run(context, project, run)])[0])


@router.get(
    "/trainings/{run}/events",
    summary="Follow one training",
    response_class=Response,
    responses={**stream(TRAINING_EVENTS), 204: {"description": "The last event was received already"}},
)
async def follow_training(
    project: KnownName,
    run: str,
    context: Ctx,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
) -> Response:
    """The same as server-sent events, one for each change: `queued`, `running`, and at last `succeeded`, `failed`
    or `canceled`, after which the stream ends. `data` is the training as JSON."""

    def look() -> Event:
        document = show_trainings(context, project, [require_run(context, project, run)])[0]
        return Event(document["status"], document, is_last=document["status"] in FINISHED)

    return await follow(look, context, last_event_id)


@router.post(
    "/trainings/{run}/cancel",
    status_code=202,
    summary="Cancel a training",
    openapi_extra=body_schema(TrainingEnd, ("With a reason", {"reason": "the wrong file"})),
    responses=ok(TRAINING, 409, status=202),
)
def cancel_training(
    project: KnownName,
    run: str,
    context: Ctx,
    actor: Actor,
    body: Annotated[TrainingEnd, Depends(body_of(TrainingEnd))],
) -> Response:
    """End a training that waits or goes on; it has ended within about 15 seconds, and makes no model.

    409 when it has ended already.
    """
    _cancel(context, require_run(context, project, run), actor, body.reason)
    return answer(show_trainings(context, project, [require_run(context, project, run)])[0], 202)


@router.post(
    "/trainings/{run}/retry",
    status_code=202,
    summary="Try a training again",
    openapi_extra=body_schema(TrainingEnd, ("With a reason", {"reason": "the disk has room again"})),
    responses=ok(LAUNCHED, 409, status=202),
)
def retry_training(
    project: KnownProject,
    run: str,
    context: Ctx,
    actor: Actor,
    once: OnceOnly,
    body: Annotated[TrainingEnd, Depends(body_of(TrainingEnd))],
) -> Response:
    """Start a new training in place of one that failed or was cancelled; `retry_of` names that one.

    It uses the newest data and the project file of now. 409 when the other has not ended, or has succeeded.
    """
    before = _worth_a_retry(require_run(context, project.name, run))
    reason = body.reason or before.tags.get(TAG_REASON, "")
    tags = {TAG_TRIGGER: "retry", TAG_RETRY_OF: before.id, TAG_REASON: reason}
    return once(
        body.model_dump(), lambda claim: launched(context, project.name, "training", actor, tags, claim)
    )


@router.get("/runs", summary="Runs of every job", responses=ok(RUNS))
def list_runs(project: KnownName, context: Ctx, job: JobName | None = None, limit: Limit = 20) -> Response:
    """The newest runs, newest first."""
    return answer({"runs": show_runs(context, project, context.runs.list(project, job, limit))})


@router.get("/runs/{run}", summary="One run", responses=ok(ONE_RUN))
def get_run(project: KnownName, run: str, context: Ctx) -> Response:
    """One run of any job with its steps."""
    return answer(show_runs(context, project, [require_run(context, project, run)])[0])


def _trained(
    context: Context, project: str, actor: str, tags: Mapping[str, str], claim: Claim | None
) -> Response:
    """Start a training; for a project whose first file still waits, the ingestion of that before it."""
    waits = waits_for_first(context.home, context.state, project)
    if waits and all(run.is_finished for run in context.runs.list(project, "ingest", LOOKED_AT)):
        context.runs.launch(project, "ingest", {TAG_TRIGGER: "api", TAG_ACTOR: actor, TAG_REASON: FIRST})
    return launched(context, project, "training", actor, tags, claim)


def launched(
    context: Context,
    project: str,
    job: str,
    actor: str,
    tags: Mapping[str, str] | None = None,
    claim: Claim | None = None,
) -> Response:
    """Start a job: the answer that names its run. Under a `claim` that was cut off, the run it had started."""
    mark = {TAG_REQUEST: claim.mark} if claim else {}
    known = _marked(context, project, job, claim.mark) if claim and claim.is_again else None
    given = {TAG_TRIGGER: "api", **(tags or {}), TAG_ACTOR: actor, **mark}
    run_id = known or context.runs.launch(project, job, {key: value for key, value in given.items() if value})
    kind = "trainings" if job == "training" else "runs"
    document = {
        "id": run_id,
        "status": "queued",
        "url": f"/v1/projects/{project}/{kind}/{run_id}",
        "dagster_url": context.runs.url(run_id),
    }
    return answer(document, 202, {"Location": document["url"] or ""})


def _marked(context: Context, project: str, job: str, mark: str) -> str | None:
    """The run that a request had started whose answer was never kept."""
    runs = context.runs.list(project, job, 100)
    return next((run.id for run in runs if run.tags.get(TAG_REQUEST) == mark), None)


def _cancel(context: Context, run: Run, actor: str, reason: str) -> None:
    # The note comes first: a run that has ended must say why at once. It is shown of cancelled runs only.
    if not run.is_finished:
        note_cancellation(context.state, run.project, run.id, actor, reason)
    if run.is_finished or not context.runs.cancel(run.id):
        raise Conflict(
            "That training has ended already",
            detail=f"run {run.id} is {run.status}",
            remedy="There is nothing to cancel; GET the training to see how it ended.",
        )


def _worth_a_retry(run: Run) -> Run:
    if run.status in ("failed", "canceled"):
        return run
    raise Conflict(
        "That training is not one to try again",
        detail=f"run {run.id} is {run.status}; failed and cancelled ones can be tried again",
        remedy="Cancel it first, or start a new training.",
    )
