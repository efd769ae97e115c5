"""Into our own Label Studio without a second login: links that work once, and a session of the server's owner.

Here belong the tickets of such links and the login itself, made on the server's side with its password, which no
browser and no address ever holds. A session is all that a browser is given.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from http.cookiejar import CookieJar

import httpx

from tidemill.errors import Gone, NotReady
from tidemill.home import Home
from tidemill.ops import label_studio

LIFETIME = 60.0
MOST = 1_000
SESSION = "sessionid"
TIMEOUT = 20.0


class Tickets:
    """Tickets that lead to a path once, within a minute. They live in memory: a restart ends them all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._paths: dict[str, tuple[float, str]] = {}

    def issue(self, path: str) -> str:
        ticket = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            live = {key: found for key, found in self._paths.items() if found[0] > now}
            for oldest in list(live)[: max(0, len(live) - MOST + 1)]:
                del live[oldest]
            self._paths = live | {_digest(ticket): (now + LIFETIME, path)}
        return ticket

    def redeem(self, ticket: str) -> str:
        """The path. Raises Gone for a ticket that was used, is old, or was never given out."""
        with self._lock:
            until, path = self._paths.pop(_digest(ticket), (0.0, ""))
        if not path or until <= self._clock():
            raise Gone(
                "This link no longer works",
                detail="it was used before, or is older than a minute",
                remedy="Press Open Label Studio on the page Label again.",
            )
        return path


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()


def log_in(home: Home) -> str:
    """A session of our own server's owner, as the value of its cookie `SESSION`. Raises NotReady."""
    url = label_studio.address(home)
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False) as browser:
            browser.get("/user/login/")
            form = {
                "email": label_studio.OWNER,
                "password": label_studio.secret(home, "password"),
                "csrfmiddlewaretoken": _cookie(browser.cookies.jar, "csrftoken"),
            }
            reply = browser.post("/user/login/", data=form)
            session = _cookie(browser.cookies.jar, SESSION)
    except httpx.TransportError as error:
        raise NotReady(
            "Label Studio does not answer",
            detail=f"{url}: {type(error).__name__}",
            remedy="See `./tidemill status` and `./tidemill logs label-studio`.",
        ) from error
    if reply.status_code != 302 or not session:
        raise NotReady(
            "Label Studio did not let us in",
            detail=f"{url} answered {reply.status_code} to the login of {label_studio.OWNER}",
            remedy="Its password may have been changed there: write the new one into "
            f"{home.secrets / 'label-studio.password'}.",
        )
    return session


def _cookie(jar: CookieJar, name: str) -> str:
    return next((each.value or "" for each in jar if each.name == name), "")
