"""The services `predictions` and `ground truth`: answers from the live model, and what turned out to be true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from api.answers import answer
from api.auth import Actor, require_key
from api.body import read_body, read_json
from api.context import Context, Ctx, KnownName, KnownProject, RequestId
from api.forms import Form, form_of, in_form, with_forms, with_forms_out
from api.idempotency import OnceRoute
from api.schema_out import LOGGED_LIST, ONE_LOGGED, PREDICTED, RECEIPT, ok
from api.schemas import TruthCreate, body_schema, inlined
from api.truths import accept_truths, truths_of
from tidemill.errors import InvalidInput, NotFound, TooLarge
from tidemill.serve.bodies import read_arrow, read_csv, read_ndjson
from tidemill.serve.prediction import Prediction
from tidemill.serve.record import MOST_FAULTS, RecordFault
from tidemill.serve.service import PredictionService

router = APIRouter(
    prefix="/v1/projects/{project}",
    tags=["predictions"],
    dependencies=[Depends(require_key)],
    route_class=OnceRoute,
)

_RECORD: dict[str, Any] = {
    "type": "object",
    "additionalProperties": True,
    "description": "Column names of the project with their values. A missing feature counts as null.",
}
_MANY = {"type": "array", "items": _RECORD}
_RECORDS = {
    "oneOf": [
        _RECORD,
        {"type": "object", "required": ["records"], "properties": {"records": _MANY}},
        _MANY,
    ]
}
_TRUTH = inlined(TruthCreate.model_json_schema())
_TRUTHS = {
    "oneOf": [
        _TRUTH,
        {
            "type": "object",
            "required": ["truths"],
            "properties": {"truths": {"type": "array", "items": _TRUTH}},
        },
    ]
}
_EXAMPLE = {"patient_id": "P-0042", "mean_radius": 14.2, "scanner": "A"}
_SEEN = {"label": "malignant", "observed_at": "2026-05-02T09:00:00Z"}


class Wanted:
    """What a request for predictions wants besides answers."""

    def __init__(
        self,
        explain: Annotated[
            bool, Query(description="Say how much each field moved the answer, where the model can tell.")
        ] = False,
        partial: Annotated[
            bool, Query(description="Answer the records that are right when others have faults.")
        ] = False,
    ) -> None:
        self.explain = explain
        self.partial = partial


@router.post(
    "/predictions",
    summary="Predict",
    openapi_extra=with_forms(
        body_schema(_RECORDS, ("One record", _EXAMPLE), ("Many records", {"records": [_EXAMPLE, _EXAMPLE]}))
    ),
    responses=with_forms_out(ok(PREDICTED, 409, 413, 415, 507)),
)
async def predict(
    request: Request,
    project: KnownName,
    context: Ctx,
    request_id: RequestId,
    wanted: Annotated[Wanted, Depends(Wanted)],
) -> Response:
    """One record, or many; an answer is in the log before it is sent.

    Of many records all are answered or none, unless `partial` is true: then each has a `status` of its own, and one
    with faults keeps no other from its answer. Records come as JSON, NDJSON, CSV or an Arrow stream, as
    Content-Type says, and answers go in the same form, or in the one that Accept names. The body may be compressed
    (Content-Encoding gzip or deflate).
    """
    failure: Exception | None = getattr(request.state, "failure", None)
    if failure is not None:
        raise failure  # met by the short way (api/prediction_route.py), which wrote nothing
    form = form_of(request.headers.get("content-type", ""))
    records, is_many = await _sent(request, form, project, context)
    wanted.partial = wanted.partial and is_many
    predicted = await _predicted(context, project, records, request_id, wanted)
    rows = predicted["predictions"]
    return in_form(request, form, rows) or answer(predicted if is_many or form != "json" else rows[0])


@router.get("/predictions", summary="The newest predictions", responses=ok(LOGGED_LIST))
def list_predictions(
    project: KnownName, context: Ctx, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> Response:
    """The newest predictions as they were logged, newest first."""
    from tidemill.store.history import recent

    return answer({"predictions": recent(context.home, project, "predictions", limit)})


@router.get("/predictions/{prediction}", summary="One prediction", responses=ok(ONE_LOGGED))
def get_prediction(project: KnownName, prediction: str, context: Ctx) -> Response:
    """One prediction as it was logged, with the truth when it is known."""
    return answer(logged(context, project, prediction))


@router.post(
    "/ground-truth",
    summary="Send what turned out to be true",
    tags=["ground truth"],
    openapi_extra=body_schema(
        _TRUTHS,
        ("By prediction", {"prediction_id": "6f9c2d0e-6f0c-4c57-9a55-0f3b8c7b0a11", **_SEEN}),
        ("Many, by entity", {"truths": [{"entity_id": "P-0042", **_SEEN}]}),
    ),
    responses=ok(RECEIPT, 413, 507),
)
async def send_truth(request: Request, project: KnownProject, context: Ctx, actor: Actor) -> Response:
    """The true label of a prediction, named by its id or by the entity's. `unmatched`: no such prediction (yet)."""
    document = await read_json(request, context.settings.max_body_bytes)
    truths = truths_of(document, context.settings.max_records)
    receipt = await anyio.to_thread.run_sync(accept_truths, context, project, truths, actor)
    return answer(receipt)


def records_of(document: Any, limit: int) -> tuple[list[Any], bool]:
    """The records of a body, and whether many were meant. Raises InvalidInput or TooLarge."""
    is_wrapped = (
        isinstance(document, dict) and set(document) == {"records"} and isinstance(document["records"], list)
    )
    records = document["records"] if is_wrapped else document
    if not isinstance(records, list):
        return [records], False
    if not records:
        raise InvalidInput(
            "There are no records", detail="the list is empty", remedy="Send at least one record."
        )
    if len(records) > limit:
        raise TooLarge(
            "Too many records at once",
            detail=f"{len(records)} records; the limit is {limit}",
            remedy="Send them in several requests, or raise TIDEMILL_MAX_RECORDS.",
            limit=limit,
        )
    return records, True


async def _sent(request: Request, form: Form, project: str, context: Context) -> tuple[list[Any], bool]:
    """The records of a request, and whether many were meant. Raises InvalidInput, TooLarge, and as `read_body`."""
    settings = context.settings
    if form == "json":
        return records_of(await read_json(request, settings.max_body_bytes), settings.max_records)
    data = await read_body(request, settings.max_body_bytes)
    read = partial(_read_rows, form, data, settings.max_records, context.service(project))
    return await anyio.to_thread.run_sync(read, limiter=context.predicting), True


def _read_rows(form: Form, data: bytes, most: int, service: PredictionService) -> list[Any]:
    if form == "csv":
        return read_csv(data, service.live().project.columns, most)
    return read_ndjson(data, most) if form == "ndjson" else read_arrow(data, most)


async def _predicted(
    context: Context, project: str, records: list[Any], request_id: str, wanted: Wanted
) -> dict[str, Any]:
    """The answer to many records; each has a `status` where a part of them may fail."""
    service = context.service(project)
    ask: Callable[..., Sequence[Prediction | list[RecordFault]]] = partial(
        service.predict_each if wanted.partial else service.predict,
        records,
        request_id,
        explain=wanted.explain,
    )
    canary = service.canary_for(records, request_id)
    if canary is None:
        found = await anyio.to_thread.run_sync(ask, limiter=context.predicting)
    else:
        with canary.room() as has_room:
            limiter = context.asking_canaries if has_room else context.predicting
            ask = partial(ask, canary_has_room=has_room)
            found = await anyio.to_thread.run_sync(ask, limiter=limiter)
    answers = [one for one in found if isinstance(one, Prediction)]
    for version, count in Counter(one.model_version for one in answers).items():
        context.metrics.predictions.labels(project, str(version)).inc(count)
    if not wanted.partial:
        return {"predictions": [one.document for one in answers]}
    return {"predictions": [_row(one) for one in found], "errors": len(found) - len(answers)}


def _row(found: Prediction | list[RecordFault]) -> dict[str, Any]:
    if isinstance(found, Prediction):
        return {"status": 200, **found.document}
    return {"status": InvalidInput.status, "faults": [fault.__dict__ for fault in found[:MOST_FAULTS]]}


def logged(context: Context, project: str, prediction: str) -> dict[str, Any]:
    """The logged event with its truth. Raises NotFound."""
    from api.truths import truth_of
    from tidemill.store.history import find

    event = find(context.home, project, prediction) if len(prediction) <= 64 else None
    if event is None:
        raise NotFound(
            "There is no such prediction",
            detail=f"project {project} has no prediction {prediction[:64]!r} in its log",
            remedy=f"GET /v1/projects/{project}/predictions lists the newest.",
        )
    return event | {"truth": truth_of(context, project, event)}
