"""Who may look at MLflow's pages: tickets that a key gets, each of which begins one browser session.

Every worker of the API knows them: a ticket is a file that is taken away by who redeems it, a session is a cookie,
signed with a secret of the home, for the path of those pages alone. A session ends with its key. The pages show all
projects, so a key that reaches only some has none.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from tidemill.errors import Forbidden, Gone
from tidemill.home import Home
from tidemill.ops.access import Caller
from tidemill.ops.keys import KeyRing
from tidemill.store.durable import replace_bytes

COOKIE = "tidemill_mlflow"
HOURS = 12
TICKET_SECONDS = 60.0


class Sessions:
    """Tickets and sessions of one home."""

    def __init__(self, home: Home, keys: KeyRing, clock: Callable[[], float] = time.time) -> None:
        self._home = home
        self._keys = keys
        self._clock = clock

    def issue(self, caller: Caller) -> str:
        """A ticket, good once within TICKET_SECONDS. Raises Forbidden for a key of some projects only."""
        check_reach(caller)
        folder, now = self._tickets, self._clock()
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if now - old.stat().st_mtime > 2 * TICKET_SECONDS:
                    old.unlink()
        ticket = secrets.token_urlsafe(32)
        replace_bytes(folder / _digest(ticket), f"{now + TICKET_SECONDS}\n{caller.name}".encode(), mode=0o600)
        return ticket

    def redeem(self, ticket: str) -> str:
        """A session, as the value of its cookie. Raises Gone for a ticket that was used, is old, or never was."""
        file = self._tickets / _digest(ticket)
        try:
            until, name = file.read_text().split("\n", 1)
            file.unlink()  # one of two who come at once finds it gone
        except FileNotFoundError:
            until, name = "0", ""
        if float(until) <= self._clock():
            raise Gone(
                "This link no longer works",
                detail="it was used before, or is older than a minute",
                remedy="Press MLflow on the dashboard's overview again, or say `./tidemill open mlflow`.",
            )
        told = f"{int(self._clock()) + HOURS * 3600}.{base64.urlsafe_b64encode(name.encode()).decode()}"
        return f"{told}.{self._signed(told)}"

    def caller_of(self, cookie: str) -> Caller | None:
        """Whose session it is, or None when it is over, made up, or its key is no longer in force."""
        told, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._signed(told).encode(), signature.encode("utf-8", "replace")):
            return None
        until, _, name = told.partition(".")
        if int(until) <= self._clock():
            return None
        return self._keys.caller_named(base64.urlsafe_b64decode(name).decode())

    @property
    def _tickets(self) -> Path:
        return self._home.run / "mlflow-tickets"

    def _signed(self, told: str) -> str:
        return hmac.new(self._secret(), told.encode("utf-8", "replace"), "sha256").hexdigest()

    def _secret(self) -> bytes:
        file = self._home.secrets / "mlflow.session"
        with contextlib.suppress(FileNotFoundError):
            return file.read_bytes()
        replace_bytes(file, secrets.token_hex(32).encode(), mode=0o600)
        return file.read_bytes()


def check_reach(caller: Caller) -> None:
    """Raises Forbidden for a key that reaches only some projects."""
    if caller.projects is not None:
        raise Forbidden(
            "MLflow's pages show every project",
            detail=f"the key {caller.name!r} was made for {', '.join(sorted(caller.projects)) or 'none'}",
            remedy="Use a key without --project, or read the project's models through the API.",
        )


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode("utf-8", "replace")).hexdigest()
