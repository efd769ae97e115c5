"""The service `labels`: rounds of rows to ask about, tasks and answers of the built-in page, how it all stands."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from api.answers import answer
from api.auth import require_key
from api.body import body_of
from api.context import Context, Ctx, KnownProject
from api.idempotency import OnceRoute
from api.schema_out import (
    AGREEMENT,
    ANNOTATORS,
    LABELLING,
    NEXT_TASK,
    ONE_ANSWER,
    ROUND,
    STABILITY,
    UNDONE,
    ok,
)
from api.schemas import AnswerCreate, RoundCreate, UndoCreate, body_schema
from tidemill.errors import Conflict
from tidemill.project import Project

router = APIRouter(
    prefix="/v1/projects/{project}/labels",
    tags=["labels"],
    dependencies=[Depends(require_key)],
    route_class=OnceRoute,
)

Annotator = Annotated[str, Query(min_length=1, max_length=100, description="Who wants to answer.")]


@router.get("", summary="How labelling stands", responses=ok(LABELLING))
def get_labelling(project: KnownProject, context: Ctx) -> Response:
    """Tasks, answers, rounds, how many rows have a label, and what keeps answers from coming over."""
    from tidemill.labels.progress import progress
    from tidemill.labels.sources import trouble

    found = trouble(context.home, context.state, project)
    said = {"title": found.title, "detail": found.detail, "remedy": found.remedy} if found else None
    return answer(progress(context.home, context.state, project) | {"trouble": said})


@router.post(
    "/rounds",
    status_code=201,
    summary="Ask about more rows",
    openapi_extra=body_schema(RoundCreate, ("Twenty rows", {"budget": 20})),
    responses=ok(ROUND, 409, status=201),
)
def start_round(
    project: KnownProject, context: Ctx, body: Annotated[RoundCreate, Depends(body_of(RoundCreate))]
) -> Response:
    """Choose rows by what a model is unsure of, second looks, unsure predictions, and ask people about them."""
    from tidemill.labels import queue

    made = queue.start_round(context.home, context.state, project, budget=body.budget, strategy=body.strategy)
    document = {
        "round": made.number,
        "tasks": len(made.tasks),
        "reasons": made.reasons,
        "remarks": made.remarks,
    }
    return answer(document, 201)


@router.get("/next", summary="The next row to answer about", responses=ok(NEXT_TASK, 409))
def next_task(project: KnownProject, context: Ctx, annotator: Annotator) -> Response:
    """A row that this person has not answered or skipped; `task` is null when there is none."""
    page = _page(context, project)
    task = page.next_task(annotator)
    state = page.state()
    return answer({"task": _shown(task), "open": state.tasks - state.finished, "tasks": state.tasks})


@router.post(
    "/answers",
    summary="Answer about a row",
    openapi_extra=body_schema(
        AnswerCreate,
        ("A class", {"row": "P-0042", "label": "benign", "annotator": "ada", "lead_seconds": 4.2}),
    ),
    responses=ok(ONE_ANSWER, 409),
)
def give_answer(
    project: KnownProject, context: Ctx, body: Annotated[AnswerCreate, Depends(body_of(AnswerCreate))]
) -> Response:
    """Take one person's answer; a null label skips the row. Answering again changes the answer."""
    from tidemill.labels.classes import as_label, known_classes

    page = _page(context, project)
    label: Any = body.label
    if label is not None:
        label = as_label(label, project, known_classes(context.home, project))
    return answer(asdict(page.answer(body.row, label, body.annotator, body.lead_seconds)))


@router.post(
    "/undo",
    summary="Take back the last answer",
    openapi_extra=body_schema(UndoCreate, ("Of one person", {"annotator": "ada"})),
    responses=ok(UNDONE, 409),
)
def undo(
    project: KnownProject, context: Ctx, body: Annotated[UndoCreate, Depends(body_of(UndoCreate))]
) -> Response:
    """Take back the person's last answer or skip; the row is asked about again."""
    undone = _page(context, project).undo(body.annotator)
    return answer({"undone": asdict(undone) if undone else None})


@router.get("/agreement", summary="How far people agree", responses=ok(AGREEMENT))
def get_agreement(project: KnownProject, context: Ctx) -> Response:
    """Krippendorff's alpha, Fleiss' and Cohen's kappa with 95 % intervals, of rows with several answers."""
    from tidemill.labels.progress import agreement

    return answer({"agreement": agreement(context.state, project)})


@router.get("/annotators", summary="How each person does", responses=ok(ANNOTATORS))
def get_annotators(project: KnownProject, context: Ctx) -> Response:
    """Answers, pace, skips, agreement with the others, and right answers about rows whose label is known."""
    from tidemill.labels.progress import annotators

    return answer({"annotators": annotators(context.home, context.state, project)})


@router.get("/stability", summary="Whether more labels would change the model", responses=ok(STABILITY))
def get_stability(project: KnownProject, context: Ctx) -> Response:
    """How far successive models agree on a fixed set of rows; `stop` says that labelling can rest."""
    from tidemill.labels.stopping import stability

    return answer(asdict(stability(context.home, project)))


def _page(context: Context, project: Project) -> Any:
    """The built-in back end. Raises Conflict where people answer elsewhere."""
    from tidemill.labels.built_in import BuiltIn

    if project.labels.kind != "built-in":
        raise Conflict(
            "People do not answer here",
            detail=f"project {project.name} has labels: {project.labels.kind} in project.yaml",
            remedy="Set labels to built-in, or answer in Label Studio.",
        )
    return BuiltIn(context.state, project.name)


def _shown(task: Any) -> dict[str, Any] | None:
    if task is None:
        return None
    return {
        "row": task.row,
        "fields": task.fields,
        "suggestion": task.suggestion,
        "reason": task.reason,
        "round": task.round,
        "annotators": task.annotators,
    }
