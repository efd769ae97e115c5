"""Keys of the API: made for a role and for projects, kept as hashes, checked, expired, revoked.

A key is `tm_` and 43 characters that carry 256 random bits, so a plain SHA-256 of it is enough to recognise it
and useless to whoever reads the database. How a key travels in a request is the business of `api/`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tidemill.errors import Conflict, Corrupt, InvalidInput, NotFound
from tidemill.home import Home
from tidemill.ops.access import Caller, Role
from tidemill.store.durable import locked, replace_bytes

if TYPE_CHECKING:
    from tidemill.store.state import State

KEY = re.compile(r"tm_[A-Za-z0-9_-]{43}")
OWNER = "owner"
NAME = re.compile(r"[\w.@-]([\w .@-]{0,58}[\w.@-])?")


def new_key() -> str:
    """A fresh random key."""
    return f"tm_{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def ensure_owner_key(home: Home, state: State | None = None) -> str:
    """The owner's key of `home`, made on first use and known to `state` (default: the home's own database).

    The key lies in `secrets/owner.key`, readable by its owner only. A revoked one is replaced by a new one.
    Raises Corrupt when the file holds something else than a key.
    """
    from tidemill.store.state import open_state

    home.ensure()
    state = state or open_state(home)
    with locked(home.run / "keys.lock", wait=30.0, what="the keys"):
        key = _read_owner_key(home)
        known = _row(state, OWNER)
        if key is None or (known and known["revoked_at"] and known["sha256"] == hash_of(key)):
            key = new_key()
            replace_bytes(home.secrets / "owner.key", f"{key}\n".encode(), mode=0o600)
        if known is None or known["sha256"] != hash_of(key):
            _put(state, OWNER, key, role=Role.ADMIN.value)
    return key


def create_key(
    state: State,
    name: str,
    *,
    role: Role = Role.VIEWER,
    projects: Collection[str] | None = None,
    per_second: float | None = None,
    days: float | None = None,
) -> str:
    """A new key called `name`; it is shown this once and kept only as a hash.

    It may do what `role` may, in `projects` (None: all), `per_second` requests a second (None: the box's limit),
    for `days` (None: until it is revoked). Raises Conflict when the name is taken, InvalidInput.
    """
    if not NAME.fullmatch(name):
        raise InvalidInput(
            "A key cannot have that name",
            detail=repr(name[:100]),
            remedy="Use up to 60 letters, digits, blanks and - _ . @, such as the program's or person's name.",
        )
    for what, value in (("requests a second", per_second), ("days", days)):
        if value is not None and not 0 < value < 1e6:
            raise InvalidInput(
                f"That number of {what} is none",
                detail=repr(value),
                remedy="Say more than nothing, and less than a million; leave it out for no limit.",
            )
    known = _row(state, name)
    if known and _is_in_force(known, time.time()):
        raise Conflict(
            "There is a key of that name",
            detail=f"{name!r} was made at {known['created_at']}",
            remedy="Choose another name, or revoke that key first.",
        )
    key = new_key()
    expires_at = None if days is None else time.time() + days * 86_400
    given = {"role": str(role), "projects": None if projects is None else sorted(projects)}
    _put(state, name, key, **given, per_second=per_second, expires_at=expires_at)
    return key


def revoke_key(state: State, name: str) -> None:
    """Refuse the key called `name` from now on; a running API follows within five seconds."""
    from sqlalchemy import update

    from tidemill.store.state import api_keys, now

    if _row(state, name) is None:
        raise NotFound(
            "There is no such key",
            detail=repr(name),
            remedy="`./tidemill key list` names the keys there are.",
        )
    with state.begin() as connection:
        connection.execute(
            update(api_keys)
            .where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=now())
        )


def list_keys(state: State) -> list[dict[str, Any]]:
    """Name, rights and times of every key, oldest first. Hashes stay inside."""
    from sqlalchemy import select

    from tidemill.store.state import api_keys

    rows = state.rows(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.name))
    return [
        {
            "name": row["name"],
            "role": row["role"] or Role.ADMIN.value,
            "projects": ", ".join(row["projects"]) if row["projects"] is not None else "all",
            "per_second": row["per_second"],
            "created_at": row["created_at"],
            "expires_at": _moment(row["expires_at"]),
            "revoked_at": row["revoked_at"],
        }
        for row in rows
    ]


class KeyRing:
    """The keys in force, in memory, so that a prediction does not cost a query.

    `caller_of` answers from memory and never touches the database; call `refresh` (it blocks, so in a thread) when
    `is_stale`. `for_unknown` limits how often strangers' keys can make us ask the database.
    """

    def __init__(
        self,
        state: State,
        *,
        keep: float = 2.0,
        for_unknown: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._keep = keep
        self._for_unknown = for_unknown
        self._clock = clock
        self._callers: dict[str, Caller] = {}
        self._bearers: dict[bytes, Caller] = {}
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def is_stale(self, *, unknown: bool = False) -> bool:
        """Whether memory is too old to be believed; an `unknown` key is believed unknown for less long."""
        return self._clock() - self._read_at > (self._for_unknown if unknown else self._keep)

    def renew(self) -> None:
        """Read the keys in force again before they are stale, so that no request has to wait for it."""
        with self._lock:
            self._read()

    def refresh(self, *, unknown: bool = False) -> None:
        """Read the keys in force again, unless another thread just did."""
        with self._lock:
            if self.is_stale(unknown=unknown):
                self._read()

    def _read(self) -> None:
        from sqlalchemy import select

        from tidemill.store.state import api_keys

        started = self._clock()
        rows = self._state.rows(select(api_keys).where(api_keys.c.revoked_at.is_(None)))
        self._callers = {row["sha256"]: _caller(row) for row in rows}
        self._bearers = {}
        self._read_at = started

    def caller_of(self, key: str) -> Caller | None:
        """Who comes with `key`, or None for one that is not in force."""
        caller = self._callers.get(hash_of(key))
        return None if caller is None or _has_expired(caller) else caller

    def caller_named(self, name: str) -> Caller | None:
        """Whose key is called `name`, or None when there is none in force."""
        found = next((caller for caller in self._callers.values() if caller.name == name), None)
        return None if found is None or _has_expired(found) else found

    def caller_of_bearer(self, header: bytes) -> Caller | None:
        """Who comes with a header `Authorization: Bearer <key>`.

        Which header is whose is remembered until the keys are read again: hashing costs more than scoring.
        """
        bearers = self._bearers  # before the callers: a reading in between leaves the old ones behind
        caller = bearers.get(header)
        if caller is None and header[:7] == b"Bearer ":
            caller = self.caller_of(header[7:].decode("latin-1"))
            if caller is not None:
                bearers[header] = caller  # of known keys only, so strangers cannot fill the memory
        return None if caller is None or _has_expired(caller) else caller


def _read_owner_key(home: Home) -> str | None:
    file = home.secrets / "owner.key"
    try:
        key = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        key = ""
    if not KEY.fullmatch(key):
        raise Corrupt(
            "The owner's key file holds no key",
            detail=str(file),
            remedy="Restore the file, or remove it: a new key is made at the next start.",
        )
    if file.stat().st_mode & 0o077:
        with suppress(PermissionError):  # not our file to change; reading it was allowed
            file.chmod(0o600)
    return key


def _row(state: State, name: str) -> dict[str, Any] | None:
    from sqlalchemy import select

    from tidemill.store.state import api_keys

    return next(iter(state.rows(select(api_keys).where(api_keys.c.name == name))), None)


def _put(state: State, name: str, key: str, **rights: Any) -> None:
    from sqlalchemy import delete, insert

    from tidemill.store.state import api_keys, now

    with state.begin() as connection:
        connection.execute(delete(api_keys).where(api_keys.c.name == name))
        connection.execute(
            insert(api_keys).values(
                name=name, sha256=hash_of(key), created_at=now(), revoked_at=None, **rights
            )
        )


def _caller(row: dict[str, Any]) -> Caller:
    projects = row["projects"]
    return Caller(
        row["name"],
        Role(row["role"] or Role.ADMIN),
        None if projects is None else frozenset(projects),
        row["per_second"],
        row["expires_at"],
    )


def _has_expired(caller: Caller) -> bool:
    return caller.expires_at is not None and caller.expires_at <= time.time()


def _is_in_force(row: dict[str, Any], moment: float) -> bool:
    return not row["revoked_at"] and (row["expires_at"] is None or row["expires_at"] > moment)


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
