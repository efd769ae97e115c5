"""A client of the Tidemill that runs on this box: its address and key are read from the home.

For notebooks and scripts beside the services. A program elsewhere makes a `tidemill.client.Client` itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.client import ApiError, Client
from tidemill.errors import Conflict, InvalidInput, NotReady
from tidemill.home import Home


def local_client(home: str | Path | None = None, *, timeout: float = 60.0) -> Client:
    """A client with the owner's key for the services of `home` ($TIDEMILL_HOME or `.tidemill/` by default).

    Raises NotReady when the services have never been started there.
    """
    found = Home.find(home)
    try:
        port = int(json.loads((found.run / "ports.json").read_text())["api"])
        key = (found.secrets / "owner.key").read_text().strip()
    except (OSError, ValueError, KeyError) as error:
        raise NotReady(
            "Tidemill has not been started in this home",
            detail=f"{found.root} holds no address of an API or no key",
            remedy="Run `./tidemill up --detach`, or name another home in TIDEMILL_HOME.",
        ) from error
    return Client(f"http://127.0.0.1:{port}", key, timeout=timeout)


@contextmanager
def asking(home: Home) -> Iterator[Client]:
    """A client of this home's API for a command; its errors become the command line's."""
    try:
        with local_client(home.root) as client:
            yield client
    except ApiError as error:
        kind = NotReady if error.is_retryable else Conflict if error.status == 409 else InvalidInput
        raise kind(error.title, detail=error.detail, remedy=error.remedy) from error
