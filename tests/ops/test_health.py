from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from tidemill.ops import health
from tidemill.ops.health import Check, Probe, Unhealthy, grpc_check, http_check, ping_check


@contextmanager
def web(status: int, body: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/healthz"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


OURS = {"service": "tidemill", "home_id": "abc"}


def test_our_api_is_known_by_its_home():
    with web(200, json.dumps({**OURS, "more": 1}).encode()) as url:
        http_check(url, json_members=OURS)(0)


@pytest.mark.parametrize("body", [{"service": "tidemill", "home_id": "other"}, {"status": "ok"}, [], "ok"])
def test_a_strangers_answer_is_not_health(body):
    with web(200, json.dumps(body).encode()) as url, pytest.raises(Unhealthy, match="another program"):
        http_check(url, json_members=OURS)(0)


def test_an_answer_that_is_no_json_is_not_health():
    with web(200, b"<html>") as url, pytest.raises(Unhealthy, match="not JSON"):
        http_check(url, json_members=OURS)(0)


def test_an_error_status_is_not_health():
    with web(503, b"") as url, pytest.raises(Unhealthy, match="answered 503"):
        http_check(url)(0)


def test_nothing_there_is_said_plainly():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unhealthy, match="nothing listens yet"):
        http_check(f"http://127.0.0.1:{port}/")(0)
    with pytest.raises(Unhealthy, match="nothing listens yet"):
        grpc_check("127.0.0.1", port, "DagsterApi")(0)


@pytest.mark.parametrize(
    "check",
    [
        lambda port: http_check(f"http://127.0.0.1:{port}/", timeout=0.2),
        lambda port: grpc_check("127.0.0.1", port, "DagsterApi", timeout=0.2),
    ],
)
def test_a_server_that_accepts_and_is_silent_is_hung(check: Callable[[int], Check]):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(Unhealthy, match="no answer in time"),
    ):
        check(server.getsockname()[1])(0)


def test_grpc_check_speaks_to_a_real_server():
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    server = grpc.server(futures.ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(Unhealthy, match=r"not serving|refused"):
            grpc_check("127.0.0.1", port, "DagsterApi")(0)
        servicer.set("DagsterApi", health_pb2.HealthCheckResponse.SERVING)
        grpc_check("127.0.0.1", port, "DagsterApi")(0)
        servicer.set("DagsterApi", health_pb2.HealthCheckResponse.NOT_SERVING)
        with pytest.raises(Unhealthy, match="not serving"):
            grpc_check("127.0.0.1", port, "DagsterApi")(0)
    finally:
        server.stop(None).wait()


def test_grpc_check_refuses_a_web_server():
    with web(200, b"hello") as url, pytest.raises(Unhealthy):
        grpc_check("127.0.0.1", int(url.split(":")[2].split("/")[0]), "DagsterApi", timeout=1)(0)


@pytest.mark.parametrize("answer", [b"pong 12\n", b"pong 13\n", b"who?\n", b""])
def test_ping_knows_the_process_by_its_pid(tmp_path, answer):
    path = tmp_path / "worker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            line, _ = server.accept()
            with line:
                assert line.recv(64) == b"ping\n"
                line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        if answer == b"pong 12\n":
            ping_check(path)(12)
        else:
            with pytest.raises(Unhealthy):
                ping_check(path)(12)
        thread.join()


def test_ping_without_a_socket(tmp_path):
    with pytest.raises(Unhealthy, match="nothing listens yet"):
        ping_check(tmp_path / "worker.sock")(0)


def wait(event: threading.Event) -> None:
    event.wait()


def outcome_of(probe: Probe) -> tuple[bool, str]:
    while (outcome := probe.outcome()) is None:
        time.sleep(0.01)
    return outcome


def test_a_probe_tells_what_was_wrong_and_gives_up_on_a_check_that_hangs():
    def sick(_pid: int) -> None:
        raise Unhealthy("it is sick")

    never = threading.Event()
    assert outcome_of(Probe(lambda _pid: None, 1)) == (True, "")
    assert outcome_of(Probe(sick, 1)) == (False, "it is sick")
    well, fault = outcome_of(Probe(lambda _pid: wait(never), 1, limit=0.1))
    assert not well
    assert "no answer" in fault
    never.set()


def beats(database, rows):
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS daemon_heartbeats (daemon_type, timestamp)")
        connection.execute("DELETE FROM daemon_heartbeats")
        stamps = [
            (kind, datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()) for kind, at in rows
        ]
        connection.executemany("INSERT INTO daemon_heartbeats VALUES (?, ?)", stamps)


@pytest.mark.parametrize(
    ("ages", "fault"),
    [
        ({"SENSOR": 1, "SCHEDULER": 20}, None),
        ({"SENSOR": 1, "BACKFILL": 1e9}, None),  # an earlier start's, of a thread that is no more
        ({"SENSOR": 1e9}, "no heartbeat yet"),
        ({}, "no heartbeat yet"),
        ({"SENSOR": 1, "SCHEDULER": 200}, "scheduler 200 s ago"),
    ],
)
def test_heartbeats_of_this_very_process_count(tmp_path, monkeypatch, ages, fault):
    now = time.time()
    monkeypatch.setattr(health.psutil.Process, "create_time", lambda _: now - 1000)
    beats(tmp_path / "runs.db", [(kind, now - age) for kind, age in ages.items()])
    check = health.heartbeat_check(tmp_path / "runs.db")
    if fault is None:
        check(os.getpid())
    else:
        with pytest.raises(health.Unhealthy, match=fault):
            check(os.getpid())


def test_heartbeats_that_cannot_be_read_are_no_health(tmp_path):
    with pytest.raises(health.Unhealthy, match="cannot be read"):
        health.heartbeat_check(tmp_path / "absent.db")(os.getpid())
