"""Hints that somebody answered: many in a row make one look at the back end.

Here belong when it is looked and how often; the look itself is `labels/sources.py`. Nothing heavy is imported.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tidemill.errors import TidemillError

HOOK_HEADER = "X-Tidemill-Secret"
"""What a webhook carries the home's secret in."""
WAIT = 2.0

logger = logging.getLogger("tidemill.labels")


class Hints:
    """Runs what is asked for a name `wait` seconds later, once for all that is asked meanwhile.

    One at a time for a name. What is asked while it runs is run again afterwards: the last answer is not left out.
    """

    def __init__(self, wait: float = WAIT) -> None:
        self.wait = wait
        self._lock = threading.Lock()
        self._asked: dict[str, bool] = {}
        self._closing = threading.Event()

    def ask(self, name: str, act: Callable[[], object]) -> None:
        with self._lock:
            is_new = name not in self._asked
            self._asked[name] = True
        if is_new:
            threading.Thread(target=self._run, args=(name, act), name=f"hint-{name}", daemon=True).start()

    def close(self) -> None:
        """Look no more; a look under way ends by itself."""
        self._closing.set()

    def _run(self, name: str, act: Callable[[], object]) -> None:
        while not self._closing.wait(self.wait):
            with self._lock:
                self._asked[name] = False
            try:
                act()
            except TidemillError as error:
                # The sensor looks as well, and tells people what is wrong.
                logger.warning("a hint of %s: %s", name, " ".join(str(error).splitlines()))
            with self._lock:
                if not self._asked[name]:
                    del self._asked[name]
                    return
