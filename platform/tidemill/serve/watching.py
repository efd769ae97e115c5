"""A challenger being watched: log lines in, comparison, report and breach out.

Here belongs what is made of the lines of the prediction log while a challenger is in one stage. No loop, no process
and no clock but the one handed in: those are `serve/challenger.py`. The rules are `serve/policy.py`.

In shadow the challenger is asked about the champion's records; in canary the champion about the canary's. So both
are compared on the same records. What was asked besides goes into the log stream `challenger`, role `shadow`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import orjson

from tidemill.project import Project
from tidemill.serve.comparison import Comparison
from tidemill.serve.deployment import Deployment
from tidemill.serve.live import Live
from tidemill.serve.paired_truths import PairedTruths
from tidemill.serve.plain import new_id
from tidemill.serve.policy import (
    Breach,
    judge_drift,
    judge_errors,
    judge_latency,
    judge_quality,
)
from tidemill.serve.record import CheckedRecord
from tidemill.serve.scorer import Score
from tidemill.store.state import now

# The windows hold the newest at most: a busy canary is judged by fewer seconds.
MOST_IN_WINDOW = 5_000
# Records that are scored together. The first of them is scored alone, to be timed.
BATCH = 64

Event = dict[str, Any]


class Watching:
    """One challenger in one stage. `asked` is the loaded model that is asked besides. Not thread-safe."""

    def __init__(
        self, deployment: Deployment, asked: Live, project: Project, kept: Mapping[str, Any] | None = None
    ) -> None:
        assert deployment.challenger is not None
        kept = kept or {}
        self._deployment = deployment
        self._challenger = deployment.challenger
        self._asked = asked
        self._project = project
        self.comparison = Comparison(kept.get("comparison"))
        self.answered: dict[str, int] = {"champion": 0, "canary": 0} | dict(kept.get("answered", {}))
        self.errors: int = kept.get("errors", 0)
        self.dropped: int = kept.get("dropped", 0)
        self.last_error: str | None = kept.get("last_error")
        self.waiting = 0
        self.truths = PairedTruths(is_classification=project.is_classification)
        self.breach: Breach | None = None
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=MOST_IN_WINDOW)
        self._canary_ms: deque[tuple[float, float]] = deque(maxlen=MOST_IN_WINDOW)
        self._champion_ms: deque[tuple[float, float]] = deque(maxlen=MOST_IN_WINDOW)
        self._answers: deque[tuple[float, Any, Any]] = deque(maxlen=MOST_IN_WINDOW)

    @property
    def is_canary(self) -> bool:
        return self._challenger.stage == "canary"

    def take(self, lines: Sequence[bytes], at: float) -> list[Event]:
        """Count the lines of `predictions`, ask about those that are to be compared, and give what was answered.

        `at` is the time in seconds, by the clock that `judge` is given.
        """
        about: list[Event] = []
        for line in lines:
            event = orjson.loads(line)
            if event["at"] < self._challenger.since_at:
                continue
            role, version = event["role"], event["model_version"]
            if role == "champion" and version == self._deployment.champion:
                self.answered["champion"] += 1
                self.comparison.champion.add(event["latency_ms"])
                self._champion_ms.append((at, event["latency_ms"]))
                if not self.is_canary:
                    about.append(event)
            elif role == "canary" and version == self._challenger.version:
                self.answered["canary"] += 1
                self.comparison.challenger.add(event["latency_ms"])
                self._canary_ms.append((at, event["latency_ms"]))
                self._outcomes.append((at, True))
                about.append(event)
        return [
            answered
            for start in range(0, len(about), BATCH)
            for answered in self._ask(about[start : start + BATCH], at)
        ]

    def take_failures(self, lines: Sequence[bytes], at: float) -> None:
        """Count the lines of the stream `challenger` that tell of requests the canary failed at."""
        for line in lines:
            if b'"canary"' not in line:
                continue
            event = orjson.loads(line)
            is_its = event["role"] == "canary" and event["model_version"] == self._challenger.version
            if is_its and event["at"] >= self._challenger.since_at:
                self._failed(event["error"])
                self._outcomes.append((at, False))

    def judge(self, at: float) -> Breach | None:
        """What the canary breaks by what is known at `at`; always None in shadow."""
        if not self.is_canary:
            return None
        policy = self._project.rollout
        windows: tuple[deque[Any], ...] = (self._outcomes, self._canary_ms, self._champion_ms, self._answers)
        for window in windows:
            while window and window[0][0] < at - policy.window_seconds:
                window.popleft()
        failed = sum(not fine for _, fine in self._outcomes)
        self.breach = (
            judge_errors(failed, len(self._outcomes), policy)
            or judge_latency(
                [taken for _, taken in self._canary_ms], [taken for _, taken in self._champion_ms], policy
            )
            or judge_drift(
                [one for _, one, _ in self._answers], [other for _, _, other in self._answers], policy
            )
            or judge_quality(self.truths.truths, policy, is_regression=not self._project.is_classification)
        )
        return self.breach

    def report(self) -> dict[str, Any]:
        """What is known, for people and programs."""
        asked = (
            self.comparison.pairs + self.errors
            if not self.is_canary
            else self.answered["canary"] + self.errors
        )
        its = self._challenger
        return {
            "stage": its.stage,
            "champion": self._deployment.champion,
            "challenger": its.version,
            "since": its.since,
            "since_at": its.since_at,
            "updated_at": now(),
            **self.comparison.to_json(),
            "answered": self.answered,
            "errors": {
                "count": self.errors,
                "share": self.errors / asked if asked else None,
                "last": self.last_error,
            },
            "dropped": self.dropped,
            "waiting": self.waiting,
            "quality": self._quality(),
            "breach": self.breach.to_json() | {"text": self.breach.text} if self.breach else None,
        }

    @property
    def kept(self) -> dict[str, Any]:
        """The counts, to go on from in another process."""
        return {
            "comparison": self.comparison.kept,
            "answered": self.answered,
            "errors": self.errors,
            "dropped": self.dropped,
            "last_error": self.last_error,
        }

    def _quality(self) -> dict[str, Any] | None:
        truths = self.truths.truths
        if truths is None:
            return None
        measure = "share of wrong labels" if self._project.is_classification else "mean absolute error"
        return {"measure": measure, **vars(truths)}

    def _failed(self, error: str | None) -> None:
        self.errors += 1
        self.last_error = error

    def _ask(self, events: Sequence[Event], at: float) -> list[Event]:
        made: list[Event] = []
        ready: list[tuple[Event, CheckedRecord]] = []
        for event in events:
            checked = self._asked.contract.check(event["input"])
            if isinstance(checked, CheckedRecord):
                ready.append((event, checked))
            else:
                fault = checked[0]
                made.append(self._error(event, f"its contract refuses {fault.field}: {fault.message}"))
        for start, end in pairwise([0, 1, len(ready)] if len(ready) > 1 else [0, len(ready)]):
            made += self._score(ready[start:end], at)
        return made

    def _score(self, ready: Sequence[tuple[Event, CheckedRecord]], at: float) -> list[Event]:
        if not ready:
            return []
        began = time.perf_counter()
        try:
            scores = self._asked.scorer.score([checked.values for _, checked in ready])
            if len(scores) != len(ready):
                raise ValueError(f"{len(scores)} answers to {len(ready)} records")
        except Exception as error:  # noqa: BLE001 - a challenger's fault is a finding, counted and logged
            if len(ready) > 1:
                return [event for one in ready for event in self._score([one], at)]
            return [self._error(ready[0][0], f"{type(error).__name__}: {error}"[:300])]
        milliseconds = (time.perf_counter() - began) * 1000 / len(ready)
        return [
            self._answered(event, score, milliseconds, at, is_timed=len(ready) == 1)
            for (event, _), score in zip(ready, scores, strict=True)
        ]

    def _answered(
        self, event: Event, score: Score, milliseconds: float, at: float, *, is_timed: bool
    ) -> Event:
        theirs = {"label": score.label, "score": score.score, "probabilities": score.probabilities}
        pair = (theirs, event) if self.is_canary else (event, theirs)
        self.comparison.add(*pair)
        labels = pair[0]["label"], pair[1]["label"]
        self._answers.append((at, *labels))
        self.truths.add_pair(event["id"], event["entity_id"], *labels)
        if is_timed and not self.is_canary:
            self.comparison.challenger.add(milliseconds)
        return self._row(event, error=None, latency_ms=round(milliseconds, 3), **theirs)

    def _error(self, event: Event, error: str) -> Event:
        if (
            not self.is_canary
        ):  # else it is the champion that could not be asked, which says nothing of the canary
            self._failed(error)
        return self._row(event, label=None, score=None, probabilities=None, error=error, latency_ms=None)

    def _row(self, event: Event, **said: Any) -> Event:
        return {
            "id": new_id(),
            "at": now(),
            "project": event["project"],
            "model_version": self._asked.scorer.version,
            "role": "shadow",
            "request_id": event["request_id"],
            "entity_id": event["entity_id"],
            "prediction_id": event["id"],
            **said,
        }
