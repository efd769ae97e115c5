"""Callers with a bearer token of the team's own OpenID Connect issuer, such as Keycloak, instead of a key of ours.

Here belongs what makes a token good (RFC 7519, RFC 9068, OpenID Connect Discovery 1.0): signed by a key the issuer
publishes, for us, in force, and with one of our roles among its claims. Nothing is fetched unless an issuer is set.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.errors import NotReady, Unauthorized
from tidemill.ops.access import Caller, Role

if TYPE_CHECKING:
    import jwt

# Signatures by a public key alone: with a shared secret whoever may check a token could make one.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
ROLE_PREFIX = "tidemill-"
LEEWAY_SECONDS = 30
FETCH_SECONDS = 10.0
KEEP_SECONDS = 60.0
MOST_KEPT = 1000


@dataclass(frozen=True)
class _Known:
    caller: Caller
    until: float


class Issuer:
    """One issuer, and the tokens of it that were found good within the last minute.

    `roles` and `projects` name the claims that hold them, with dots between levels. Of the roles those count that
    begin with `tidemill-`, and of these the highest; without a claim of projects all are reached.
    """

    def __init__(
        self, url: str, audience: str, *, roles: str = "roles", projects: str = "tidemill_projects"
    ) -> None:
        self._url = url
        self._audience = audience
        self._roles = roles
        self._projects = projects
        self._keys: jwt.PyJWKClient | None = None
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def caller_of(self, token: str) -> Caller:
        """Who comes with `token`. Blocks when it is new. Raises Unauthorized, or NotReady: the issuer is away."""
        mark = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        known = self._known.get(mark)
        if known is not None and known.until > time.time():
            return known.caller
        claims = self._claims(token)
        caller = self._caller(claims)
        with self._lock:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[mark] = _Known(caller, min(float(claims["exp"]), time.time() + KEEP_SECONDS))
        return caller

    def _claims(self, token: str) -> dict[str, Any]:
        import jwt

        try:
            key = self._published().get_signing_key_from_jwt(token)
            return jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._url,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            self._keys = None
            raise self._away(str(error)) from error
        except (jwt.PyJWTError, ValueError) as error:
            raise Unauthorized(
                "That token is not good",
                detail=f"{type(error).__name__}: it has to be signed by {self._url} for {self._audience!r}",
                remedy="Sign in again for a fresh token; see that issuer and audience are those of the settings.",
            ) from error

    def _published(self) -> jwt.PyJWKClient:
        """The issuer's published keys, kept for five minutes."""
        import jwt

        with self._lock:
            if self._keys is None:
                self._keys = jwt.PyJWKClient(self._keys_url(), timeout=FETCH_SECONDS)
            return self._keys

    def _keys_url(self) -> str:
        import httpx

        where = f"{self._url.rstrip('/')}/.well-known/openid-configuration"
        try:
            document = httpx.get(where, timeout=FETCH_SECONDS).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(f"{where}: {type(error).__name__}") from error
        if not isinstance(document, dict) or document.get("issuer") != self._url:
            raise self._away(f"{where} does not describe this issuer")
        return str(document.get("jwks_uri"))

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        granted = _strings(_at(claims, self._roles))
        names = {name.removeprefix(ROLE_PREFIX) for name in granted if name.startswith(ROLE_PREFIX)}
        roles = [role for role in Role if role.value in names]
        if not roles:
            raise Unauthorized(
                "That token carries no role of ours",
                detail=f"the claim {self._roles} names none of {', '.join(ROLE_PREFIX + role for role in Role)}",
                remedy="Ask whoever runs the issuer for one of these roles.",
            )
        projects = _at(claims, self._projects)
        name = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
        return Caller(
            # A name of theirs must not pass for a key of ours in a log.
            f"oidc:{name[:100]}",
            max(roles, key=lambda role: role.rank),
            None if projects is None else frozenset(_strings(projects)),
            expires_at=float(claims["exp"]),
        )

    def _away(self, detail: str) -> NotReady:
        return NotReady(
            "The issuer of tokens does not answer",
            detail=f"{self._url}: {detail}",
            remedy="Use a key of this home meanwhile; see that TIDEMILL_OIDC_ISSUER is right and can be reached.",
        )


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim at `path`: by its whole name, as names may hold dots, else level by level."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
