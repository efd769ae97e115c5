"""The services `audit` and `me`: who changed what, and who one is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.answers import answer
from api.auth import Asking
from api.context import Ctx
from api.schema_out import AUDIT, ME, ok
from tidemill.store import audit

router = APIRouter(prefix="/v1", tags=["access"])


@router.get("/me", summary="Who one is", responses=ok(ME))
async def get_me(caller: Asking) -> Response:
    """The name, role and projects of the key that asks."""
    projects = None if caller.projects is None else sorted(caller.projects)
    return answer({"name": caller.name, "role": caller.role.value, "projects": projects})


@router.get("/audit", summary="The audit log", responses=ok(AUDIT))
def list_audit(
    _caller: Asking,
    context: Ctx,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, description="Entries older than this number.")] = None,
) -> Response:
    """Every request that may have changed something, newest first: who, what, when, and how it ended.

    Each entry carries the hash of the one before. `tidemill audit verify` holds the whole chain.
    """
    return answer({"entries": audit.newest(context.state, limit, before)})
