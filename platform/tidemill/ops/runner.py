"""One service through its life: started, looked after, restarted when it ends or hangs, reloaded, stopped.

A Runner is a small state machine that never waits; `supervisor.py` ticks all of them from one loop.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable

from tidemill.home import Home
from tidemill.ops import ports, process
from tidemill.ops.health import Probe
from tidemill.ops.logs import rotate, service_log
from tidemill.ops.process import ProcessId
from tidemill.ops.services import Service
from tidemill.ops.state import ServiceRecord

Say = Callable[[str], None]

_STARTING_PROBE = 0.25
_QUICK_CRASHES = 5
_LONGEST_BACKOFF = 30.0
_STABLE_AFTER = 60.0


def mark_of(home: Home) -> str:
    """What the marks of all services of `home` start with."""
    return f"tidemill|{home.root}|"


class Runner:
    """One service through its life. `tick` looks once and acts; it never waits."""

    def __init__(self, service: Service, home: Home, say: Say) -> None:
        self.service = service
        self.record = ServiceRecord(
            service.name, service.title, port=service.port, url=service.url, optional=service.optional
        )
        self.changed = True
        self._home = home
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._probe: Probe | None = None
        self._generation = 0
        self._crashes = 0
        self._start_at = 0.0
        self._started = 0.0
        self._probe_at = 0.0
        self._failing_since: float | None = None
        self._healthy_since: float | None = None
        self._kill_at: float | None = None
        self._restart_wanted = False
        self._port_proved = False

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def mark(self) -> str:
        return f"{mark_of(self._home)}{self.service.name}|{self._generation}|"

    def tick(self, now: float, needs_met: bool) -> None:
        if self._process is None:
            if now >= self._start_at and needs_met and self.record.state != "stopped":
                self._start(now)
        elif process.has_ended(self._process):
            self._ended(self._process, now)
        elif self._kill_at is not None:
            if now >= self._kill_at:
                process.signal_group(self._process.pid, signal.SIGKILL)
        else:
            self._look(self._process, now)

    def _start(self, now: float) -> None:
        service = self.service
        if service.port is not None and not ports.is_free(service.host, service.port):
            who = ports.holder(service.port) or "another program"
            self._crashed(
                now, f"port {service.port} is held by {who}; `./tidemill down` and `up` choose another"
            )
            return
        self._generation += 1
        log = service_log(self._home, service.name)
        rotate(log)
        try:
            started = process.spawn(
                service.command, cwd=service.cwd, env={**service.env, process.MARK: self.mark}, log=log
            )
        except OSError as error:
            self._crashed(now, f"it cannot be started: {error}")
            return
        self._process = started
        self._started = now
        self._probe, self._probe_at = None, now
        self._failing_since = self._healthy_since = self._kill_at = None
        self._port_proved = False
        self.record.pid = started.pid
        with contextlib.suppress(ProcessLookupError):
            self.record.create_time = ProcessId.of(started.pid).create_time
        self._enter("starting")

    def _look(self, running: subprocess.Popen[bytes], now: float) -> None:
        if self.service.health is None:
            if self.record.state == "starting" and now - self._started >= self.service.settle:
                self._well(now)
            return
        if self._probe is None:
            if now >= self._probe_at:
                self._probe = Probe(self.service.health, running.pid)
            return
        outcome = self._probe.outcome()
        if outcome is None:
            return
        self._probe = None
        well, fault = outcome
        if well and (stranger := self._port_of_stranger(running)):
            well, fault = False, stranger
        self._well(now) if well else self._unwell(now, fault)
        steady = self.record.state == "healthy"
        self._probe_at = now + (self.service.probe_every if steady else _STARTING_PROBE)

    def _port_of_stranger(self, running: subprocess.Popen[bytes]) -> str | None:
        """Once per start: the port that answered must be held by the process tree we started."""
        if self.service.port is None or self._port_proved:
            return None
        if ports.listens(process.with_descendants(running.pid), self.service.port) is False:
            who = ports.holder(self.service.port) or "another program"
            return f"port {self.service.port} is answered by {who}, not by this service"
        self._port_proved = True
        return None

    def _well(self, now: float) -> None:
        self._failing_since = None
        if self._healthy_since is None:
            self._healthy_since = now
        if now - self._healthy_since >= _STABLE_AFTER:
            self._crashes = 0
        if self.record.state != "healthy":
            took = now - self._started
            self.record.health = "ok"
            self._enter("healthy", self.service.url or "", f"({took:.1f} s)")

    def _unwell(self, now: float, fault: str) -> None:
        if fault != self.record.health:
            self.record.health = fault
            self.changed = True
        if self._healthy_since is None:
            if now - self._started > self.service.start_timeout:
                self._give_up(f"not healthy after {self.service.start_timeout:.0f} s: {fault}")
            return
        if self._failing_since is None:
            self._failing_since = now
        if self.record.state == "healthy":
            self._enter("unhealthy", fault)
        if now - self._failing_since >= self.service.hang_after:
            self._give_up(f"no answer for {self.service.hang_after:.0f} s: {fault}")

    def _give_up(self, why: str) -> None:
        """It hangs: end it as a crash, without asking first since it will not hear."""
        self.record.health = why
        self._say(f"{self.service.name}: {why}; restarting it")
        if self._process is not None:
            process.signal_group(self._process.pid, signal.SIGKILL)

    def _ended(self, ended: subprocess.Popen[bytes], now: float) -> None:
        """The leader is over: take the rest of its tree along, collect it, and plan what comes next."""
        code = _collect(ended, self.mark)
        self._process = self._probe = self._kill_at = None
        self.record.pid = self.record.create_time = None
        if self.record.state == "stopping" and not self._restart_wanted:
            self._enter("stopped")
        elif self._restart_wanted:
            self._restart_wanted = False
            self._start_at = now
            self._enter("waiting")
        else:
            if self._healthy_since is not None and now - self._healthy_since >= _STABLE_AFTER:
                self._crashes = 0
            self._crashed(now, f"ended with {_describe(code)}; see `./tidemill logs {self.service.name}`")

    def _crashed(self, now: float, why: str) -> None:
        self._crashes += 1
        self.record.restarts += 1
        delay = min(_LONGEST_BACKOFF, 2.0 ** (self._crashes - 1))
        self._start_at = now + delay
        self.record.health = why
        failing = self._crashes >= _QUICK_CRASHES
        self._enter("failing" if failing else "backoff", why, f"(next try in {delay:.0f} s)")

    def reload(self, now: float) -> None:
        """Start anew, after an orderly end."""
        if self._process is None:
            self._start_at = min(self._start_at, now)
        elif self.record.state != "stopping":
            self._restart_wanted = True
            self._ask_to_end(now)

    def stop(self, now: float) -> None:
        """Ask the whole tree to end; `tick` sees to the rest."""
        self._restart_wanted = False
        if self._process is None:
            self._enter("stopped")
        else:
            self._ask_to_end(now)

    def kill(self) -> None:
        if self._process is not None:
            process.signal_group(self._process.pid, signal.SIGKILL)

    def _ask_to_end(self, now: float) -> None:
        if self._process is None:
            return
        process.signal_group(self._process.pid, self.service.stop_signal)
        self._kill_at = now + self.service.grace
        self._enter("stopping")

    def _enter(self, state: str, *words: str) -> None:
        if state == self.record.state and not words:
            return
        self.record.state = state
        self.record.since = time.time()
        self.changed = True
        self._say(" ".join(part for part in (f"{self.service.name:<8} {state:<9}", *words) if part).rstrip())


def _collect(ended: subprocess.Popen[bytes], mark: str) -> int:
    """Take the rest of an ended leader's tree along, then collect it; its exit code."""
    process.signal_group(ended.pid, signal.SIGKILL)
    for straggler in process.marked(mark):
        process.signal_process(straggler.pid, signal.SIGKILL)
    return ended.wait()


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
