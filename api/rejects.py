"""Rejected rows of a file as downloads: why each was rejected, and the rows themselves, to be mended."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response, StreamingResponse

from api.auth import require_key
from api.context import Ctx, KnownName, KnownProject
from api.ingest import require_record
from api.schema_out import problems

router = APIRouter(prefix="/v1/projects/{project}/files", tags=["files"], dependencies=[Depends(require_key)])

CSV = "text/csv; charset=utf-8"
_REJECTS = "file,line,column,value,reason\na.csv,2,weight,x,not a number\n"
_ROWS = "_file,_line,_reason,pet_id,weight\n9f2c4be01d77a3c5-a.csv,2,weight: not a number,p1,x\n"


@router.get(
    "/{file}/rejects",
    summary="Rejected rows of a file, and why",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"example": _REJECTS}}}, **problems(401, 404, 422)},
)
def get_rejects(project: KnownName, file: str, context: Ctx) -> Response:
    """One line for each rule that a rejected row breaks: file, line, column, value, reason.

    Only a head when all rows were taken. Lines stay listed after the rows were mended and sent again.
    """
    from tidemill.data.repair import rejects_list

    record = require_record(context, project, file)
    return StreamingResponse(rejects_list(context.home, project, record), media_type=CSV)


@router.get(
    "/{file}/rejected-rows",
    summary="Rejected rows of a file, to be mended",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"example": _ROWS}}}, **problems(401, 404, 409, 422)},
)
def get_rejected_rows(project: KnownProject, file: str, context: Ctx) -> Response:
    """The rejected rows as they stand in the file, after `_file`, `_line` and `_reason`: mend them, send the file.

    Those three columns may stay; they are passed over. Of a refused file, and where each file replaces the table,
    all rows are given, `_reason` being empty for good ones. 409 when the rows were not looked at one by one.
    """
    from tidemill.data.repair import rejected_rows, repair_name

    record = require_record(context, project.name, file)
    rows = rejected_rows(context.home, project, record)
    named = {"Content-Disposition": f'attachment; filename="{repair_name(record)}"'}
    # The encoding is the project's, so that the file is read as the original was; a header would contradict it.
    return StreamingResponse(rows, media_type="text/csv", headers={**named, "Content-Type": "text/csv"})
