"""Resumable uploads: tus 1.0.0 (https://tus.io/protocols/resumable-upload) with creation, termination, expiration
and checksum.

Here belongs the protocol: its headers and statuses. What lies on disk is `tidemill/data/uploads.py`; the whole file
is landed by `api/ingest.py` like any other, so that a client may use either way.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Request
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask
from starlette.responses import Response

from api.answers import answer
from api.auth import Actor, require_key
from api.body import pieces
from api.context import Context, Ctx, KnownProject
from api.ingest import WRITE_BYTES, receive, require_record, shown, start_job
from api.landing import Arrived, safe_name, shown_name
from api.problems import from_error
from api.schema_out import OPEN_UPLOADS, UPLOAD, ok, problems
from tidemill.errors import InvalidInput, TidemillError
from tidemill.project import Project

if TYPE_CHECKING:
    from tidemill.data.uploads import Part, Upload, Uploads

VERSION = "1.0.0"
EXTENSIONS = "creation,termination,expiration,checksum"
PART_TYPE = "application/offset+octet-stream"
METADATA_BYTES = 4096


class OtherVersion(TidemillError):
    status = 412
    slug = "other-version"


class OtherType(TidemillError):
    status = 415
    slug = "other-type"


class TusRoute(APIRoute):
    """A route whose every answer, problems too, says which version of the protocol it speaks."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await inner(request)
            except TidemillError as error:
                response = from_error(request, error)
            response.headers.update({"Tus-Resumable": VERSION, "Tus-Version": VERSION})
            return response

        return handle


router = APIRouter(
    prefix="/v1/projects/{project}/uploads",
    tags=["uploads"],
    dependencies=[Depends(require_key)],
    route_class=TusRoute,
)


async def _spoken(
    tus_resumable: Annotated[str | None, Header(description="The protocol's version: 1.0.0.")] = None,
) -> None:
    """Raises OtherVersion unless the client speaks ours."""
    if tus_resumable != VERSION:
        raise OtherVersion(
            "The client speaks another version of tus",
            detail=f"Tus-Resumable is {ascii(tus_resumable)[:40]}, but this is {VERSION}",
            remedy=f"Send the header Tus-Resumable: {VERSION}, or send the file whole to .../files.",
        )


async def _uploads(project: KnownProject, context: Ctx) -> Uploads:
    from tidemill.data.uploads import UploadLimits, Uploads

    settings = context.settings
    limits = UploadLimits(
        settings.max_open_uploads,
        settings.max_open_upload_bytes,
        settings.max_upload_bytes,
        settings.upload_idle_hours * 3600,
    )
    return Uploads(context.home.inbox(project.name), limits)


def _number(name: str, text: str | None) -> int:
    """A header that is a count of bytes. Raises InvalidInput."""
    from tidemill.data.uploads import DIGITS

    if text is None or not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise InvalidInput(
            f"The header {name} is not a number of bytes",
            detail=f"it is {ascii(text)[:40]}",
            remedy=f"Send {name} with a whole number from 0 on.",
        )
    return int(text)


async def _length(
    upload_length: Annotated[str | None, Header(description="The file's size in bytes.")] = None,
) -> int:
    return _number("Upload-Length", upload_length)


async def _offset(
    upload_offset: Annotated[str | None, Header(description="Where the part begins.")] = None,
) -> int:
    return _number("Upload-Offset", upload_offset)


Store = Annotated[Any, Depends(_uploads)]
Length = Annotated[int, Depends(_length)]
Offset = Annotated[int, Depends(_offset)]
Spoken = Depends(_spoken)

_HEADERS = {
    "Upload-Offset": {
        "description": "Bytes that are safe on disk.",
        "schema": {"type": "integer", "example": 5242880},
    },
    "Upload-Length": {"description": "The file's size.", "schema": {"type": "integer", "example": 734003200}},
    "Upload-Expires": {"description": "When it is forgotten.", "schema": {"type": "string"}},
    "Tidemill-File": {
        "description": "The file's id, once it is whole; Content-Location is its address.",
        "schema": {"type": "string", "example": "9f2c4be01d77a3c5"},
    },
}
_PART = {
    "requestBody": {
        "required": True,
        "content": {PART_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.options(
    "",
    status_code=204,
    response_class=Response,
    summary="What the server can do",
    responses=problems(401, 404, 422),
)
async def describe(uploads: Store) -> Response:
    """The protocol's version, its extensions and the largest file, as headers."""
    from tidemill.data.uploads import CHECKSUMS

    limits = {"Tus-Max-Size": str(uploads.limits.file_bytes), "Tus-Checksum-Algorithm": ",".join(CHECKSUMS)}
    return Response(status_code=204, headers={"Tus-Extension": EXTENSIONS, **limits})


@router.post(
    "",
    status_code=201,
    dependencies=[Spoken],
    response_class=Response,
    summary="Announce a large file",
    responses={
        201: {
            "headers": {
                "Location": {"schema": {"type": "string"}},
                "Upload-Expires": _HEADERS["Upload-Expires"],
            }
        },
        **problems(401, 404, 412, 413, 422, 429, 507),
    },
)
async def announce(
    project: KnownProject,
    uploads: Store,
    length: Length,
    upload_metadata: Annotated[
        str | None,
        Header(description="`filename` and the file's name in Base64.", examples=["filename ZGF0YS5jc3Y="]),
    ] = None,
) -> Response:
    """Begin an upload of `Upload-Length` bytes.

    The file's name is `filename` in `Upload-Metadata`, as tus clients send it; `sha256` there, its digest in hex,
    is compared at the end. `Location` is where its parts go, by PATCH; any tus client does all of this.
    """
    name = _file_name(_metadata(upload_metadata))
    safe_name(name, project)
    upload = await anyio.to_thread.run_sync(uploads.create, shown_name(name), length, upload_metadata or "")
    location = f"/v1/projects/{project.name}/uploads/{upload.id}"
    return Response(status_code=201, headers={"Location": location, **_expires(uploads, upload)})


@router.get("", summary="Uploads under way", responses=ok(OPEN_UPLOADS))
async def list_uploads(project: KnownProject, uploads: Store) -> Response:
    """The uploads that are not whole yet, and those that became a file in the last hours."""
    found = await anyio.to_thread.run_sync(uploads.list)
    return answer({"uploads": [_shown(uploads, project.name, upload) for upload in found]})


@router.head(
    "/{upload}",
    dependencies=[Spoken],
    response_class=Response,
    summary="How much of an upload has arrived",
    responses={200: {"headers": _HEADERS}, **problems(401, 404, 409, 412, 422)},
)
async def offset_of(
    project: KnownProject, upload: str, uploads: Store, context: Ctx, actor: Actor
) -> Response:
    """`Upload-Offset` is what is safe on disk: go on from there."""
    return await _answered(uploads, uploads.find(upload), project, context, actor, 200)


@router.get("/{upload}", summary="One upload", responses=ok(UPLOAD))
async def get_upload(project: KnownProject, upload: str, uploads: Store, context: Ctx) -> Response:
    """An upload as JSON, for those who speak no tus; `file` is the file's record once it is whole."""
    found = uploads.find(upload)
    document = _shown(uploads, project.name, found)
    if found.file is not None:
        record = await anyio.to_thread.run_sync(require_record, context, project.name, found.file)
        document["file"] = shown(record)
    return answer(document)


@router.patch(
    "/{upload}",
    status_code=204,
    dependencies=[Spoken],
    response_class=Response,
    summary="Send a part",
    openapi_extra=_PART,
    responses={204: {"headers": _HEADERS}, **problems(401, 404, 409, 412, 413, 415, 422, 423, 460, 507)},
)
async def send_part(
    request: Request,
    project: KnownProject,
    upload: str,
    uploads: Store,
    offset: Offset,
    context: Ctx,
    actor: Actor,
    upload_checksum: Annotated[str | None, Header(description="Such as `sha256 <Base64>`; optional.")] = None,
) -> Response:
    """The bytes from `Upload-Offset` on, as many as you like. What arrived before a cut stays.

    The answer to the last part names the file: `Tidemill-File` is its id, `Content-Location` its address. A wrong
    offset is 409, a second part at the same time 423.
    """
    found = uploads.find(upload)
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != PART_TYPE:
        raise OtherType(
            "That is no part of an upload", detail=ascii(kind)[:80], remedy=f"Send it as {PART_TYPE}."
        )
    async with contextmanager_in_threadpool(uploads.part(found, offset, upload_checksum)) as part:
        await _write(request, part, context.settings.max_upload_bytes)
    return await _answered(uploads, found, project, context, actor, 204)


@router.delete(
    "/{upload}",
    status_code=204,
    dependencies=[Spoken],
    response_class=Response,
    summary="End an upload",
    responses=problems(401, 404, 412, 422, 423),
)
async def end_upload(project: KnownProject, upload: str, uploads: Store) -> Response:  # noqa: ARG001 - in the path
    """Forget it and what arrived of it. A file that is whole already stays."""
    await anyio.to_thread.run_sync(uploads.end, uploads.find(upload))
    return Response(status_code=204)


async def _write(request: Request, part: Part, limit: int) -> None:
    """Write the body as it comes; what came before the connection was cut is written too."""
    waiting = bytearray()
    try:
        async for piece in pieces(request, limit, "The part"):
            waiting += piece
            if len(waiting) >= WRITE_BYTES:
                ready = bytes(waiting)
                waiting.clear()
                await anyio.to_thread.run_sync(part.write, ready)
    finally:
        part.write(bytes(waiting))


async def _answered(
    uploads: Uploads, upload: Upload, project: Project, context: Context, actor: str, status: int
) -> Response:
    """How far the upload is; a whole one is landed first, here or where a crash cut that off."""
    offset = uploads.offset(upload)
    task = None
    if upload.file is None and offset == upload.length:
        fresh: list[bool] = []

        def place(aside: Any) -> str:
            arrived = Arrived.read(uploads.inbox, aside)
            _check_digest(upload, arrived.sha256)
            record, is_fresh = receive(arrived, upload.name, project, context)
            fresh.append(is_fresh)
            return str(record["id"])

        upload = await anyio.to_thread.run_sync(uploads.land, upload, place)
        task = BackgroundTask(start_job, context, project.name, "ingest", actor) if any(fresh) else None
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(upload.length), **_expires(uploads, upload)}
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    if upload.file is not None:
        headers["Tidemill-File"] = upload.file
        headers["Content-Location"] = f"/v1/projects/{project.name}/files/{upload.file}"
    return Response(status_code=status, headers=headers, background=task)


def _expires(uploads: Uploads, upload: Upload) -> dict[str, str]:
    return {"Upload-Expires": formatdate(uploads.expires(upload), usegmt=True)}


def _shown(uploads: Uploads, project: str, upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "name": upload.name,
        "length": upload.length,
        "offset": uploads.offset(upload),
        "sha256": _metadata(upload.metadata).get("sha256"),
        "file": None if upload.file is None else {"id": upload.file},
        "url": f"/v1/projects/{project}/uploads/{upload.id}",
    }


def _metadata(text: str | None) -> dict[str, str]:
    """Upload-Metadata: pairs of a key and a value in Base64; those that cannot be read are left out."""
    found = {}
    for pair in (text or "").split(",") if len(text or "") <= METADATA_BYTES else ():
        key, _, value = pair.strip().partition(" ")
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            found[key] = base64.b64decode(value.strip(), validate=True).decode("utf-8")
    return found


def _check_digest(upload: Upload, sha256: str) -> None:
    """Raise ChecksumMismatch when the client announced another SHA-256 for the whole file."""
    from tidemill.data.uploads import ChecksumMismatch

    announced = _metadata(upload.metadata).get("sha256", sha256)
    if announced.lower() != sha256:
        raise ChecksumMismatch(
            "The file is not what was announced",
            detail=f"its SHA-256 is {sha256}, but {ascii(announced)[:70]} was announced",
            remedy="End the upload with DELETE and send the file again.",
        )


def _file_name(metadata: dict[str, str]) -> str:
    name = metadata.get("filename") or metadata.get("name")
    if not name:
        raise InvalidInput(
            "The file has no name",
            detail="Upload-Metadata holds no `filename` in Base64, or more than 4096 bytes",
            remedy="Send Upload-Metadata: filename <the name, such as data.csv, in Base64>.",
        )
    return name
