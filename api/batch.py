"""The service `batch predictions`: a whole file is scored beside the online path, and its result fetched later."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse, Response

from api.answers import answer
from api.auth import require_key
from api.body import pieces
from api.context import Context, Ctx, KnownName, KnownProject
from api.ingest import gathered, require_record
from api.landing import Landing, shown_name
from api.multipart import FormFile
from api.schema_out import BATCH, ok, problems
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.learn.bundle_info import load_info
from tidemill.serve import batch_jobs, deployment

router = APIRouter(
    prefix="/v1/projects/{project}/batch-predictions",
    tags=["batch predictions"],
    dependencies=[Depends(require_key)],
)

TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_BINARY = {"type": "string", "format": "binary"}
_FILE = {
    "requestBody": {
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _BINARY}}},
            "application/octet-stream": {"schema": _BINARY},
        }
    }
}
_RESULT = "_line,pet_id,weight,_prediction,_score,_p_no,_p_yes,_flags,_error,_model_version\n"


@router.post(
    "",
    status_code=202,
    summary="Score a file",
    openapi_extra=_FILE,
    responses=ok(BATCH, 413, 507, status=202),
)
async def start_batch(
    request: Request,
    project: KnownProject,
    context: Ctx,
    name: Annotated[str | None, Query(max_length=500, description="The file's name, for a raw body.")] = None,
    file: Annotated[
        str | None, Query(max_length=100, description="A file sent before, in place of a body.")
    ] = None,
    format: Annotated[Literal["csv", "parquet"], Query(description="Of the result.")] = "csv",
    version: Annotated[int | None, Query(ge=1, description="The model; the deployed one when unset.")] = None,
    log: Annotated[bool, Query(description="Whether the answers go into the prediction log.")] = False,
) -> Response:
    """Every row of a file through a model: CSV, Excel, Parquet or JSON lines, as a body, a form or by the id of a
    file. Rows that break the contract are in the result with an error beside them.

    The answer comes when the file is safe on disk; `GET` on its `url` tells how far the work is.
    """
    # What is wrong with the request is said before what is missing here.
    if file is None:
        form, given = _sent(request, context, name)
    else:
        source, given = await anyio.to_thread.run_sync(_known_file, context, project.name, file)
    await anyio.to_thread.run_sync(_check_model, context, project.name, version)
    folder = await anyio.to_thread.run_sync(batch_jobs.new_folder, context.home, project.name)
    if file is None:
        source, given = await _landed(form or request, folder, given, context)
    job = await anyio.to_thread.run_sync(
        lambda: batch_jobs.submit(context.home, folder, project.name, given, source, format, version, log=log)
    )
    document = _shown(project.name, job)
    return answer(document, 202, {"Location": document["url"]})


@router.get("/{batch}", summary="How far a batch is", responses=ok(BATCH))
def get_batch(project: KnownName, batch: str, context: Ctx) -> Response:
    """`queued`, `running`, `succeeded` or `failed`, with the rows done and how many of them have an error."""
    return answer(_shown(project, batch_jobs.state_of(context.home, project, batch)))


@router.get(
    "/{batch}/result",
    summary="The result of a batch",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"example": _RESULT}}}, **problems(401, 404, 409, 422)},
)
def get_result(project: KnownName, batch: str, context: Ctx) -> Response:
    """The file's rows in their order with `_prediction`, `_score`, the probability of each class, `_flags` and
    `_error`. 409 while there is none. Results are kept for a week."""
    state = batch_jobs.state_of(context.home, project, batch)
    result = batch_jobs.result_of(context.home, project, batch)
    if result is None or state["status"] != "succeeded":
        raise Conflict(
            "There is no result",
            detail=f"batch {batch} is {state['status']}",
            remedy="Wait while it is queued or running; when it failed, `problem` says why.",
        )
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(state["name"]).stem)[:80] or "file"
    return FileResponse(
        result, media_type=TYPES[state["format"]], filename=f"{stem}.predictions.{state['format']}"
    )


def _shown(project: str, state: dict[str, Any]) -> dict[str, Any]:
    url = f"/v1/projects/{project}/batch-predictions/{state['id']}"
    return state | {"url": url, "result_url": f"{url}/result" if state["status"] == "succeeded" else None}


def _check_model(context: Context, project: str, version: int | None) -> None:
    """Refuse before the bytes are waited for. Raises NotFound or NotReady."""
    if version is not None:
        load_info(context.home.models(project), version)
    elif deployment.current(context.state, project) is None:
        context.service(project).load_now()


def _known_file(context: Context, project: str, file: str) -> tuple[Path, str]:
    """The original of a file that was sent before, and its name. Raises NotFound."""
    record = require_record(context, project, file)
    path = next(context.home.files(project).glob(f"{record['id']}-*"), None)
    if path is None:
        raise NotFound(
            "The file is not there to be scored",
            detail=f"{record['name']} is {record['status']}",
            remedy="Wait until it is taken in, or send it here as the body.",
        )
    return path, str(record["name"])


def _sent(request: Request, context: Context, name: str | None) -> tuple[FormFile | None, str]:
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/"):
        body = pieces(request, context.settings.max_upload_bytes, "The file")
        return FormFile(content_type, body), name or ""
    if not name:
        raise InvalidInput(
            "The file has no name",
            detail="a raw body says nothing of its format",
            remedy="Add ?name=data.csv (or .xlsx), send it as the field `file` of a form, or name a file sent "
            "before with ?file=.",
        )
    _suffixes(name)
    return None, name


async def _landed(form: FormFile | Request, folder: Path, given: str, context: Context) -> tuple[Path, str]:
    """The body as a file of its own in the job's folder, and what its sender calls it."""
    limit = context.settings.max_upload_bytes
    body = form.pieces() if isinstance(form, FormFile) else pieces(form, limit, "The file")
    with await anyio.to_thread.run_sync(Landing, folder) as landing:
        async for piece in gathered(body):
            await anyio.to_thread.run_sync(landing.write, piece)
        arrived = await anyio.to_thread.run_sync(landing.arrived)
        named = given or (form.name if isinstance(form, FormFile) else None) or "file"
        source = folder / f"source{_suffixes(named)}"
        arrived.aside.rename(source)
    return source, shown_name(named)


def _suffixes(name: str) -> str:
    """What the name says of the format, such as .csv or .csv.gz. Raises InvalidInput."""
    found = re.search(r"((\.[A-Za-z0-9]{1,8}){1,2})$", name)
    if found is None:
        raise InvalidInput(
            "The file's name has no suffix",
            detail="it does not say what kind of file it is",
            remedy="Send a name such as data.csv or data.xlsx.",
        )
    return found[1].lower()
