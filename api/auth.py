"""Who may come in: a key in the header Authorization, known to `ops/keys.py`."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.context import Ctx
from tidemill.errors import Unauthorized

bearer = HTTPBearer(
    auto_error=False, description="A key of this home, such as the one in `secrets/owner.key`."
)


async def require_key(
    context: Ctx, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> str:
    """The name of the caller's key. Raises Unauthorized. Asks the database at most every two seconds."""
    if credentials is None:
        raise Unauthorized(
            "A key is needed",
            detail="the request has no header `Authorization: Bearer <key>`",
            remedy="`tidemill status` names the file that holds the owner's key.",
        )
    keys = context.keys
    if keys.is_stale():
        await anyio.to_thread.run_sync(keys.refresh)
    name = keys.name_of(credentials.credentials)
    if name is None and keys.is_stale(unknown=True):
        await anyio.to_thread.run_sync(lambda: keys.refresh(unknown=True))
        name = keys.name_of(credentials.credentials)
    if name is None:
        raise Unauthorized(
            "That key is not known",
            detail="it was never made here, or it was revoked",
            remedy="Use the key in the home's `secrets/owner.key`, or ask the owner for one.",
        )
    return name


Actor = Annotated[str, Depends(require_key)]
