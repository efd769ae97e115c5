"""`python -m api`: the API of the home that $TIDEMILL_HOME names, served by uvicorn in one process."""

from __future__ import annotations

import logging
import os
import sys
import threading
from types import FrameType

import uvicorn

from api.app import create_app
from api.plain_protocol import PlainProtocol
from tidemill.errors import TidemillError
from tidemill.home import Home
from tidemill.settings import load_settings

DEFAULT_PORT = 8700
GRACE_SECONDS = 8


def main() -> int:
    """Serve until told to stop. A wrong setting or home ends with one clear message, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = load_settings()
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
    Server(config, app.state.context.stopping).run()
    return 0


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
