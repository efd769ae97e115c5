"""Asking a service whether it works.

A check is a function of a pid that returns when the service answered as ours would, and raises Unhealthy with
one line otherwise. Checks have a time-out, use nothing heavier than sockets and http.client (the supervisor
runs them for as long as Tidemill is up) and never go through a proxy.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil

# Called with the pid of the process that was started for the service.
Check = Callable[[int], None]

TIMEOUT = 5.0
_LARGEST_ANSWER = 1_000_000


class Unhealthy(Exception):
    """The service did not answer as it should; the message is one line for people."""


def http_check(
    url: str,
    *,
    json_members: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Check:
    """GET `url` must answer 200; with `json_members`, a JSON object that holds these members."""
    parts = urlsplit(url)

    def check(_pid: int) -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        try:
            connection.request("GET", parts.path or "/", headers={"Connection": "close", **(headers or {})})
            response = connection.getresponse()
            body = response.read(_LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise Unhealthy(f"{url}: {_reason(error)}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise Unhealthy(f"{url}: answered {response.status}")
        if json_members is not None:
            _compare(url, body, json_members)

    return check


def _compare(url: str, body: bytes, expected: Mapping[str, str]) -> None:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise Unhealthy(f"{url}: the answer is not JSON; is it another program's?") from error
    for name, value in expected.items():
        found = answer.get(name) if isinstance(answer, dict) else None
        if found != value:
            raise Unhealthy(f"{url}: {name} is {str(found)[:60]!r}; another program answers there")


def ping_check(path: Path, *, timeout: float = TIMEOUT) -> Check:
    """The unix socket at `path` must answer `ping` with `pong` and the pid of the process we started.

    While a service is being replaced the old process may still be the one that answers: that is not health.
    """

    def check(pid: int) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(timeout)
            try:
                line.connect(str(path))
                line.sendall(b"ping\n")
                answer = line.recv(64)
            except OSError as error:
                raise Unhealthy(f"{path.name}: {_reason(error)}") from error
        if answer.split() != [b"pong", str(pid).encode()]:
            raise Unhealthy(f"{path.name}: answered {answer[:40]!r} instead of pong {pid}")

    return check


def grpc_check(host: str, port: int, service: str, *, timeout: float = TIMEOUT) -> Check:
    """The gRPC server's standard health service (grpc.health.v1) must say that `service` is SERVING.

    The few frames of HTTP/2 (RFC 9113) that one call takes are written here by hand: importing grpcio for it
    would cost the supervisor 20 MB.
    """

    def check(_pid: int) -> None:
        deadline = time.monotonic() + timeout
        try:
            with socket.create_connection((host, port), timeout=timeout) as line:
                line.sendall(_health_request(f"{host}:{port}", service))
                answer = _first_data(line, deadline)
        except OSError as error:
            raise Unhealthy(f"gRPC {host}:{port}: {_reason(error)}") from error
        # 5 bytes of gRPC prefix, then the message HealthCheckResponse{status: SERVING}.
        if answer[5:] != b"\x08\x01":
            raise Unhealthy(f"gRPC {host}:{port}: {service} is not serving")

    return check


def heartbeat_check(database: Path, *, oldest: float = 150.0) -> Check:
    """Every thread of Dagster's daemon must have beaten within `oldest` seconds (each does so every 30).

    Beats are rows of the run storage's table `daemon_heartbeats`; those from before the process was started are
    its predecessor's and count for nothing.
    """

    def check(pid: int) -> None:
        try:
            started = psutil.Process(pid).create_time()
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=2.0)) as connection:
                rows = connection.execute("SELECT daemon_type, timestamp FROM daemon_heartbeats").fetchall()
        except (sqlite3.Error, psutil.NoSuchProcess) as error:
            raise Unhealthy(f"its heartbeats cannot be read: {error}") from error
        beats = {kind: datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() for kind, stamp in rows}
        own = {kind: at for kind, at in beats.items() if at >= started}
        if not own:
            raise Unhealthy("no heartbeat yet")
        late = {kind: time.time() - at for kind, at in own.items() if time.time() - at > oldest}
        if late:
            told = ", ".join(f"{kind.lower()} {age:.0f} s ago" for kind, age in sorted(late.items()))
            raise Unhealthy(f"its last heartbeats: {told}")

    return check


_SETTINGS, _HEADERS, _DATA, _RST_STREAM, _GOAWAY = 4, 1, 0, 3, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


def _health_request(authority: str, service: str) -> bytes:
    name = service.encode()
    message = bytes([0x0A, len(name)]) + name  # field 1, length-delimited
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _frame(_SETTINGS, 0, 0, b""),
            _frame(_HEADERS, _END_HEADERS, 1, b"".join(_literal(*header) for header in headers.items())),
            _frame(_DATA, _END_STREAM, 1, struct.pack(">BI", 0, len(message)) + message),
        ]
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header as HPACK's "literal without indexing, new name" (RFC 7541, 6.2.2), not Huffman-coded."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _first_data(line: socket.socket, deadline: float) -> bytes:
    """The payload of the first DATA frame of stream 1."""
    while True:
        head = _read_exactly(line, 9, deadline)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = _read_exactly(line, size, deadline)
        if kind == _DATA and payload:
            return payload
        if kind == _SETTINGS and not flags & _ACK:
            line.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        if kind in (_RST_STREAM, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
            raise ConnectionError("the call was refused")


def _read_exactly(line: socket.socket, size: int, deadline: float) -> bytes:
    if size > _LARGEST_ANSWER:
        raise ConnectionError("the answer is not HTTP/2")
    parts = b""
    while len(parts) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        line.settimeout(left)
        part = line.recv(size - len(parts))
        if not part:
            raise ConnectionError("the connection was closed")
        parts += part
    return parts


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return "nothing listens yet"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


class Probe:
    """One run of a check in a thread of its own, so that a slow service does not hold up the others."""

    def __init__(self, check: Check, pid: int, *, limit: float = 2 * TIMEOUT) -> None:
        self._check = check
        self._pid = pid
        self._deadline = time.monotonic() + limit
        self._well = False
        self._fault = "the health check failed in a way it should not; see the supervisor's log"
        # A daemon thread: a check that hangs must not keep the supervisor from ending.
        self._thread = threading.Thread(target=self._run, daemon=True, name="probe")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._check(self._pid)
        except Unhealthy as error:
            self._fault = str(error)
        else:
            self._well = True

    def outcome(self) -> tuple[bool, str] | None:
        """None while it runs; then whether the service is well, and what was wrong."""
        if self._thread.is_alive():
            if time.monotonic() < self._deadline:
                return None
            return False, "the health check itself got no answer"
        return self._well, "" if self._well else self._fault
