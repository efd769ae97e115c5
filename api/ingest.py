"""The service `files`: data comes in. Files are landed in the inbox and ingested by a Dagster job."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from api.answers import answer
from api.auth import Actor, require_key
from api.body import pieces
from api.context import Context, Ctx, KnownName, KnownProject
from api.event_stream import Event, follow
from api.landing import Arrived, Landing, patterns_of, safe_name, shown_name
from api.multipart import FILE_BODY, FormFile
from api.schema_out import FILE_EVENTS, FILES, ONE_FILE, ok, stream
from tidemill.errors import InvalidInput, NotFound, TidemillError
from tidemill.ops.runs import TAG_ACTOR
from tidemill.project import Project

router = APIRouter(prefix="/v1/projects/{project}/files", tags=["files"], dependencies=[Depends(require_key)])
WRITE_BYTES = 1_048_576


@router.post(
    "",
    status_code=202,
    summary="Send a file",
    openapi_extra=FILE_BODY,
    responses={**ok(ONE_FILE, 409, 413, 507, status=202), **ok(ONE_FILE)},
)
async def send_file(
    request: Request,
    project: KnownProject,
    context: Ctx,
    actor: Actor,
    name: Annotated[str | None, Query(max_length=500, description="The file's name, for a raw body.")] = None,
) -> Response:
    """A CSV or Excel file: as the field `file` of a form, or as the body itself with `?name=`.

    The answer comes when the file is safe on disk; `GET` on its `url` tells when it has been accepted or refused.
    The same bytes again give the stored record (200).
    """
    record, fresh = await land(request, project, context, name)
    return landed(record, fresh, project, context, actor)


@router.get("", summary="Files and what became of them", responses=ok(FILES))
def list_files(project: KnownName, context: Ctx) -> Response:
    """The files sent or dropped, newest first."""
    from tidemill.data import ledger
    from tidemill.data.progress import progress_of

    progress, found = progress_of(context.home, project), how_written(context, project)
    records = ledger.list_files(context.state, project)
    return answer({"files": [shown(record, progress, found.get(record["id"])) for record in records]})


@router.get("/{file}", summary="One file", responses=ok(ONE_FILE))
def get_file(project: KnownName, file: str, context: Ctx) -> Response:
    """One file: its rows, how many were accepted and rejected, or why it was refused.

    Files are taken in after they were received, so a refusal is told here: `problem` is the problem document that
    the file met. Its type `urn:tidemill:problem:contract-changed` (status 409) stands for other columns or types
    than the contract's; `diff` holds them as `missing`, `added`, `renamed` and `changed`. The data stays as it was.
    """
    return answer(current(context, project, file))


@router.get(
    "/{file}/events",
    summary="Follow one file",
    response_class=Response,
    responses={**stream(FILE_EVENTS), 204: {"description": "The last event was received already"}},
)
async def follow_file(
    project: KnownName,
    file: str,
    context: Ctx,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
) -> Response:
    """The same as server-sent events, one for each change: `received`, `processing` and at last `accepted` or
    `refused`, after which the stream ends. `data` is the file as JSON. A comment comes every few seconds, so that
    proxies keep the connection."""

    def look() -> Event:
        document = current(context, project, file)
        return Event(document["status"], document, is_last=document["status"] in ("accepted", "refused"))

    return await follow(look, context, last_event_id)


async def land(
    request: Request, project: Project, context: Context, name: str | None
) -> tuple[dict[str, Any], bool]:
    """Land the request's file: its record in the ledger, and whether it now waits in the inbox."""
    limit = context.settings.max_upload_bytes
    content_type = request.headers.get("content-type", "")
    body = pieces(request, limit, "The file")
    form = FormFile(content_type, body) if content_type.lower().startswith("multipart/") else None
    if form is None and not name:
        raise InvalidInput(
            "The file has no name",
            detail="a raw body says nothing of its format",
            remedy="Add ?name=data.csv (or .xlsx), or send it as the field `file` of a form.",
        )
    if form is None:
        safe_name(name or "", project)  # a name that is refused is refused before the bytes are waited for
    with await anyio.to_thread.run_sync(Landing, context.home.inbox(project.name)) as landing:
        async for piece in gathered(form.pieces() if form else body):
            await anyio.to_thread.run_sync(landing.write, piece)
        given = name or (form.name if form else None) or "file"
        return await anyio.to_thread.run_sync(lambda: receive(landing.arrived(), given, project, context))


def receive(arrived: Arrived, given: str, project: Project, context: Context) -> tuple[dict[str, Any], bool]:
    """Note a whole file in the ledger and put it into the inbox, unless the table holds its bytes already.

    Its record, and whether it now waits in the inbox.
    """
    from tidemill.data import ledger

    if arrived.size == 0:
        raise InvalidInput(
            "The file is empty",
            detail=f"{shown_name(given)} has no bytes",
            remedy="Send a file with a header and rows.",
        )
    name = safe_name(given, project)
    receipt = ledger.receive(
        context.state,
        project.name,
        sha256=arrived.sha256,
        name=shown_name(given),
        size=arrived.size,
        origin="api",
    )
    if receipt.wanted:
        arrived.place(name, patterns_of(project))
    return receipt.record, receipt.wanted


def landed(record: dict[str, Any], fresh: bool, project: Project, context: Context, actor: str) -> Response:
    """The answer to what has landed; what is `fresh` is taken in after it."""
    response = answer(shown(record), 202 if fresh else 200)
    response.background = BackgroundTask(start_job, context, project.name, "ingest", actor) if fresh else None
    return response


async def gathered(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of about a megabyte: a thread for each packet would cost more than the writing."""
    waiting = bytearray()
    async for piece in source:
        waiting += piece
        if len(waiting) >= WRITE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def start_job(context: Context, project: str, job: str, actor: str) -> None:
    """Start the job that takes a file, now. When Dagster is away that is no error: its sensor does it later."""
    with contextlib.suppress(TidemillError):
        context.runs.launch(project, job, {TAG_ACTOR: actor})


def require_record(context: Context, project: str, file: str) -> dict[str, Any]:
    """The ledger's record of a file. Raises NotFound."""
    from tidemill.data import ledger

    record = ledger.file_record(context.state, project, file)
    if record is None:
        raise NotFound(
            "There is no such file",
            detail=f"project {project} never received a file {file[:40]!r}",
            remedy=f"GET /v1/projects/{project}/files lists the files there are.",
        )
    return record


def current(context: Context, project: str, file: str) -> dict[str, Any]:
    """A file as it is at this moment. Raises NotFound."""
    from tidemill.data.progress import progress_of

    # In this order: a run that ends in between has written its outcome before its progress goes.
    progress = progress_of(context.home, project)
    record = require_record(context, project, file)
    found = how_written(context, project) if record["status"] == "accepted" else {}
    return shown(record, progress, found.get(record["id"]))


def how_written(context: Context, project: str) -> dict[str, Any]:
    """File id -> how the file is written (encoding, sheet ...), for the files that the table is made of."""
    from tidemill.store.tables import TableStore

    newest = TableStore(context.home.tables(project)).current("raw")
    return {source["id"]: source.get("found") for source in newest.sources} if newest else {}


def shown(
    record: dict[str, Any], progress: dict[str, Any] | None = None, found: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A record of the ledger as the API shows it.

    `progress` is that of the file being taken in, if any is; `found` says how this one is written, where known.
    """
    document = {key: value for key, value in record.items() if key not in ("project", "origin")}
    version = record["dataset_version"]
    is_under_way = (
        progress is not None and progress["file"] == record["id"] and record["status"] == "received"
    )
    return document | {
        "status": "processing" if is_under_way else record["status"],
        "progress": {key: value for key, value in (progress or {}).items() if key != "file"}
        if is_under_way
        else None,
        "dataset": f"raw@{version}" if version is not None else None,
        "found": found,
        "url": f"/v1/projects/{record['project']}/files/{record['id']}",
    }
