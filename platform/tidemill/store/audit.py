"""The audit log: who changed what, when, and how it ended; only ever appended to, each entry sealed by the next.

The hash of an entry is SHA-256 over its members and the hash of the entry before, as in RFC 6962's spirit but as a
plain chain: an entry that is altered, dropped or put in between breaks every hash after it. Whoever may write the
database could still make the whole chain anew, so keep a head (`./tidemill audit verify` prints it) elsewhere, and
hold the log against it later.

Here belong entries and their chain. What is worth an entry is said by the callers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from tidemill.errors import Corrupt, NotFound
from tidemill.store.state import State, audit_entries, now

# The hash that the first entry names as the one before.
START = "0" * 64
POSTGRES_LOCK = 7_021_993
PAGE = 1000


def append(
    state: State,
    actor: str,
    action: str,
    *,
    role: str = "",
    project: str | None = None,
    subject: Mapping[str, Any] | None = None,
    status: int = 200,
    request_id: str = "",
) -> int:
    """Write one entry and return its number, counted from 1 without gaps. Blocks for one transaction."""
    with state.begin() as connection:
        if connection.dialect.name == "postgresql":
            # SQLite's transactions exclude each other from their start.
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({POSTGRES_LOCK})"))
        newest = sa.select(audit_entries.c.seq, audit_entries.c.hash).order_by(audit_entries.c.seq.desc())
        last = connection.execute(newest.limit(1)).first()
        seq: int = last.seq + 1 if last else 1
        entry = {
            "seq": seq,
            "at": now(),
            "actor": actor,
            "role": role,
            "action": action,
            "project": project,
            "subject": dict(subject or {}),
            "status": status,
            "request_id": request_id,
            "previous": last.hash if last else START,
        }
        connection.execute(sa.insert(audit_entries).values(**entry, hash=digest(entry)))
    return seq


def digest(entry: Mapping[str, Any]) -> str:
    """SHA-256 in hex of an entry without its own hash, written as JSON with sorted names."""
    members = {name: value for name, value in entry.items() if name != "hash"}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def newest(state: State, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """The newest entries, newest first; those before the number `before` when it is given."""
    query = sa.select(audit_entries).order_by(audit_entries.c.seq.desc()).limit(limit)
    return state.rows(query if before is None else query.where(audit_entries.c.seq < before))


def entries(state: State) -> Iterator[dict[str, Any]]:
    """All entries, oldest first, read in pages."""
    seen = 0
    while True:
        query = sa.select(audit_entries).where(audit_entries.c.seq > seen).order_by(audit_entries.c.seq)
        page = state.rows(query.limit(PAGE))
        yield from page
        if len(page) < PAGE:
            return
        seen = page[-1]["seq"]


def verify(state: State, head: str | None = None) -> tuple[int, str]:
    """How many entries there are and the hash of the newest, once every link of the chain has been held.

    `head`: a hash that was noted earlier and must still be in the chain. Raises Corrupt naming the first entry
    that does not fit, NotFound when no entry has the hash `head`.
    """
    count, last, has_head = 0, START, head in (None, START)
    for entry in entries(state):
        count += 1
        if entry["seq"] != count or entry["previous"] != last or entry["hash"] != digest(entry):
            raise Corrupt(
                "The audit log was tampered with",
                detail=f"entry {entry['seq']} ({entry['action']}, {entry['at']}) does not follow entry {count - 1}",
                remedy="Entries before it can be trusted. Look at the database's backups for what was changed.",
            )
        last = entry["hash"]
        has_head = has_head or last == head
    if not has_head:
        raise NotFound(
            "The audit log does not hold that head",
            detail=f"none of its {count} entries has the hash {head}",
            remedy="If it was noted from this home, the log was made anew since: compare with a backup.",
        )
    return count, last
