"""Into our own Label Studio without a second login: links that work once, and a session of a person's own account.

Here belong the tickets of such links, making accounts, and the login itself, made on the server's side with
passwords that no browser and no address ever holds. A session is all that a browser is given.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from http.cookiejar import CookieJar

import httpx

from tidemill.errors import Gone, NotReady
from tidemill.home import Home
from tidemill.labels.label_studio_people import account_of
from tidemill.ops import label_studio

LIFETIME = 60.0
MOST = 1_000
SESSION = "sessionid"
TIMEOUT = 20.0


class Tickets:
    """Tickets that lead a person to a path once, within a minute. They live in memory: a restart ends them all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._paths: dict[str, tuple[float, str, str]] = {}

    def issue(self, path: str, person: str) -> str:
        ticket = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            live = {key: found for key, found in self._paths.items() if found[0] > now}
            for oldest in list(live)[: max(0, len(live) - MOST + 1)]:
                del live[oldest]
            self._paths = live | {_digest(ticket): (now + LIFETIME, path, person)}
        return ticket

    def redeem(self, ticket: str) -> tuple[str, str]:
        """The path and the person. Raises Gone for a ticket that was used, is old, or was never given out."""
        with self._lock:
            until, path, person = self._paths.pop(_digest(ticket), (0.0, "", ""))
        if not path or until <= self._clock():
            raise Gone(
                "This link no longer works",
                detail="it was used before, or is older than a minute",
                remedy="Ask for another where you found it, such as Open Label Studio on the page Label.",
            )
        return path, person


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()


def log_in(home: Home, person: str) -> str:
    """A session of the person's account on our own server, as the value of its cookie `SESSION`.

    The account is made when it is not there. Raises NotReady, and InvalidInput for a name that can be nobody's.
    """
    url, account = label_studio.address(home), account_of(person)
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False) as browser:
            reply = _enter(browser, "/user/login/", account, password_of(home, account))
            if reply.status_code != 302 and account != label_studio.OWNER:
                reply = _sign_up(home, browser, person, account)
            session = _cookie(browser.cookies.jar, SESSION)
    except httpx.TransportError as error:
        raise NotReady(
            "Label Studio does not answer",
            detail=f"{url}: {type(error).__name__}",
            remedy="See `./tidemill status` and `./tidemill logs label-studio`.",
        ) from error
    if reply.status_code != 302 or not session:
        file = "password" if account == label_studio.OWNER else "people"
        raise NotReady(
            "Label Studio did not let us in",
            detail=f"{url} answered {reply.status_code} to the login of {account}",
            remedy="The account's password does not follow from "
            f"{home.secrets / f'label-studio.{file}'}: bring that file back, or the password changed there.",
        )
    return session


def password_of(home: Home, account: str) -> str:
    """The password of an account: the owner's own, else one that follows from a secret, so that none is kept."""
    if account == label_studio.OWNER:
        return label_studio.secret(home, "password")
    return hmac.new(label_studio.secret(home, "people", 64).encode(), account.encode(), "sha256").hexdigest()


def _enter(browser: httpx.Client, path: str, account: str, password: str) -> httpx.Response:
    """Send a form of login or sign-up; 302 says that it was taken."""
    browser.get(path)
    token = _cookie(browser.cookies.jar, "csrftoken")
    return browser.post(path, data={"email": account, "password": password, "csrfmiddlewaretoken": token})


def _sign_up(home: Home, browser: httpx.Client, person: str, account: str) -> httpx.Response:
    """Make the account by the server's invitation, which its owner may ask for, and give it the person's name."""
    owner = {"Authorization": f"Token {label_studio.secret(home, 'token')}"}
    asked = browser.get("/api/invite", headers=owner)
    if asked.status_code != 200:
        return asked
    reply = _enter(browser, asked.json()["invite_url"], account, password_of(home, account))
    if reply.status_code == 302:
        who = browser.get("/api/current-user/whoami").json()["id"]
        named = browser.patch(
            f"/api/users/{who}",
            json={"first_name": " ".join(person.split())[:100]},
            headers={"X-CSRFToken": _cookie(browser.cookies.jar, "csrftoken")},
        )
        return reply if named.status_code == 200 else named
    return reply


def _cookie(jar: CookieJar, name: str) -> str:
    return next((each.value or "" for each in jar if each.name == name), "")
