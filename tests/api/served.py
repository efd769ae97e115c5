"""The real server as a process on a port, to be talked to, killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from typing import Self

import httpx

from tidemill.client import Client
from tidemill.home import CHECKOUT, Home


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """`python -m api` on `home`. Use it in a `with`; `settings` are environment variables without their prefix.

    `before` is Python that runs in it first, such as one that makes a clock go faster.
    """

    def __init__(self, home: Home, before: str = "", **settings: str) -> None:
        self.code = f"{before}\nimport sys\nfrom api.__main__ import main\nsys.exit(main())"
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        given = {f"TIDEMILL_{name.upper()}": value for name, value in settings.items()}
        self.environment = {**os.environ, **given, "TIDEMILL_API_PORT": str(self.port)}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", self.code], cwd=CHECKOUT, env=self.environment)
        until = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{self.url}/healthz", trust_env=False)
                return
            except httpx.TransportError:
                assert time.monotonic() < until
                assert self.process.poll() is None
                time.sleep(0.05)

    def kill(self) -> None:
        """As a loss of power would: without a chance to tidy up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def key(self) -> str:
        return (self.home.secrets / "owner.key").read_text().strip()

    def client(self) -> Client:
        return Client(self.url, self.key)

    def http(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30)

    def connect(self) -> socket.socket:
        """A bare connection, for requests that no client library would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)
