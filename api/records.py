"""Rows sent as JSON: they become one file in the inbox, and go the way of every file from there.

Here belongs the door: the two forms of the body, how many rows, and whether they are rows at all. What they are
worth is judged by the contract, like the rows of any file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.auth import Actor, require_key
from api.body import pieces, read_json
from api.context import Context, Ctx, KnownProject
from api.ingest import WRITE_BYTES, landed, receive
from api.landing import Landing, safe_name
from api.schema_out import ONE_FILE, ok
from api.schemas import body_schema
from tidemill.data.json_rows import MAX_LINE, cells, cells_of, written
from tidemill.errors import ContractChanged, InvalidInput, TooLarge
from tidemill.project import Project

router = APIRouter(
    prefix="/v1/projects/{project}/records", tags=["files"], dependencies=[Depends(require_key)]
)
LINES = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"}
)

_ROWS = [{"patient_id": "P-0042", "mean_radius": 14.2}, {"patient_id": "P-0043", "mean_radius": None}]
_BODY = body_schema(
    {
        "type": "object",
        "required": ["records"],
        "properties": {"records": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
    },
    ("Two rows", {"records": _ROWS}),
)
_BODY["requestBody"]["content"]["application/x-ndjson"] = {
    "schema": {"type": "string"},
    "example": '{"patient_id":"P-0042","mean_radius":14.2}\n{"patient_id":"P-0043"}\n',
}


@router.post(
    "",
    status_code=202,
    summary="Send rows",
    openapi_extra=_BODY,
    responses={**ok(ONE_FILE, 409, 413, 507, status=202), **ok(ONE_FILE)},
)
async def send_records(request: Request, project: KnownProject, context: Ctx, actor: Actor) -> Response:
    """Rows as JSON, or one object a line as application/x-ndjson, which is read as it comes.

    They become a file; the answer is its record, and `GET` on its `url` tells what became of the rows. A missing
    key or null is an empty cell, a number keeps its digits. A column that the contract does not have is
    `contract-changed` (409). The same rows again give the stored record (200).
    """
    record, fresh = await _take(request, project, context)
    return landed(record, fresh, project, context, actor)


async def _take(request: Request, project: Project, context: Context) -> tuple[dict[str, Any], bool]:
    safe_name("records.ndjson", project)  # a project that takes no such file says so before it is sent
    settings = context.settings
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    with await anyio.to_thread.run_sync(Landing, context.home.inbox(project.name)) as landing:
        door = _Door(landing, list(project.columns), settings.max_sent_rows)
        if kind in LINES:
            async for lines in _whole_lines(pieces(request, settings.max_upload_bytes, "The body")):
                await anyio.to_thread.run_sync(door.add_lines, lines)
        else:
            document = await read_json(request, settings.max_body_bytes, exact_numbers=True)
            await anyio.to_thread.run_sync(door.add, _records_of(document))
        return await anyio.to_thread.run_sync(lambda: _record(door, project, context))


def _record(door: _Door, project: Project, context: Context) -> tuple[dict[str, Any], bool]:
    if not door.rows:
        raise InvalidInput(
            "There are no rows", detail="the body holds none", remedy="Send at least one record."
        )
    arrived = door.landing.arrived()
    return receive(arrived, f"records-{arrived.sha256[:12]}.ndjson", project, context)


class _Door:
    """Lets rows of the contract's columns into a landing, `limit` of them at most."""

    def __init__(self, landing: Landing, columns: list[str], limit: int) -> None:
        self.landing = landing
        self.columns = columns
        self.known = frozenset(columns)
        self.limit = limit
        self.rows = 0
        self.lines = 0

    def add(self, records: list[Any]) -> None:
        """Raises InvalidInput for what is no row, ContractChanged for other columns, TooLarge for too many."""
        rows = []
        for number, record in enumerate(records):
            try:
                rows.append(cells(record))
            except ValueError as error:
                raise _no_row(f"records[{number}]: {error}") from None
        self._let_in(rows)

    def add_lines(self, lines: bytes) -> None:
        """The same for whole lines of JSON; blank ones are passed over."""
        rows = []
        for line in lines.removesuffix(b"\n").split(b"\n"):
            self.lines += 1
            if not line.strip():
                continue
            try:
                rows.append(cells_of(line))
            except ValueError as error:
                raise _no_row(f"line {self.lines}: {error}") from None
        self._let_in(rows)

    def _let_in(self, rows: list[dict[str, str | None]]) -> None:
        self.rows += len(rows)
        if self.rows > self.limit:
            raise TooLarge(
                "There are too many rows",
                detail=f"one request may send {self.limit}",
                remedy="Send them in several requests, or as a file, or raise TIDEMILL_MAX_SENT_ROWS.",
                limit=self.limit,
            )
        added = list(dict.fromkeys(name for row in rows for name in row if name not in self.known))
        if added:
            raise ContractChanged(
                "The rows' columns are not the contract's",
                detail=f"not in the contract: {', '.join(ascii(name)[1:-1][:60] for name in added[:20])}",
                remedy="Leave them out or spell them as in project.yaml; if the data changed, add them there.",
                diff={"missing": [], "added": added[:100], "renamed": []},
            )
        self.landing.write(written(rows, self.columns))


def _records_of(document: Any) -> list[Any]:
    records = document.get("records") if isinstance(document, dict) and set(document) == {"records"} else None
    if not isinstance(records, list):
        raise InvalidInput(
            "The body holds no records",
            detail="it is not an object with the one field `records`, a list",
            remedy='Send {"records": [{...}, {...}]}, or one object a line as application/x-ndjson.',
        )
    return records


async def _whole_lines(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of about a megabyte that end where a line ends."""
    waiting = bytearray()
    async for piece in source:
        waiting += piece
        if len(waiting) < WRITE_BYTES:
            continue
        end = waiting.rfind(b"\n") + 1
        if end:
            yield bytes(waiting[:end])
            del waiting[:end]
        elif len(waiting) >= MAX_LINE:
            raise TooLarge(
                "A line has no end", detail=f"more than {MAX_LINE} bytes", remedy="Send one object a line."
            )
    if waiting:
        yield bytes(waiting)


def _no_row(detail: str) -> InvalidInput:
    return InvalidInput(
        "That is no row",
        detail=detail,
        remedy="Nothing was taken. Send objects of plain values, in JSON as RFC 8259 has it.",
    )
