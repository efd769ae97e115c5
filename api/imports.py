"""The service `models`, its imports: model files made elsewhere come in and are followed.

Here belongs taking the bytes, starting the job `<project>__imports`, which looks at them, and showing the records.
"""

from __future__ import annotations

from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from api.answers import answer
from api.auth import Actor, require_key
from api.body import pieces
from api.context import Context, Ctx, KnownName
from api.ingest import gathered, start_job
from api.landing import Arrived, Landing
from api.multipart import FILE_BODY, FormFile
from api.schema_out import IMPORTS, ONE_IMPORT, ok
from tidemill.errors import InvalidInput, NotFound, TidemillError
from tidemill.learn.imports import ledger
from tidemill.learn.imports.examine import LARGEST_BYTES, check_first_bytes, format_of

router = APIRouter(
    prefix="/v1/projects/{project}/models/imports", tags=["models"], dependencies=[Depends(require_key)]
)

# What `check_first_bytes` looks at is shorter; JSON may begin with white space.
HEAD_BYTES = 4096

Names = Annotated[list[Annotated[str, Query(max_length=200)]] | None, Query(max_length=2000)]


@router.post(
    "",
    status_code=202,
    summary="Import a model",
    openapi_extra=FILE_BODY,
    responses={**ok(ONE_IMPORT, 409, 413, 507, status=202), **ok(ONE_IMPORT)},
)
async def import_model(
    request: Request,
    project: KnownName,
    context: Ctx,
    actor: Actor,
    name: Annotated[str | None, Query(max_length=500, description="The file's name, for a raw body.")] = None,
    columns: Names = None,
    classes: Names = None,
) -> Response:
    """A model made elsewhere (ONNX, skops, LightGBM, XGBoost, CatBoost): as the field `file` of a form, or as the
    body itself with `?name=`. `columns` and `classes`, once for each, are their order in the model where the file
    does not say.

    The answer comes when the file is safe on disk; `GET` on its `url` tells which version it became or why it was
    refused. It is never deployed by itself. Bytes that are a model already give the stored record (200).
    """
    options = {"by": actor, "columns": columns or None, "classes": classes or None}
    record, fresh = await _land(request, project, context, name, options)
    document = _shown(project, record)
    response = answer(document, 202 if fresh else 200, {"Location": document["url"]})
    response.background = BackgroundTask(start_job, context, project, "imports", actor) if fresh else None
    return response


@router.get("", summary="Imported models", responses=ok(IMPORTS))
def list_imports(project: KnownName, context: Ctx) -> Response:
    """The model files sent or dropped, newest first, and what became of each."""
    return answer({"imports": [_shown(project, record) for record in ledger.records(context.home, project)]})


@router.get("/{file}", summary="One imported model", responses=ok(ONE_IMPORT))
def get_import(project: KnownName, file: str, context: Ctx) -> Response:
    """`received`, `accepted` with the `model_version`, or `refused` with the `problem`. One that is received and
    has a `problem` waits for something, such as a library, and is tried again."""
    return answer(_shown(project, ledger.record_of(context.home, project, file)))


async def _land(
    request: Request, project: str, context: Context, name: str | None, options: dict[str, Any]
) -> tuple[dict[str, Any], bool]:
    """The record of the request's file, and whether it now waits in the import folder."""
    body = pieces(request, min(context.settings.max_upload_bytes, LARGEST_BYTES), "The model")
    content_type = request.headers.get("content-type", "")
    form = FormFile(content_type, body) if content_type.lower().startswith("multipart/") else None
    if form is None and not name:
        raise InvalidInput(
            "The file has no name",
            detail="a raw body says nothing of its format",
            remedy="Add ?name=model.onnx, or send it as the field `file` of a form.",
        )
    if name:
        format_of(name)  # a name that is refused is refused before the bytes are waited for
    with await anyio.to_thread.run_sync(Landing, ledger.folder(context.home, project)) as landing:
        async for piece in gathered(form.pieces() if form else body):
            await anyio.to_thread.run_sync(landing.write, piece)
        given = name or (form.name if form else None) or ""
        return await anyio.to_thread.run_sync(
            lambda: _receive(landing.arrived(), given, project, context, options)
        )


def _receive(
    arrived: Arrived, name: str, project: str, context: Context, options: dict[str, Any]
) -> tuple[dict[str, Any], bool]:
    """Note a whole file and put it where the sensor looks. Raises ModelRefused for its name and first bytes."""
    with arrived.aside.open("rb") as handle:
        check_first_bytes(name, handle.read(HEAD_BYTES))
    try:
        known = ledger.record_of(context.home, project, arrived.sha256[:16])
    except NotFound:
        known = {}
    if known.get("status") == "accepted":
        return known, False
    about = (context.home, project, name, arrived.sha256, arrived.size)
    # Before the file appears: the job reads there who sent it and what the columns are.
    record = ledger.note_by_hash(*about, "received", **options)
    try:
        arrived.place(name, [name])
    except TidemillError as error:
        ledger.note_by_hash(*about, "refused", problem=ledger.problem_of(error))
        raise
    return record, True


def _shown(project: str, record: dict[str, Any]) -> dict[str, Any]:
    url = f"/v1/projects/{project}/models/imports/{record['id']}"
    return {"decided_at": None, **record, "url": url}
