"""A real Label Studio for the tests of one session: installed once for all sessions, started on a free port."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.home import CHECKOUT, Home
from tidemill.ops import label_studio, ports, process
from tidemill.ops.health import Unhealthy

CACHE = Path("~/.cache/tidemill/label-studio").expanduser()


class Server:
    """Our own server in a home of its own; `kill` and `start` are for tests of faults."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.port = ports.any_free("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = None
        (home.run / "ports.json").write_text(json.dumps({"label_studio": self.port}))

    @property
    def token(self) -> str:
        return label_studio.secret(self.home, "token")

    def lend(self, home: Home) -> None:
        """Make this server that of another home as well."""
        for name in ("token", "password", "key", "people"):
            file = home.secrets / f"label-studio.{name}"
            file.write_text(label_studio.secret(self.home, name))
            file.chmod(0o600)
        (home.run / "ports.json").write_text(json.dumps({"label_studio": self.port}))

    def start(self, patience: float = 280.0) -> None:
        log = self.home.logs / "label-studio.log"
        command = [sys.executable, "-m", "tidemill.ops.label_studio", str(self.home.root), str(self.port)]
        self._process = process.spawn(command, cwd=CHECKOUT, env=os.environ, log=log)
        check = label_studio.health(self.home, self.port)
        deadline = time.monotonic() + patience
        while True:
            try:
                return check(self._process.pid)
            except Unhealthy as fault:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{fault}\n{log.read_text()[-3000:]}") from fault
                time.sleep(0.25)

    def kill(self) -> None:
        if self._process is not None:
            process.signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def serve(root: Path) -> Iterator[Server]:
    """The environment is shared through a link: it takes a minute and 800 MB to make."""
    home = Home(root).ensure()
    label_studio.install(CACHE)
    folder = label_studio.folder(home)
    folder.mkdir()
    (folder / "env").symlink_to(CACHE)
    server = Server(home)
    try:
        server.start()
        yield server
    finally:
        server.kill()
