"""Idempotency keys: the same request twice is done once, and its first answer is given again.

Here belong the claims on keys, their answers and their expiry, for any request of any kind. What a request is and
how its answer is written belongs to `api/idempotency.py`; what is done is the caller's.

The rules are those of the IETF draft "The Idempotency-Key HTTP Header Field": a key belongs to its sender; with
another request it is refused (422), while the first is under way too (409).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tidemill.errors import Conflict, InvalidInput
from tidemill.store.state import State, idempotency_keys

# A request that was claimed so long ago and has no answer was cut off by a crash.
CLAIM_SECONDS = 120.0

Answer = dict[str, Any]


class StillUnderWay(Conflict):
    slug = "still-under-way"
    retryable = True


@dataclass(frozen=True)
class Claim:
    """The right to do a request. `mark` stays the same at every try; `is_again` says that a try was cut off."""

    mark: str
    is_again: bool


def answer_once(
    state: State,
    actor: str,
    key: str,
    request: str,
    do: Callable[[Claim], Answer],
    *,
    keep_seconds: float,
) -> tuple[Answer, bool]:
    """The answer to `request` (its digest) under `key` of `actor`, and whether it was given before.

    `do` is called once, unless it raises or its process dies; the next try then finds `Claim.is_again`, and has to
    look whether what carries `Claim.mark` exists already. Answers are JSON documents.

    Raises InvalidInput when the key stands for another request, StillUnderWay while the first try goes on.
    """
    found = claim_or_answer(state, actor, key, request, keep_seconds)
    if not isinstance(found, Claim):
        return found, True
    try:
        made = do(found)
    except BaseException:
        release(state, actor, key)
        raise
    keep_answer(state, actor, key, made)
    return made, False


def release(state: State, actor: str, key: str) -> None:
    """Give a claim back: the request did not end well and may be tried again at once."""
    _update(state, actor, key, claimed_at=0.0)


def keep_answer(state: State, actor: str, key: str, answer: Answer) -> None:
    """Write the answer of a claimed request down, to be given again."""
    _update(state, actor, key, answer=answer)


def claim_or_answer(state: State, actor: str, key: str, request: str, keep_seconds: float) -> Claim | Answer:
    """The right to do a request, to be ended with `keep_answer` or `release`; or the answer it has already.

    Raises as `answer_once`.
    """
    table, now = idempotency_keys, time.time()
    with state.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.expires_at < now))
        query = sa.select(table).where(table.c.actor == actor, table.c.key == key)
        row = connection.execute(query).mappings().first()
        if row is None:
            mark = uuid.uuid4().hex
            values = {"actor": actor, "key": key, "request": request, "claim": mark}
            connection.execute(
                sa.insert(table).values(**values, claimed_at=now, expires_at=now + keep_seconds)
            )
            return Claim(mark, is_again=False)
        if row["request"] != request:
            raise InvalidInput(
                "That Idempotency-Key stands for another request",
                detail=f"the key {key[:60]!r} came with another path or body before",
                remedy="Make a new key for each new request; use an old one only to send the same again.",
            )
        if row["answer"] is not None:
            answer: Answer = row["answer"]
            return answer
        if now - row["claimed_at"] < CLAIM_SECONDS:
            raise StillUnderWay(
                "The same request is being answered",
                detail=f"the first request with the key {key[:60]!r} has no answer yet",
                remedy="Send it again in a moment.",
            )
        this = (table.c.actor == actor) & (table.c.key == key)
        connection.execute(sa.update(table).where(this).values(claimed_at=now))
        return Claim(row["claim"], is_again=True)


def _update(state: State, actor: str, key: str, **values: Any) -> None:
    table = idempotency_keys
    with state.begin() as connection:
        this = (table.c.actor == actor) & (table.c.key == key)
        connection.execute(sa.update(table).where(this).values(**values))
