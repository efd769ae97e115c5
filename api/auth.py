"""Who may come in: a key in the header Authorization, known to `ops/keys.py`, or a token of the team's own issuer.

Here belongs how a caller is found for a request and held against what the request wants. What roles may do is
`ops/access.py`; which route needs which is `api/roles.py`.
"""

from __future__ import annotations

import math
from typing import Annotated

import anyio.to_thread
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.context import Context, Ctx
from api.roles import needed
from tidemill.errors import Forbidden, TooManyRequests, Unauthorized
from tidemill.ops.access import Caller

bearer = HTTPBearer(
    auto_error=False, description="A key of this home, such as the one in `secrets/owner.key`."
)


async def require_caller(
    request: Request,
    context: Ctx,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """Who asks, once it is sure that they may. Asks the database at most every two seconds.

    Raises Unauthorized, TooManyRequests, or Forbidden: first for the project, so that nobody learns which there
    are, then for the role.
    """
    found: Caller | None = getattr(request.state, "caller", None)
    if found is not None:
        return found  # the route's class asked already
    if credentials is None:
        raise Unauthorized(
            "A key is needed",
            detail="the request has no header `Authorization: Bearer <key>`",
            remedy="`tidemill status` names the file that holds the owner's key.",
        )
    caller = await known(context, credentials.credentials)
    request.state.asking = caller  # for the audit log, which tells refused ones too
    hold_rate(context, caller)
    _hold_rights(request, caller)
    request.state.caller = caller
    return caller


async def require_key(caller: Annotated[Caller, Depends(require_caller)]) -> str:
    """The name of the caller, who may do what is asked."""
    return caller.name


Actor = Annotated[str, Depends(require_key)]
Asking = Annotated[Caller, Depends(require_caller)]


async def known(context: Context, key: str) -> Caller:
    """Who comes with `key`, or a token, or Unauthorized. Asks the database at most every two seconds."""
    if context.issuer is not None and key.count(".") == 2:  # a JSON Web Token; no key of ours has a dot
        return await anyio.to_thread.run_sync(context.issuer.caller_of, key)
    keys = context.keys
    if keys.is_stale():
        await anyio.to_thread.run_sync(keys.refresh)
    caller = keys.caller_of(key)
    if caller is None and keys.is_stale(unknown=True):
        await anyio.to_thread.run_sync(lambda: keys.refresh(unknown=True))
        caller = keys.caller_of(key)
    if caller is None:
        raise Unauthorized(
            "That key is not known",
            detail="it was never made here, or it was revoked or has expired",
            remedy="Use the key in the home's `secrets/owner.key`, or ask the owner for one.",
        )
    return caller


def hold_rate(context: Context, caller: Caller) -> None:
    """Raises TooManyRequests when `caller` asks too often."""
    wait = context.rates.take(caller)
    if wait > 0:
        rate = caller.per_second if caller.per_second is not None else context.rates.per_second
        raise TooManyRequests(
            "Too many requests with this key",
            detail=f"the key {caller.name!r} may send {rate:g} requests a second",
            remedy="Wait as Retry-After says and send more slowly, or many records in one request; the owner can "
            "make a key with a higher --rate.",
            retry_after=math.ceil(wait),
        )


def _hold_rights(request: Request, caller: Caller) -> None:
    project = request.path_params.get("project")
    if project is not None and not caller.reaches(project):
        raise Forbidden(
            "This key does not reach that project",
            detail=f"the key {caller.name!r} was made for {', '.join(sorted(caller.projects or ())) or 'none'}",
            remedy="Use a key of that project; the owner makes one with `./tidemill key create NAME --project P`.",
        )
    role = needed(request.method, request.scope["route"].path)
    if not caller.may(role):
        raise Forbidden(
            "This key may not do that",
            detail=f"it takes the role {role}; the key {caller.name!r} has {caller.role}",
            remedy=f"Use a key that has it; the owner makes one with `./tidemill key create NAME --role {role}`.",
        )
