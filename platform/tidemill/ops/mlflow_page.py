"""MLflow's own pages, on demand: whether anybody wants them, and where their server listens.

The server is a process of its own (`resources/mlflow_server.py`) that the supervisor starts when somebody opens the
pages and ends when nobody has looked for a while. It listens on a unix socket that only this user may open, so that
the API, which asks for a key, is the one way in. Nothing else of Tidemill needs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import tempfile
import time
from pathlib import Path

from tidemill.home import Home
from tidemill.ops.health import TIMEOUT, Check, Unhealthy
from tidemill.ops.state import read_state

PREFIX = "/mlflow"
# Seconds without a request after which its server is ended; it holds some hundred MB.
IDLE = 900.0


def socket_path(home: Home) -> Path:
    """Where the server listens. Unix socket paths have about 100 bytes: a deep home gets a short one."""
    path = home.run / "mlflow.sock"
    if len(os.fsencode(path)) < 100:
        return path
    short = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tidemill-{os.getuid()}-{short}.sock"


def want(home: Home) -> None:
    """Say that somebody looks at MLflow's pages now."""
    _note(home).parent.mkdir(parents=True, exist_ok=True)
    _note(home).touch()


def is_wanted(home: Home) -> bool:
    """Whether somebody looked within the last IDLE seconds."""
    try:
        return time.time() - _note(home).stat().st_mtime < IDLE
    except FileNotFoundError:
        return False


def is_supervised(home: Home) -> bool:
    """Whether a supervisor runs that would start the server."""
    state = read_state(home)
    return state is not None and state.running()


def health(home: Home) -> Check:
    """The server must answer on its socket."""

    def check(_pid: int) -> None:
        connection = _OverSocket(socket_path(home))
        try:
            connection.request("GET", f"{PREFIX}/health", headers={"Connection": "close"})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise Unhealthy(f"its socket: {type(error).__name__}") from error
        finally:
            connection.close()
        if status != 200:
            raise Unhealthy(f"its socket: answered {status}")

    return check


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def listen(home: Home) -> socket.socket:
    """The server's socket, for this user alone from its first moment on."""
    path = socket_path(home)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    return made


def _note(home: Home) -> Path:
    return home.run / "mlflow.wanted"
