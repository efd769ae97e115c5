"""Who may do what: roles, and a caller with the projects and the rate its key was given.

Here belong the rules alone. Where callers come from is `ops/keys.py` and `ops/oidc.py`; which route needs which
role is `api/roles.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum

from tidemill.errors import InvalidInput


class Role(StrEnum):
    """Each role may do what those before it may."""

    VIEWER = "viewer"
    LABELER = "labeler"
    TRAINER = "trainer"
    PROMOTER = "promoter"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    @classmethod
    def of(cls, name: str) -> Role:
        """The role called `name`. Raises InvalidInput."""
        try:
            return cls(name)
        except ValueError:
            raise InvalidInput(
                "There is no such role",
                detail=repr(name),
                remedy=f"The roles are {', '.join(cls)}; each may do what those before it may.",
            ) from None


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a key or a token.

    `projects` None: all of them. `per_second`: the most requests a second, None for the box's own limit.
    `expires_at`: seconds since 1970.
    """

    name: str
    role: Role = Role.ADMIN
    projects: frozenset[str] | None = None
    per_second: float | None = None
    expires_at: float | None = None

    def may(self, role: Role) -> bool:
        return self.role.rank >= role.rank

    def reaches(self, project: str) -> bool:
        return self.projects is None or project in self.projects

    def of_these(self, projects: Collection[str]) -> list[str]:
        """Those of `projects` that are reached, in their order."""
        return [name for name in projects if self.reaches(name)]


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(slots=True)
class RateLimits:
    """Token buckets, one a caller: a second's worth of requests may come at once, then they come at the rate.

    `per_second` is for callers without a rate of their own; None limits nothing. Held in this process: of several
    workers each counts for itself. Used by one thread (the event loop).
    """

    per_second: float | None = None
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def wait(self, caller: Caller) -> float:
        """Seconds until a request may come; 0 when it may come now. Takes nothing."""
        rate = self._rate(caller)
        if rate is None:
            return 0.0
        bucket = self._filled(caller.name, rate)
        return 0.0 if bucket.tokens >= 1.0 else (1.0 - bucket.tokens) / rate

    def take(self, caller: Caller) -> float:
        """As `wait`, and a request that may come is counted."""
        wait = self.wait(caller)
        if wait == 0.0 and self._rate(caller) is not None:
            self._buckets[caller.name].tokens -= 1.0
        return wait

    def _rate(self, caller: Caller) -> float | None:
        return caller.per_second if caller.per_second is not None else self.per_second

    def _filled(self, name: str, rate: float) -> _Bucket:
        now, most = self.clock(), max(rate, 1.0)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(most, now)
        bucket.tokens = min(most, bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        return bucket
