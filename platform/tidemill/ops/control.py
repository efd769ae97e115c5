"""Starting, stopping and looking at Tidemill from outside: what `up`, `down` and `status` do.

The loop that keeps services running is in `supervisor.py`; how things are printed is in `tidemill/cli.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tidemill.errors import NotReady, TidemillError
from tidemill.home import CHECKOUT, Home
from tidemill.ops import boot, ports, process
from tidemill.ops.logs import follow, rotate, service_log, tail
from tidemill.ops.process import ProcessId
from tidemill.ops.runner import Say
from tidemill.ops.services import PORTS, Service, Site, tidemill_services, write_workspace
from tidemill.ops.state import ServiceRecord, State, already_running, lock_owner, read_state
from tidemill.ops.supervisor import Supervisor, end_leftovers
from tidemill.ops.watch import digest_of

_STOP_PATIENCE = 40.0
_START_TIMEOUT = 300.0
_HOPELESS = 3  # a service that ended so often while somebody waits for it is not waited for any longer

# A detached supervisor outlives us; its handle is kept so that nobody takes it for one that was forgotten.
_detached: list[subprocess.Popen[bytes]] = []


def supervise(home: Home, say: Say) -> None:
    """Run Tidemill until told to stop. Raises Conflict when it already runs, TidemillError when it cannot."""
    Supervisor(home, lambda say: _build(home, say), say).run()


def _build(home: Home, say: Say) -> list[Service]:
    prepared = boot.prepare(home)
    chosen, notes = ports.choose(home.run / "ports.json", PORTS, prepared.ports, prepared.host)
    for note in notes:
        say(note)
    site = Site(home, prepared.host, chosen, home_id(home), prepared.owner_key)
    write_workspace(site)
    return tidemill_services(site)


def home_id(home: Home) -> str:
    """A random name of this home, by which a health check knows our API from a stranger's."""
    file = home.run / "home_id"
    try:
        if known := file.read_text().strip():
            return known
    except FileNotFoundError:
        pass
    made = uuid.uuid4().hex
    file.write_text(made + "\n")
    return made


def running_state(home: Home) -> State | None:
    """The state of the supervisor that runs now, or None."""
    owner = lock_owner(home)
    state = read_state(home)
    if owner is None or state is None or state.supervisor != owner or state.phase == "stopped":
        return None
    return state


def start_detached(
    home: Home, say: Say, *, command: Sequence[str] = (), timeout: float = _START_TIMEOUT
) -> State:
    """Start Tidemill in the background and wait until every service is healthy; its state.

    Does nothing when it already runs. `command` is for tests. Raises TidemillError when the supervisor ends,
    or NotReady naming the service that does not come up; the others are left running then.
    """
    home.ensure()
    if (state := running_state(home)) is not None and state.phase != "stopping":
        say(str(already_running(home).detail))
        return _wait_healthy(home, state.supervisor, None, say, timeout)
    log = service_log(home, "supervisor")
    rotate(log)
    before = log.stat().st_size if log.exists() else 0
    child = process.spawn(
        command or [sys.executable, "-m", "tidemill.cli", "up"],
        cwd=CHECKOUT,
        env={**os.environ, "TIDEMILL_HOME": str(home.root), "PYTHONUNBUFFERED": "1"},
        log=log,
    )
    _detached.append(child)
    return _wait_healthy(home, ProcessId.of(child.pid), (child, before), say, timeout)


def _wait_healthy(
    home: Home,
    supervisor: ProcessId,
    started: tuple[subprocess.Popen[bytes], int] | None,
    say: Say,
    timeout: float,
) -> State:
    log = service_log(home, "supervisor")
    lines = follow({"supervisor": log}, every=0.1, start=started[1] if started else None)
    deadline = time.monotonic() + timeout
    while True:
        for _, line in next(lines):
            say(line)
        state = read_state(home)
        if state is not None and state.supervisor == supervisor:
            if state.phase == "running" and state.all_healthy():
                return state
            if any(_gives_no_hope(record) for record in state.services):
                raise _not_healthy(home, state)
        if not supervisor.alive() or (started and started[0].poll() is not None):
            if (other := running_state(home)) is not None and other.supervisor != supervisor:
                return _wait_healthy(home, other.supervisor, None, say, timeout)  # somebody was quicker
            detail = _said_since(log, started[1]) if started else ""
            raise TidemillError(
                "Tidemill did not start", detail=detail, remedy=f"Mend what {log} says, then try again."
            )
        if time.monotonic() > deadline:
            raise _not_healthy(home, state)


def _gives_no_hope(record: ServiceRecord) -> bool:
    return record.state in ("backoff", "failing") and record.restarts >= _HOPELESS


def _said_since(log: Path, offset: int) -> str:
    """The last lines of this start, without those of earlier ones."""
    with log.open("rb") as handle:
        handle.seek(min(offset, log.stat().st_size))
        return "\n".join(handle.read().decode(errors="replace").splitlines()[-12:])


def _not_healthy(home: Home, state: State | None) -> NotReady:
    bad = [record for record in state.services if record.state != "healthy"] if state else []
    told = []
    for record in bad:
        told.append(f"{record.service} is {record.state}: {record.health}")
        if record.state != "waiting":
            told += [f"    {line}" for line in tail(service_log(home, record.service), 15)]
    return NotReady(
        "Not every service is healthy",
        detail="\n".join(told) or "none was started",
        remedy="Mend what the log says; the supervisor keeps trying. `./tidemill down` stops everything.",
    )


def wait_loaded(home: Home, *, timeout: float = 90.0) -> bool:
    """Wait until the running services have read the project files as they are now; whether they did in time.

    True at once when Tidemill does not run: it will read them when it starts.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        state = running_state(home)
        if state is None or state.loaded == digest_of(home.projects):
            return True
        time.sleep(0.1)
    return False


def stop(home: Home, say: Say) -> int:
    """Stop everything of `home`, also what a killed supervisor left; how many services and processes ended."""
    owner = lock_owner(home)
    ended = 0
    if owner is not None:
        state = read_state(home)
        ended = sum(1 for record in state.services if record.process()) if state else 0
        say(f"stopping {ended} services ...")
        _stop_supervisor(owner)
    for child in _detached:
        child.poll()  # one that we started ourselves is collected, so that no zombie stays
    left = end_leftovers(home)
    if left and owner is None:
        say("the supervisor was gone; ended what it had left running")
    return ended + left


def _stop_supervisor(owner: ProcessId) -> None:
    try:
        os.kill(owner.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise TidemillError(
            "Tidemill runs as another user",
            detail=f"process {owner.pid} may not be stopped by this user",
            remedy="Run `./tidemill down` as the user who started it.",
        ) from None
    if process.wait_gone([owner], _STOP_PATIENCE):
        process.signal_process(owner.pid, signal.SIGKILL)
        process.wait_gone([owner], 5.0)


def report(home: Home) -> dict[str, Any]:
    """What `status` shows, as JSON: the services with their memory in bytes, the supervisor, and the total."""
    state = running_state(home)
    if state is None:
        last = read_state(home)
        left = (
            [one.service for one in last.services if (who := one.process()) and who.alive()] if last else []
        )
        return {"running": False, "home": str(home.root), "services": [], "left_behind": left}
    services = []
    for record in state.services:
        used = process.memory(record.pid) if record.pid else 0
        services.append({**asdict(record), "memory": used})
    own = process.memory_alone(state.supervisor.pid)
    return {
        "running": True,
        "home": str(home.root),
        "phase": state.phase,
        "healthy": state.all_healthy(),
        "started": state.started,
        "supervisor": {**asdict(state.supervisor), "memory": own},
        "services": services,
        "memory": own + sum(service["memory"] for service in services),
    }
