"""platform/deploy/nginx.conf with the real nginx before two real processes of the API on one home."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.api.served import Served, free_port
from tidemill.home import CHECKOUT, Home
from tidemill.ops.keys import ensure_owner_key

CONFIGURATION = CHECKOUT / "platform" / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
PETS = "/v1/projects/pets"
RECORD = {"kind": "cat", "weight": 3.0}

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (`apt install nginx-light`)")


class Dashboard:
    """Stands for Streamlit: tells what reached it."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(dict(self.headers)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Split:
    """nginx and what stands behind it."""

    def __init__(self, url: str, key: str, processes: list[Served]) -> None:
        self.url = url
        self.processes = processes
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30
        )

    def served_by(self) -> list[int]:
        """How many predictions each process that lives has answered."""
        found = []
        for each in self.processes:
            try:
                text = httpx.get(f"{each.url}/metrics", trust_env=False).text
            except httpx.TransportError:
                continue
            lines = [line for line in text.splitlines() if line.startswith("tidemill_predictions_total")]
            found.append(int(sum(float(line.rsplit(" ", 1)[1]) for line in lines)))
        return found


def written(folder: Path, ports: dict[str, int]) -> Path:
    """The configuration as it is shipped, with other addresses and files."""
    text = CONFIGURATION.read_text()
    users = folder / "users"
    salted = base64.b64encode(hashlib.sha1(b"secretsalt").digest() + b"salt").decode()
    users.write_text(f"ada:{{SSHA}}{salted}\n")
    for old, new in ports.items():
        assert old in text, old
        text = text.replace(old, f"127.0.0.1:{new}")
    text = text.replace("/etc/tidemill/users", str(users)).replace(
        "/run/tidemill-nginx.pid", str(folder / "pid")
    )
    text = text.replace("/tmp/tidemill-nginx", str(folder / "tmp"))
    file = folder / "nginx.conf"
    file.write_text(text)
    return file


@pytest.fixture
def split(deployed: FastAPI, home: Home, tmp_path: Path) -> Iterator[Split]:
    deployed.state.context.state.engine.dispose()
    port = free_port()
    dashboard = Dashboard()
    with Served(home) as one, Served(home) as two:
        ports = {
            "127.0.0.1:8780": port,
            "127.0.0.1:8700": one.port,
            "127.0.0.1:8710": two.port,
            "127.0.0.1:8701": dashboard.port,
        }
        file = written(tmp_path, ports)
        # As root its workers would be somebody who may not read this test's folder.
        user = "user root; " if os.geteuid() == 0 else ""
        command = [str(NGINX), "-c", str(file), "-g", f"{user}daemon off;"]
        nginx = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        made = Split(f"http://127.0.0.1:{port}", ensure_owner_key(home), [one, two])
        try:
            until = time.monotonic() + 30
            while True:
                try:
                    assert made.http.get("/healthz").status_code == 200
                    break
                except httpx.TransportError:
                    assert nginx.poll() is None, nginx.stderr and nginx.stderr.read()
                    assert time.monotonic() < until
                    time.sleep(0.05)
            yield made
        finally:
            made.http.close()
            nginx.terminate()
            nginx.communicate(timeout=30)
            dashboard.close()


def test_two_processes_share_predictions_and_one_log(split: Split) -> None:
    answers = [split.http.post(f"{PETS}/predictions", json=RECORD) for _ in range(40)]
    assert {each.status_code for each in answers} == {200}
    shares = split.served_by()
    assert sum(shares) == 40
    assert min(shares) > 0
    ids = {each.json()["id"] for each in answers}
    logged = split.http.get(f"{PETS}/predictions?limit=1000").json()["predictions"]
    assert {each["id"] for each in logged} == ids
    assert len(logged) == 40


def test_a_process_that_dies_takes_no_request_with_it_that_it_had_not_begun(split: Split) -> None:
    for _ in range(4):
        split.http.post(f"{PETS}/predictions", json=RECORD)
    split.processes[1].kill()
    answers = [split.http.post(f"{PETS}/predictions", json=RECORD) for _ in range(20)]
    assert {each.status_code for each in answers} == {200}
    logged = split.http.get(f"{PETS}/predictions?limit=1000").json()["predictions"]
    assert len(logged) == 24
    split.processes[1].start()


def test_the_rest_goes_to_one_process_and_keys_are_held_there(split: Split) -> None:
    assert split.http.get("/v1/projects").json()["projects"][0]["name"] == "pets"
    assert split.http.get("/v1/projects", headers={"Authorization": "Bearer x"}).status_code == 401
    assert split.http.get("/metrics").status_code == 404
    sent = split.http.post(
        f"{PETS}/files", params={"name": "a.csv"}, content=b"pet_id,kind\n" + b"a,cat\n" * 200_000
    )
    assert sent.status_code in (201, 202), sent.text


def test_the_dashboard_is_for_people_who_are_known(split: Split) -> None:
    with httpx.Client(base_url=split.url, trust_env=False) as browser:
        assert browser.get("/").status_code == 401
        assert browser.get("/", auth=("ada", "wrong")).status_code == 401
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        seen = browser.get("/stream", auth=("ada", "secret"), headers=upgrade).json()
        assert (seen["Connection"], seen["Upgrade"]) == ("upgrade", "websocket")
