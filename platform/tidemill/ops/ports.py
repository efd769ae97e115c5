"""TCP ports: which are free, who holds one, and which port each service keeps from start to start."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tidemill.errors import Conflict, InvalidInput, NotReady

LOOPBACK = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
_STRIDE = 10  # a second home on the same machine gets 8710, 8711 ... : neighbours stay together
_TRIES = 40


def check_host(host: str) -> str:
    """The loopback address that `host` names. Raises InvalidInput for any address others could reach."""
    try:
        return LOOPBACK[host.strip().lower()]
    except KeyError:
        raise InvalidInput(
            "Tidemill only listens on this machine",
            detail=f"TIDEMILL_HOST is {host!r}, which other machines could reach, and there is no TLS yet",
            remedy="Unset TIDEMILL_HOST or set it to 127.0.0.1; reach it from elsewhere through an SSH tunnel.",
        ) from None


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `port` now; a connection that is still closing does not count."""
    with _socket(host) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    # Some systems let one bind beside a wildcard listener; it would answer in our place.
    with _socket(host) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) != 0


def any_free(host: str) -> int:
    """A free port of the system's choice."""
    with _socket(host) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def holder(port: int) -> str | None:
    """Who listens on `port`, such as "nginx (pid 12)", as far as this user may see."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.pid and _listens_on(connection, port):
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None


def listens(processes: list[psutil.Process], port: int) -> bool | None:
    """Whether one of `processes` listens on `port`; None when the system does not let us see."""
    for process in processes:
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            return None
        if any(_listens_on(one, port) for one in connections):
            return True
    return False


def _listens_on(connection: Any, port: int) -> bool:
    return bool(
        connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
    )


def choose(
    memory: Path, preferred: Mapping[str, int], fixed: Mapping[str, int | None], host: str
) -> tuple[dict[str, int], list[str]]:
    """A free port for each name in `preferred`, and a line for each that is not the one of last time.

    Order of choice: the `fixed` one (Conflict when another program holds it), the one remembered in the file
    `memory`, the preferred one, its neighbours in steps of ten, any. What was chosen is remembered.
    """
    remembered = _read(memory)
    chosen: dict[str, int] = {}
    notes: list[str] = []
    for name, wish in preferred.items():
        taken = set(chosen.values())
        if (demanded := fixed.get(name)) is not None:
            chosen[name] = _demand(name, demanded, taken, host)
            continue
        before = remembered.get(name, wish)
        chosen[name] = _first_free(before, wish, taken, host)
        if chosen[name] != before:
            who = holder(before) or "another program"
            notes.append(f"port {before} is held by {who}; {name} moves to {chosen[name]}")
    _write(memory, chosen)
    return chosen, notes


def _demand(name: str, port: int, taken: set[int], host: str) -> int:
    if port in taken:
        raise InvalidInput(
            "Two services were given the same port",
            detail=f"TIDEMILL_{name.upper()}_PORT is {port}, which another service has",
            remedy="Give each service a port of its own, or unset the variable.",
        )
    if not is_free(host, port):
        raise Conflict(
            "A port is taken",
            detail=f"TIDEMILL_{name.upper()}_PORT is {port}, which is held by {holder(port) or 'another program'}",
            remedy="End that program, choose another port, or unset the variable and let Tidemill choose.",
        )
    return port


def _first_free(before: int, wish: int, taken: set[int], host: str) -> int:
    neighbours = range(wish, wish + _STRIDE * _TRIES, _STRIDE)
    candidates: list[int] = [before, *neighbours]
    for candidate in candidates:
        if 0 < candidate < 65536 and candidate not in taken and is_free(host, candidate):
            return candidate
    for _ in range(_TRIES):
        any_port = any_free(host)
        if any_port not in taken:
            return any_port
    raise NotReady("No free port was found", detail=f"on {host}", remedy="End programs that hold many ports.")


def _read(memory: Path) -> dict[str, int]:
    try:
        content = json.loads(memory.read_text())
    except (FileNotFoundError, ValueError):
        return {}  # ports are a convenience: a broken memory only means choosing again
    if not isinstance(content, dict):
        return {}
    return {str(name): port for name, port in content.items() if isinstance(port, int)}


def _write(memory: Path, chosen: Mapping[str, int]) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    aside = memory.with_name(f"{memory.name}.{os.getpid()}")
    aside.write_text(json.dumps(chosen, indent=2) + "\n")
    os.replace(aside, memory)


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
