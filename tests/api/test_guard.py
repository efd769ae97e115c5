"""The real server: slow and endless heads, bodies over the limit, starting and stopping."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from tidemill.home import CHECKOUT, Home

SLOWLY = """
import sys
from api.guard import GuardedProtocol
GuardedProtocol.head_seconds = 0.5
from api.__main__ import main
sys.exit(main())
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port(home: Home) -> Iterator[int]:
    chosen = free_port()
    environment = {
        **os.environ,
        "TIDEMILL_API_PORT": str(chosen),
        "TIDEMILL_HOME_ID": "real",
        "TIDEMILL_MAX_BODY_BYTES": "2000",
    }
    assert environment["TIDEMILL_HOME"] == str(home.root)
    server = subprocess.Popen(
        [sys.executable, "-c", SLOWLY],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                assert (
                    httpx.get(f"http://127.0.0.1:{chosen}/healthz", trust_env=False).json()["home_id"]
                    == "real"
                )
                break
            except httpx.TransportError:
                assert time.monotonic() < until
                assert server.poll() is None
                time.sleep(0.1)
        yield chosen
        server.send_signal(signal.SIGTERM)
        printed, _ = server.communicate(timeout=15)
        assert server.returncode in (0, -signal.SIGTERM)
        assert printed.decode().startswith(f"Tidemill's API listens on http://127.0.0.1:{chosen}\n")
        assert "Traceback" not in printed.decode()
    finally:
        server.kill()
        server.wait()


def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts with a pause between, and read to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        try:
            for part in parts:
                line.sendall(part)
                time.sleep(pause)
            return b"".join(iter(lambda: line.recv(65536), b""))
        except (ConnectionResetError, BrokenPipeError):
            return b""


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_heads_and_bodies_of_the_real_server(port: int, home: Home) -> None:
    slow = talk(port, b"GET /healthz HTTP/1.1\r\n", b"X-A: b\r\n", b"X-B: c\r\n", pause=0.15)
    assert status_of(slow) == 408
    assert json.loads(slow.partition(b"\r\n\r\n")[2])["type"] == "urn:tidemill:problem:too-slow"

    silent = time.monotonic()
    talk(port)
    assert time.monotonic() - silent < 5

    huge = talk(port, b"GET /healthz HTTP/1.1\r\nX-A: " + b"a" * 70_000)
    assert huge == b"" or status_of(huge) == 431

    assert status_of(talk(port, b"nonsense\r\n\r\n")) == 400

    key = (home.secrets / "owner.key").read_text().strip()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, trust_env=False
    ) as http:
        home.project_file("pets").parent.mkdir(parents=True)
        home.project_file("pets").write_text(
            "name: pets\ntask: binary\ncolumns:\n  a: {type: float}\n  b: {type: category, role: target}\n"
        )
        assert http.post("/v1/projects/pets/predictions", content=b" " * 2001).status_code == 413
        assert http.post("/v1/projects/pets/predictions", json={"a": 1}).status_code == 503
        landed = http.post(
            "/v1/projects/pets/files", files={"file": ("a.csv", b"a,b\n" + b"1,x\n" * 100_000)}
        )
        assert landed.status_code == 202
        for _ in range(3):  # one connection, several heads: the clock starts anew for each
            assert http.get("/healthz").status_code == 200
            time.sleep(0.3)


def test_a_wrong_setting_is_one_clear_message(home: Home) -> None:
    environment = {**os.environ, "TIDEMILL_API_PORT": "eighty"}
    done = subprocess.run(
        [sys.executable, "-m", "api"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "TIDEMILL_API_PORT" in done.stderr
    assert "Traceback" not in done.stderr
    assert not home.secrets.joinpath("owner.key").exists()
