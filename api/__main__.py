"""`python -m api [--workers N]`: the API of the home that $TIDEMILL_HOME names, served by uvicorn."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

import uvicorn

from api.workers import Workers, end_with_parent, worker_command
from tidemill.errors import TidemillError
from tidemill.home import Home
from tidemill.settings import Settings, load_settings

DEFAULT_PORT = 8700
GRACE_SECONDS = 8


def main() -> int:
    """Serve until told to stop. A wrong setting or home ends with one clear message, not a traceback."""
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--workers", type=_count, help="processes that share the port (TIDEMILL_API_WORKERS)")
    parser.add_argument("--worker", type=int, metavar="PARENT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = load_settings()
    except TidemillError as error:
        print(error, file=sys.stderr)
        return 2
    workers = options.workers or settings.api_workers
    if workers > 1 and options.worker is None:
        address = f"http://{settings.host}:{settings.api_port or DEFAULT_PORT}"
        print(f"Tidemill's API listens on {address}", flush=True)
        return Workers(worker_command(), workers, counts_of(Home.find())).run()
    return serve(settings, parent=options.worker)


def serve(settings: Settings, *, parent: int | None) -> int:
    """In this process, which as a worker shares its port and its counts with others."""
    from api.app import create_app
    from api.plain_protocol import PlainProtocol

    try:
        app = create_app(Home.find(), settings, home_id=os.environ.get("TIDEMILL_HOME_ID", ""))
    except TidemillError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"The home cannot be used: {error}\nWhat to do: check the folder and its permissions.",
            file=sys.stderr,
        )
        return 2
    port = settings.api_port or DEFAULT_PORT
    if parent is not None:
        app.state.context.metrics.share(counts_of(Home.find()))
        end_with_parent(parent)
    else:
        print(f"Tidemill's API listens on http://{settings.host}:{port}", flush=True)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        http=PlainProtocol,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        sockets = [shared_socket(settings.host, port)] if parent is not None else None
    except OSError as error:
        print(f"Port {port} of {settings.host} cannot be had: {error}", file=sys.stderr)
        return 2
    # What was imported stays: looking through it for garbage again and again would hold up answers.
    gc.collect()
    gc.freeze()
    Server(config, app.state.context.stopping).run(sockets)
    return 0


def counts_of(home: Home) -> Path:
    """Where workers leave what they counted."""
    return home.run / "api-counts"


def shared_socket(host: str, port: int) -> socket.socket:
    """A socket on a port that other workers have as well. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    shared = socket.socket(family)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind((host, port))
    return shared


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 64:
        raise ValueError
    return count


class Server(uvicorn.Server):
    """uvicorn's server, which tells open event streams to end: it would wait for them."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.set()
        super().handle_exit(sig, frame)


if __name__ == "__main__":
    sys.exit(main())
