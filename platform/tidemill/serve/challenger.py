"""`python -m tidemill.serve.challenger HOME PROJECT`: the process that watches a challenger.

It follows the prediction log, asks the other model about the same records, writes the report, and takes a canary
back that breaks its policy. It is not on the way of any answer: it may be slow, hang or crash, and the API starts
it again (`serve/keeper.py`). It ends by itself when the deployment changes or the API has gone.

Here belong the loop and the process. What is made of the lines is `serve/watching.py`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from tidemill.errors import Conflict, TidemillError
from tidemill.home import Home
from tidemill.monitor.alerts import raise_alert
from tidemill.project import Project
from tidemill.serve import deployment
from tidemill.serve.challengers import withdraw
from tidemill.serve.deployment import Challenger, Deployment
from tidemill.serve.live import Loader
from tidemill.serve.load_alerts import POLICY, withdraw_not_loaded
from tidemill.serve.paired_truths import Losses
from tidemill.serve.policy import Breach
from tidemill.serve.rollout_report import KEPT, read_whole, write_report
from tidemill.serve.truths_of_pairs import losses_of_pairs
from tidemill.serve.watching import Watching
from tidemill.settings import load_settings
from tidemill.store.events import EventLog
from tidemill.store.state import State, open_state
from tidemill.store.tail import Tail

TICK = 0.2
# What was logged since the stage began and before this process ran is within so many bytes of the end.
BACK = 1024 * 1024
LOOK_SECONDS = 0.5
REPORT_SECONDS = 1.0
JUDGE_SECONDS = 0.5
# Between two questions to the whole log about truths of older pairs.
OLDER_SECONDS = 120.0

logger = logging.getLogger("tidemill.rollout")


class Companion:
    """Watches the challenger that `seen` has, until the deployment changes or `parent` is no more the parent."""

    def __init__(self, home: Home, state: State, seen: Deployment, project: Project, parent: int) -> None:
        assert seen.challenger is not None
        self._home = home
        self._state = state
        self._seen = seen
        self._challenger: Challenger = seen.challenger
        self._project = project
        self._parent = parent
        whole = read_whole(home, seen.project, self._challenger.since) or {}
        kept = whole.get(KEPT, {})
        beside = self._challenger.version if self._challenger.stage == "shadow" else seen.champion
        self.watching = Watching(seen, Loader(home, seen.project).open_version(beside), project, kept)
        places = kept.get("places", {})
        self._predictions = Tail(
            home, seen.project, "predictions", places=places.get("predictions"), back=BACK
        )
        self._failures = Tail(home, seen.project, "challenger", places=places.get("challenger"), back=BACK)
        self._truths = Tail(home, seen.project, "ground_truth", places=places.get("ground_truth"), back=BACK)
        self._log = EventLog(home, seen.project, "challenger")
        self._background = ThreadPoolExecutor(1, thread_name_prefix="truths")
        self._asking: Future[dict[str, Losses]] | None = None
        self._asked_at = float("-inf")
        # Nothing is older than the first process of a stage.
        self._goes_on_with = bool(kept)
        self.watching.truths.missed = self._goes_on_with
        self._looked_at = 0.0
        self._reported_at = 0.0
        self._judged_at = 0.0

    def run(self) -> None:
        """Watch to the end."""
        while self._goes_on():
            if not self.step():
                time.sleep(TICK)
        self._report()
        self._log.close()

    def step(self) -> bool:
        """One round; whether more waits to be read."""
        at = time.monotonic()
        # First the truths: what they are about was logged before them, and is read after.
        truths = self._truths.read()
        news = self._predictions.read()
        self.watching.dropped += news.skipped
        self.watching.waiting = news.waiting
        self._write(self.watching.take(news.lines, at))
        self.watching.take_failures(self._failures.read().lines, at)
        self.watching.truths.take(truths.lines)
        self._look_at_older_pairs(at)
        if at - self._judged_at >= JUDGE_SECONDS:
            self._judged_at = at
            breach = self.watching.judge(at)
            if breach is not None:
                self._take_back(breach)
        if at - self._reported_at >= REPORT_SECONDS:
            self._report()
            self._reported_at = at
        return news.waiting > 0

    def _goes_on(self) -> bool:
        if os.getppid() != self._parent:
            return False
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return True
        self._looked_at = time.monotonic()
        try:
            wanted = deployment.current(self._state, self._seen.project)
        except SQLAlchemyError as error:
            logger.warning("the control database does not answer: %s", type(error).__name__)
            return True
        return wanted is not None and same_watch(wanted, self._seen)

    def _write(self, events: Sequence[dict[str, Any]]) -> None:
        try:
            self._log.append(events)
        except TidemillError as error:
            self.watching.dropped += len(events)
            logger.warning("what the challenger said could not be logged: %s", error.title)

    def _look_at_older_pairs(self, at: float) -> None:
        """Ask the log about truths of what an earlier process paired: at the start, then when such a truth came."""
        truths = self.watching.truths
        if self._asking is not None:
            if not self._asking.done():
                return
            try:
                truths.fill(self._asking.result())
            except Exception:  # whatever it was, errors, latency and drift are judged without
                logger.exception("older truths of project %s could not be read", self._seen.project)
            self._asking, self._asked_at = None, at
        if self._goes_on_with and truths.missed and at - self._asked_at >= OLDER_SECONDS:
            truths.missed = False
            self._asking = self._background.submit(
                losses_of_pairs, self._home, self._project, self._seen.champion, self._challenger
            )

    def _take_back(self, breach: Breach) -> None:
        version, project = self._challenger.version, self._seen.project
        try:
            wanted = deployment.current(self._state, project)
            if wanted is None or not same_watch(wanted, self._seen):
                return
            withdraw(
                self._state,
                project,
                expected_revision=wanted.revision,
                actor=POLICY,
                reason=breach.text,
                detail=breach.to_json(),
            )
        except Conflict:
            return  # somebody changed the deployment at this moment; the next look says how
        except SQLAlchemyError as error:
            logger.warning("the canary could not be taken back yet: %s", type(error).__name__)
            return
        self._looked_at = 0.0
        logger.warning("canary %s of project %s was taken back: %s", version, project, breach.text)
        raise_alert(
            self._state,
            project,
            "service",
            f"canary {version}",
            f"Canary {version} was taken back: {breach.text}",
            "critical",
            {"model_version": version, "champion": self._seen.champion, **breach.to_json()},
        )

    def _report(self) -> None:
        places = {
            "predictions": self._predictions.places,
            "challenger": self._failures.places,
            "ground_truth": self._truths.places,
        }
        report = self.watching.report() | {KEPT: {**self.watching.kept, "places": places}}
        try:
            write_report(self._home, self._seen.project, self._challenger.since, report)
        except TidemillError as error:
            logger.warning("the report could not be written: %s", error.title)


def same_watch(one: Deployment, other: Deployment) -> bool:
    """Whether both ask for the same watching: models, stage, not paused. The share does not matter."""
    first, second = one.challenger, other.challenger
    if first is None or second is None or first.paused or second.paused:
        return False
    return one.champion == other.champion and (first.version, first.since) == (second.version, second.since)


def be_modest(stage: str) -> None:
    """Leave the processors to the answers. A shadow only takes what nobody else wants; a canary must be judged.

    Called once the model is loaded: on a machine that is never idle that would take for ever.
    """
    os.nice(19 if stage == "shadow" else 5)
    if stage == "shadow" and hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 when there is nothing (more) to watch, 1 when watching is not possible."""
    parent = os.getppid()
    home, name = Home.find(arguments[0]), arguments[1]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    state = open_state(home, load_settings().database_url)
    seen = deployment.current(state, name)
    if seen is None or seen.challenger is None or seen.challenger.paused:
        return 0
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    try:
        project = Project.load(home.require_project(name))
        companion = Companion(home, state, seen, project, parent)
    except TidemillError as error:
        logger.error("the challenger of %s cannot be watched: %s", name, " ".join(str(error).splitlines()))
        if seen.challenger.stage == "shadow":
            withdraw_not_loaded(state, seen, error)
        return 1
    companion.step()
    be_modest(seen.challenger.stage)
    companion.run()
    return 0


def _end_with(parent: int) -> None:
    """End with the API, even while a challenger hangs."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
