"""Keeping services running: ordered start, reload when project files change, and an end that leaves no process.

One thread and one loop. What happens to a single service is in `runner.py`, what the services are in
`services.py`; starting and stopping the supervisor from outside is in `control.py`.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

from tidemill.home import Home
from tidemill.ops import process
from tidemill.ops.logs import rotate, service_log
from tidemill.ops.process import ProcessId
from tidemill.ops.runner import Runner, Say, mark_of
from tidemill.ops.services import Service
from tidemill.ops.state import State, hold_lock, read_state, write_state
from tidemill.ops.watch import ProjectWatch

_STARTING_TICK = 0.1
_STEADY_TICK = 0.25
_ROTATE_EVERY = 60.0
_DEMAND_EVERY = 0.5
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """All services of one home, from the first start to the last end.

    `build` makes the services once the lock is held and what an earlier supervisor left is gone; it may raise
    TidemillError, which `run` passes on with nothing left running.
    """

    def __init__(self, home: Home, build: Callable[[Say], list[Service]], say: Say) -> None:
        self._home = home
        self._build = build
        self._say = say
        self._runners: list[Runner] = []
        # Services that nobody wants yet.
        self._dormant: list[Service] = []
        self._stop_requests = 0
        self._ready = False
        self._rotate_at = 0.0
        self._demand_at = 0.0
        self._write_failed = False
        self._unwritten = False

    def run(self) -> None:
        """Supervise until SIGINT, SIGTERM or SIGHUP. Raises Conflict when another supervisor has the home."""
        self._home.ensure()
        with self._signals(), hold_lock(self._home, patience=self._patience()) as me:
            state = State(supervisor=me, phase="starting", started=time.time())
            left = end_leftovers(self._home)
            if left:
                self._say(f"ended {left} process(es) that an earlier start left behind")
            try:
                write_state(self._home, state)
                self._dormant = self._build(self._say)
                self._wake()
                self._loop(state)
            finally:
                self._shut_down(state)

    def _patience(self) -> float:
        """A supervisor that is on its way out is waited for; one that runs is not."""
        state = read_state(self._home)
        return 20.0 if state is not None and state.running() and state.phase == "stopping" else 1.0

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Our handlers, before anything is started; a SIGHUP ignored by nohup stays ignored."""
        wanted = [
            one for one in _STOP_SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN
        ]
        before = {number: signal.signal(number, self._on_signal) for number in wanted}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_requests += 1

    def _loop(self, state: State) -> None:
        watch = ProjectWatch(self._home.projects)
        while not self._stop_requests:
            now = time.monotonic()
            if watch.changed(now):
                self._reload(now)
            self._follow_demand(now)
            self._tick(now)
            if not self._ready and all(
                runner.record.state == "healthy" for runner in self._runners if not runner.service.optional
            ):
                self._ready = True
                state.phase = "running"
                self._say("all services are healthy; stop them with Ctrl-C or `./tidemill down`")
            if self._ready and self._settled() and state.loaded != watch.digest:
                state.loaded = watch.digest
                self._unwritten = True
            self._publish(state)
            self._rotate_logs(now)
            time.sleep(_STEADY_TICK if self._ready else _STARTING_TICK)

    def _rotate_logs(self, now: float) -> None:
        """Now and then, since some services write a line every few seconds for as long as they live."""
        if now < self._rotate_at:
            return
        self._rotate_at = now + _ROTATE_EVERY
        for name in ("supervisor", *(runner.service.name for runner in self._runners)):
            try:
                rotate(service_log(self._home, name))
            except OSError as error:
                self._say(f"the log of {name} could not be rotated: {error}")

    def _tick(self, now: float) -> None:
        # What a service needs counts from its first health on: a restart of one does not restart the others.
        for runner in self._runners:
            needed = [other for other in self._runners if other.service.name in runner.service.needs]
            met = runner.record.restarts > 0 or all(other.record.state == "healthy" for other in needed)
            runner.tick(now, met)

    def _wake(self) -> None:
        """Take up the services that are wanted by now; one that runs stays until the end."""
        wanted = [service for service in self._dormant if service.wanted is None or service.wanted()]
        self._dormant = [service for service in self._dormant if service not in wanted]
        self._runners += [Runner(service, self._home, self._say) for service in wanted]

    def _follow_demand(self, now: float) -> None:
        """Start what is wanted on demand, end what nobody wants any more, and forget it once it has ended."""
        if now < self._demand_at:
            return
        self._demand_at = now + _DEMAND_EVERY
        for runner in [one for one in self._runners if one.service.on_demand]:
            if runner.record.state == "stopped":
                self._runners.remove(runner)
                self._dormant.append(runner.service)
                self._unwritten = True
            elif runner.record.state != "stopping" and runner.service.wanted and not runner.service.wanted():
                runner.stop(now)
        if any(service.on_demand and service.wanted and service.wanted() for service in self._dormant):
            self._wake()

    def _reload(self, now: float) -> None:
        self._wake()
        chosen = [runner for runner in self._runners if runner.service.reload_on_projects]
        if chosen:
            self._say(f"project files changed: reloading {', '.join(one.service.name for one in chosen)}")
        for runner in chosen:
            runner.reload(now)

    def _settled(self) -> bool:
        readers = [runner for runner in self._runners if runner.service.reload_on_projects]
        return all(runner.record.state == "healthy" for runner in readers)

    def _publish(self, state: State) -> None:
        if not (self._unwritten or any(runner.changed for runner in self._runners)):
            return
        state.services = [runner.record for runner in self._runners]
        if self._write(state):
            self._unwritten = False
            for runner in self._runners:
                runner.changed = False

    def _write(self, state: State) -> bool:
        """A full disk must not take the services down: it is said, and tried again at the next look."""
        try:
            write_state(self._home, state)
        except OSError as error:
            if not self._write_failed:
                self._say(f"the state could not be written: {error}")
            self._write_failed = True
            return False
        self._write_failed = False
        return True

    def _shut_down(self, state: State) -> None:
        state.phase = "stopping"
        self._publish(state)
        asked = self._stop_requests
        for runner in self._runners:
            runner.stop(time.monotonic())
        self._write(state)
        while any(runner.running for runner in self._runners):
            if self._stop_requests > max(asked, 1):  # asked twice: no more patience
                for runner in self._runners:
                    runner.kill()
            for runner in self._runners:
                runner.tick(time.monotonic(), needs_met=False)
            time.sleep(0.05)
        process.end_all(process.marked(mark_of(self._home)), grace=1.0)
        state.phase = "stopped"
        self._write(state)


def end_leftovers(home: Home) -> int:
    """End what a supervisor that died left running; how many processes that were."""
    state = read_state(home)
    targets: set[ProcessId] = set(process.marked(mark_of(home)))
    for recorded in [record.process() for record in state.services] if state else []:
        if recorded is not None and recorded.alive():
            targets |= {recorded, *process.group_members(recorded.pid)}
    return process.end_all(targets, grace=5.0)
