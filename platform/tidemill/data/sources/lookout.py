"""Looking at sources in turns, without anybody waiting for one that hangs.

Each look has a thread of its own: a mount whose server is gone holds up its thread, not the others, nor whoever
asks. When a look is due is told by the control state, so a restart changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tidemill.data.sources.seen import last_looks
from tidemill.errors import NotReady
from tidemill.home import Home
from tidemill.project import Project
from tidemill.project_sources import Watched
from tidemill.settings import Settings
from tidemill.store.state import State


class Lookout:
    """The looks of one project that are under way in this process."""

    def __init__(self, look: Callable[..., object] | None = None) -> None:
        self._look = look
        self._threads: dict[str, threading.Thread] = {}
        self._faults: dict[str, BaseException] = {}

    def turn(
        self, home: Home, state: State, project: Project, settings: Settings, *, wait: float
    ) -> list[str]:
        """Start the looks that are due, wait at most `wait` seconds, and return the sources still looked at.

        Raises what a look that has ended raised beyond its answers: that is a fault of ours.
        """
        for source in due(state, project):
            if source.name not in self._threads:
                arguments = (home, state, project, source, settings)
                thread = threading.Thread(
                    target=self._run, args=arguments, name=f"look-{source.name}", daemon=True
                )
                self._threads[source.name] = thread
                thread.start()
        deadline = time.monotonic() + wait
        for thread in self._threads.values():
            thread.join(max(deadline - time.monotonic(), 0.0))
        self._threads = {name: thread for name, thread in self._threads.items() if thread.is_alive()}
        ended = [name for name in self._faults if name not in self._threads]
        if ended:
            raise self._faults.pop(ended[0])
        return sorted(self._threads)

    def _run(self, home: Home, state: State, project: Project, source: Watched, settings: Settings) -> None:
        from tidemill.data.sources.fetch import look

        try:
            (self._look or look)(home, state, project, source, settings)
        except NotReady:
            return  # another process looks at it
        except BaseException as fault:  # noqa: BLE001 (raised again where somebody is asked)
            self._faults[source.name] = fault


def due(state: State, project: Project) -> list[Watched]:
    """The sources whose last look is `every` seconds ago, or that were never looked at."""
    looked = last_looks(state, project.name)
    now = datetime.now(UTC)
    return [
        source
        for source in project.watched
        if source.name not in looked
        or (now - datetime.fromisoformat(looked[source.name])).total_seconds() >= source.every
    ]
