"""One request to Label Studio, and what its failure means for a person.

Here belong the token and the faults of a server: away, a stranger, refusing. What is asked is `label_studio.py`.
"""

from __future__ import annotations

from typing import Any

import httpx

from tidemill.errors import Conflict, NotReady, Unauthorized


class Connection:
    """Requests to the server at `url`. `log` says where its log is, `secret` where the token lies."""

    def __init__(self, url: str, token: str, *, log: str, secret: str, timeout: float) -> None:
        self.url = url.rstrip("/")
        self.log = log
        self._secret = secret
        self._http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Token {token}"}, timeout=timeout, trust_env=False
        )

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, **given: Any) -> Any:
        """The JSON of the reply, None for an empty one. Raises NotReady, Unauthorized or Conflict."""
        try:
            reply = self._http.request(method, path, **given)
        except httpx.TransportError as error:
            raise NotReady(
                "Label Studio does not answer",
                detail=f"{self.url}: {type(error).__name__}",
                remedy=f"See {self.log} and `./tidemill status`. The labels taken over so far stay.",
            ) from error
        what = f"{method} {self.url}{path} answered {reply.status_code}"
        if reply.status_code == 401:
            raise Unauthorized(
                "Label Studio does not know our token",
                detail=f"{what}; the token was changed there, or another server has taken its place",
                remedy=f"Put the access token of an account of that server into {self._secret}. "
                "The labels taken over so far stay.",
            )
        if reply.status_code >= 500:
            raise NotReady("Label Studio failed", detail=what, remedy=f"See {self.log}.")
        if reply.status_code >= 400:
            raise Conflict(
                "Label Studio refused a request",
                detail=f"{what}: {reply.text[:300]}",
                remedy="A project or task may have been deleted there by hand; try again, then see its log.",
            )
        if reply.status_code == 204:
            return None
        try:
            return reply.json()
        except ValueError:
            raise NotReady(
                "Another program answers in Label Studio's place",
                detail=f"{self.url}{path} did not answer JSON",
                remedy="Check the address of the Label Studio server.",
            ) from None
