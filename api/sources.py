"""The service `sources`: where a project's files come from, and how each source was found."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.answers import answer
from api.auth import require_key
from api.context import Ctx, KnownProject
from api.schema_out import SOURCES, ok

router = APIRouter(
    prefix="/v1/projects/{project}/sources", tags=["sources"], dependencies=[Depends(require_key)]
)


@router.get("", summary="Sources and how they were found", responses=ok(SOURCES))
def list_sources(project: KnownProject, context: Ctx) -> Response:
    """Each source of project.yaml: its state, the last look at it, what was wrong, and how many files it gave.

    `away` means that it did not answer and is looked at again; `wrong` that somebody must mend what `error` says.
    """
    from tidemill.data.sources.seen import overview

    return answer({"sources": overview(context.state, project)})
