"""A canary in the prediction path: who belongs to it, and its answers, or why there is none.

Whatever goes wrong with a canary, the champion answers in its place and the failure is written to the log stream
`challenger`, where the policy finds it. Here belong the choice and the asking; judging is `serve/policy.py`, the
states are `serve/deployment.py`.

A compiled model is asked where the request is: its work is bounded. Any other is asked in a thread of its own and
given up after `rollout.timeout_ms`; while threads that were given up still run, the next requests do not wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from math import isfinite
from typing import Any

import orjson

from tidemill.serve.deployment import Challenger
from tidemill.serve.live import Live
from tidemill.serve.plain import PlainAnswer, new_id
from tidemill.serve.record import CheckedRecord
from tidemill.serve.scorer import Score, Values
from tidemill.store.state import now

# Calls that were given up and still run, before no more are begun; and requests that may wait for one.
MOST_LATE = 2
MOST_WAITING = 8


def share_of(salt: str, key: str) -> float:
    """Where `key` (an entity's id, else a request's) falls between 0 and 100: evenly, and always at one place."""
    digest = blake2b(f"{salt}:{key}".encode("utf-8", "replace"), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56 * 100


@dataclass(frozen=True)
class Tried:
    """What a canary made of the records that belong to it, by their place; `seconds` is what it took."""

    answers: dict[int, tuple[CheckedRecord, Score]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


class Canary:
    """A loaded canary. Thread-safe."""

    def __init__(self, live: Live, challenger: Challenger) -> None:
        self.live = live
        self.challenger = challenger
        self._timeout = live.project.rollout.timeout_ms / 1000
        self._id_column = live.project.id_column
        self._lock = threading.Lock()
        self._late = 0
        self._waiting = 0

    @property
    def version(self) -> int:
        return self.challenger.version

    def changed(self, live: Live, challenger: Challenger) -> Canary:
        """The same model with another share or other policies."""
        if live is self.live and challenger == self.challenger:
            return self
        made = Canary(live, challenger)
        made._late = self._late
        return made

    def takes(self, key: str) -> bool:
        """Whether the entity or request `key` belongs to the canary."""
        assert self.challenger.percent is not None
        return share_of(self.challenger.salt, key) < self.challenger.percent

    def takes_record(self, record: Any, request_id: str) -> bool:
        """`takes` for a record as it was sent."""
        value = record.get(self._id_column) if self._id_column and isinstance(record, Mapping) else None
        is_id = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
        return self.takes(str(value) if is_id else request_id)

    @contextmanager
    def room(self) -> Iterator[bool]:
        """Whether one more request may wait for this canary; held until it has been answered."""
        with self._lock:
            self._waiting += 1
            has_room = self._waiting <= MOST_WAITING
        try:
            yield has_room
        finally:
            with self._lock:
                self._waiting -= 1

    def ask(
        self,
        records: Sequence[Any],
        checked: Sequence[CheckedRecord],
        request_id: str,
        *,
        has_room: bool = True,
    ) -> Tried:
        """Answers for those of `records` that belong to the canary; `checked` is what the champion's contract made
        of them. Raises nothing: what fails is in `failures`."""
        began = time.perf_counter()
        mine = [place for place, one in enumerate(checked) if self.takes(one.entity_id or request_id)]
        if not mine:
            return Tried()
        if not has_room:
            return Tried(failures=dict.fromkeys(mine, f"{MOST_WAITING} requests wait for it already"))
        own: dict[int, CheckedRecord] = {}
        failures: dict[int, str] = {}
        for place in mine:
            found = self.live.contract.check(records[place])
            if isinstance(found, CheckedRecord):
                own[place] = found
            else:
                failures[place] = f"its contract refuses {found[0].field or 'the record'}: {found[0].message}"
        scores: list[Score] = []
        try:
            scores = self._scored([record.values for record in own.values()])
        except Exception as error:  # noqa: BLE001 - told in the log, counted by the policy; the champion answers
            failures |= dict.fromkeys(own, _named(error))
            own = {}
        answers = {}
        for (place, record), score in zip(own.items(), scores, strict=True):
            if _is_finite(score):
                answers[place] = (record, score)
            else:
                failures[place] = "its answer is not a number"
        return Tried(answers, failures, time.perf_counter() - began)

    def plain(self, champion: Live, body: bytes, request_id: str, most: int, started: float) -> Plain | None:
        """The answer to a plain request for one record, from the model it belongs to; None as `PlainRoute`."""
        assert champion.plain is not None
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if type(document) is not dict or "records" in document:
            return None
        if not self.takes_record(document, request_id):
            made = champion.plain(body, request_id, most, started)
            return None if made is None else Plain(made)
        if self.live.plain is None or not champion.plain.allows(document):
            return None
        try:
            made, failure = self.live.plain(body, request_id, most, started), None
        except Exception as error:  # noqa: BLE001 - as in `ask`
            made, failure = None, _named(error)
        if made is not None:
            return Plain(made)
        if failure is None:
            return None
        made = champion.plain(body, request_id, most, started)
        if made is None:
            return None
        answer = orjson.loads(made.body)
        entity = document.get(self._id_column) if self._id_column else None
        return Plain(
            made,
            self.failure_event(answer["id"], request_id, None if entity is None else str(entity), failure),
        )

    def failure_event(
        self, prediction_id: str, request_id: str, entity_id: str | None, error: str
    ) -> dict[str, Any]:
        """What the log stream `challenger` holds of a request that the champion had to answer instead."""
        return {
            "id": new_id(),
            "at": now(),
            "project": self.live.project.name,
            "model_version": self.version,
            "role": "canary",
            "request_id": request_id,
            "entity_id": entity_id,
            "prediction_id": prediction_id,
            "label": None,
            "score": None,
            "probabilities": None,
            "error": error,
            "latency_ms": None,
        }

    def _scored(self, values: Sequence[Values]) -> list[Score]:
        if self.live.plain is not None:
            return self.live.scorer.score(values)
        with self._lock:
            if self._late >= MOST_LATE:
                raise TimeoutError(f"{self._late} earlier calls have not come back")
        call = _Call(self, values)
        threading.Thread(target=call.run, name=f"canary {self.version}", daemon=True).start()
        return call.result(self._timeout)

    def count_late(self, change: int) -> None:
        with self._lock:
            self._late += change


@dataclass(frozen=True)
class Plain:
    """A plain answer, and the event for the log stream `challenger` when the canary failed."""

    made: PlainAnswer
    failure: dict[str, Any] | None = None


class _Call:
    """One call of a model that may never come back."""

    def __init__(self, canary: Canary, values: Sequence[Values]) -> None:
        self._canary = canary
        self._values = values
        self._scores: list[Score] = []
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._given_up = False

    def run(self) -> None:
        try:
            self._scores = self._canary.live.scorer.score(self._values)
        except BaseException as error:  # noqa: BLE001 - raised where the call is waited for
            self._error = error
        with self._lock:
            self._done.set()
            if self._given_up:
                self._canary.count_late(-1)

    def result(self, timeout: float) -> list[Score]:
        self._done.wait(timeout)
        with self._lock:
            if not self._done.is_set():
                self._given_up = True
                self._canary.count_late(1)
                raise TimeoutError(f"no answer within {timeout * 1000:g} ms")
        if self._error is not None:
            raise self._error
        if len(self._scores) != len(self._values):
            raise ValueError(f"{len(self._scores)} answers to {len(self._values)} records")
        return self._scores


def _is_finite(score: Score) -> bool:
    if score.probabilities is not None:
        return all(isfinite(value) for value in score.probabilities.values())
    return isinstance(score.label, str) or isfinite(score.label)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def kept(canary: Canary | None, challenger: Challenger) -> Canary | None:
    """`canary` if it is the model of `challenger`, with its share; None when that has to be loaded."""
    if canary is None or canary.version != challenger.version:
        return None
    return canary.changed(canary.live, challenger)
