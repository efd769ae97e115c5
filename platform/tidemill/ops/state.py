"""What the supervisor says about itself: its lock, and `run/services.json` for everybody else to read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tidemill.errors import Conflict
from tidemill.home import Home
from tidemill.ops.process import ProcessId


@dataclass
class ServiceRecord:
    """One service as last seen. `since` is when `state` began, in seconds since 1970.

    States: waiting (for what it needs), starting, healthy, unhealthy (its check fails, it will be restarted if
    that lasts), stopping, backoff (ended by itself, waits for its restart), failing (the same, five times in a
    row), stopped.
    """

    service: str
    title: str
    state: str = "waiting"
    since: float = 0.0
    pid: int | None = None
    create_time: float | None = None
    port: int | None = None
    url: str | None = None
    restarts: int = 0
    health: str = ""
    # Tidemill runs without it.
    optional: bool = False

    def process(self) -> ProcessId | None:
        if self.pid is None or self.create_time is None:
            return None
        return ProcessId(self.pid, self.create_time)


@dataclass
class State:
    """The whole of `run/services.json`. Phases: starting, running, stopping, stopped."""

    supervisor: ProcessId
    phase: str
    started: float
    services: list[ServiceRecord] = field(default_factory=list)
    # Replaced processes that finish what they have in hand.
    # Digest of the project files that all services have read; see `watch.digest_of`.
    loaded: str = ""

    def running(self) -> bool:
        return self.phase != "stopped" and self.supervisor.alive()

    def service(self, name: str) -> ServiceRecord | None:
        return next((record for record in self.services if record.service == name), None)

    def all_healthy(self) -> bool:
        needed = [record for record in self.services if not record.optional]
        return bool(needed) and all(record.state == "healthy" for record in needed)

    def urls(self) -> dict[str, str]:
        """Title -> URL of the services that people or programs open."""
        return {record.title: record.url for record in self.services if record.url}


def state_file(home: Home) -> Path:
    return home.run / "services.json"


def lock_file(home: Home) -> Path:
    return home.run / "supervisor.lock"


def write_state(home: Home, state: State) -> None:
    """Replace the state file in one step: a reader sees the old one or the new one."""
    target = state_file(home)
    aside = target.with_name(f"{target.name}.{os.getpid()}")
    aside.write_text(json.dumps(asdict(state), indent=2) + "\n")
    os.replace(aside, target)


def read_state(home: Home) -> State | None:
    """The state as last written, or None when there is none. It may be that of a supervisor long gone."""
    try:
        content: dict[str, Any] = json.loads(state_file(home).read_text())
        return State(
            supervisor=ProcessId(**content["supervisor"]),
            phase=content["phase"],
            started=content["started"],
            services=[ServiceRecord(**record) for record in content["services"]],
            loaded=content["loaded"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        # Another version wrote it. The lock and the processes' marks still tell what runs.
        return None


def lock_owner(home: Home) -> ProcessId | None:
    """The living supervisor of `home`, if there is one."""
    try:
        content = json.loads(lock_file(home).read_text())
        owner = ProcessId(int(content["pid"]), float(content["create_time"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return owner if owner.alive() else None


@contextlib.contextmanager
def hold_lock(home: Home, *, patience: float = 1.0) -> Iterator[ProcessId]:
    """Be the one supervisor of `home`. Raises Conflict when another is, after `patience` seconds of trying.

    The system itself drops the lock when its holder dies, however it dies.
    """
    me = ProcessId.of(os.getpid())
    with open(lock_file(home), "a+") as file:
        _acquire(file.fileno(), home, time.monotonic() + patience)
        file.truncate(0)
        file.write(json.dumps(asdict(me)))
        file.flush()
        try:
            yield me
        finally:
            file.truncate(0)


def _acquire(descriptor: int, home: Home, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise already_running(home) from None
            time.sleep(0.05)


def already_running(home: Home) -> Conflict:
    """The error that names the running supervisor and its addresses."""
    owner = lock_owner(home)
    state = read_state(home)
    urls = [f"{title}: {url}" for title, url in state.urls().items()] if state else []
    who = f"process {owner.pid}" if owner else "another process"
    return Conflict(
        "Tidemill is already running",
        detail="\n".join([f"{who} supervises {home.root}", *urls]),
        remedy="Use it as it is, see `./tidemill status`, or stop it with `./tidemill down`.",
    )
