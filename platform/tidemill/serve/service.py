"""The service behind predictions: holds the live model of a project, follows its deployment, logs, answers.

Here belongs the life of a loaded model between "deployed" and "replaced", and the order of check, score, log and
answer. HTTP is in `api/`; which model is live is decided in `serve/deployment.py`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from sqlalchemy.exc import OperationalError

from tidemill.errors import InvalidInput, NotReady, TidemillError
from tidemill.home import Home
from tidemill.serve import deployment
from tidemill.serve.canary import Canary, Tried, kept
from tidemill.serve.live import Live, Loader, MakeScorer
from tidemill.serve.load_alerts import tell_loaded, tell_not_loaded, withdraw_not_loaded
from tidemill.serve.plain import PlainAnswer
from tidemill.serve.prediction import Asked, Made, Prediction, answerable, reasons_of, right_of
from tidemill.serve.record import CheckedRecord, RecordFault
from tidemill.serve.scorer import Scorer, open_scorer
from tidemill.store.state import State

Readiness = Literal["nothing deployed", "loading model", "ready", "failed"]

RETRY_AFTER = 30.0
# A deployment that was looked at longer ago is looked at again before the next answer.
STALE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Log(Protocol):
    """Where predictions are stored before they are answered (`store.events.EventLog`)."""

    def append(self, events: Sequence[Mapping[str, Any]]) -> None: ...

    def write(self, lines: bytes) -> None: ...


class PredictionService:
    """Predictions of one project. Thread-safe.

    The deployment is looked at no more often than every `check_every` seconds. A new champion is loaded beside
    the old one, which answers until a reference is exchanged: no request waits for a swap but the very first.
    `on_log` is told the seconds each write of the log took. What a canary fails at goes into `challenger_log`.
    """

    def __init__(
        self,
        home: Home,
        state: State,
        project_name: str,
        log: Log,
        *,
        challenger_log: Log | None = None,
        make_scorer: MakeScorer = open_scorer,
        check_every: float = 0.5,
        on_log: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.project_name = project_name
        self._state = state
        self._log = log
        self._challenger_log = challenger_log
        self._loader = Loader(home, project_name, make_scorer)
        self._check_every = check_every
        self._on_log = on_log
        self._live: Live | None = None
        self._canary: Canary | None = None
        self._following: threading.Thread | None = None
        self._prepared: Scorer | None = None
        self._failure: tuple[int, TidemillError, float] | None = None
        self._checked_at = float("-inf")
        self._check_lock = threading.Lock()
        self._load_lock = threading.Lock()

    def predict(
        self, records: Sequence[Any], request_id: str, *, explain: bool = False, canary_has_room: bool = True
    ) -> list[Prediction]:
        """Check, score and log `records`; answers exist only for what is in the log.

        Each is answered by the champion, or by the canary if it belongs to it; when that fails, or has no room, by
        the champion all the same.

        Raises InvalidInput (with every fault), NotReady when no model is live, StorageFull when the log takes no
        more, with `explain` NotExplainable or TooLarge. All records are answered, or none.
        """
        asked = Asked(request_id, explain, canary_has_room)
        live = self.live()
        return self._answer(live, records, live.contract.check_all(records), asked)

    def predict_each(
        self, records: Sequence[Any], request_id: str, *, explain: bool = False, canary_has_room: bool = True
    ) -> list[Prediction | list[RecordFault]]:
        """The same, but a record with faults keeps no other from its answer: its faults stand in its place."""
        asked = Asked(request_id, explain, canary_has_room)
        live = self.live()
        found = live.contract.check_each(records)
        try:
            answers = self._answer(live, *right_of(records, found), asked)
        except InvalidInput:  # the model has no answer for one of them
            found = answerable(live.scorer, found)
            answers = self._answer(live, *right_of(records, found), asked)
        in_turn = iter(answers)
        return [next(in_turn) if isinstance(one, CheckedRecord) else one for one in found]

    def _answer(
        self, live: Live, records: Sequence[Any], checked: Sequence[CheckedRecord], asked: Asked
    ) -> list[Prediction]:
        canary = self._canary
        tried = Tried()
        if canary is not None:
            tried = canary.ask(records, checked, asked.request_id, has_room=asked.canary_has_room)
        rest = [place for place in range(len(checked)) if place not in tried.answers]
        scores = live.scorer.score([checked[place].values for place in rest])
        took = time.perf_counter() - asked.started
        made = [Made("champion", live.scorer, checked[place], score, took - tried.seconds)
                for place, score in zip(rest, scores, strict=True)]  # fmt: skip
        if canary is not None and tried.answers:
            for place, (record, score) in sorted(tried.answers.items()):
                made.insert(place, Made("canary", canary.live.scorer, record, score, tried.seconds))
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        # Before anything is logged: what cannot be explained is refused as a whole.
        reasons = reasons_of(made) if asked.explain else [None] * len(made)
        answers = [one.answer(at, reason) for one, reason in zip(made, reasons, strict=True)]
        events = [
            one.event(answer, self.project_name, asked.request_id)
            for one, answer in zip(made, answers, strict=True)
        ]
        if events:
            before_write = time.perf_counter()
            self._log.append(events)
            self._on_log(time.perf_counter() - before_write)
        if canary is not None and tried.failures:
            self._note_failures(
                canary.failure_event(answers[place].id, asked.request_id, made[place].record.entity_id, why)
                for place, why in tried.failures.items()
            )
        return answers

    def predict_plain(self, body: bytes, request_id: str, most: int) -> PlainAnswer | None:
        """Answer the plain request `body`, logged, or None when `predict` has to; see `serve/plain.py`.

        Waits for nothing but the write to the log: the deployment must have been followed lately. Raises
        StorageFull.
        """
        started = time.perf_counter()
        live = self._live
        if live is None or live.plain is None or time.monotonic() - self._checked_at > STALE_SECONDS:
            return None
        if self._canary is not None:
            return self._plain_beside(self._canary, live, body, request_id, most, started)
        made = live.plain(body, request_id, most, started)
        if made is not None:
            self._write(made)
        return made

    def canary_for(self, records: Sequence[Any], request_id: str) -> Canary | None:
        """The canary, if any of `records` belongs to it: who waits for it should not be in the others' way."""
        canary = self._canary
        if canary is None or not any(canary.takes_record(record, request_id) for record in records):
            return None
        return canary

    def live(self) -> Live:
        """The model that answers now. Raises NotReady when none is deployed, or why the first did not load."""
        live = self._live
        if time.monotonic() - self._checked_at > self._check_every and self._check_lock.acquire(
            blocking=False
        ):
            try:
                self._follow()
            finally:
                self._checked_at = time.monotonic()
                self._check_lock.release()
            live = self._live
        if live is None:
            live = self.load_now()
        return live

    def load_now(self) -> Live:
        """Load the champion in this thread and make it live. Raises as `live` does."""
        with self._load_lock:
            wanted = deployment.current(self._state, self.project_name)
            if wanted is None:
                raise NotReady(
                    "No model is deployed yet",
                    detail=f"project {self.project_name} has no champion",
                    remedy="Train a model; one that passes its gate is deployed by itself. "
                    "Or deploy a version on the page Models.",
                )
            live = self._live
            if live is not None and not self._is_behind(live, wanted):
                return live
            if live is None and (failure := self._recent_failure(wanted.revision)) is not None:
                raise failure
            try:
                self._live = self._load(wanted)
            except Exception as error:
                logger.exception("model %s of project %s did not load", wanted.champion, self.project_name)
                failure = (
                    error
                    if isinstance(error, TidemillError)
                    else _unexpected(self.project_name, wanted.champion, error)
                )
                self._failure = (wanted.revision, failure, time.monotonic())
                tell_not_loaded(self._state, self.project_name, wanted.champion, failure, live)
                raise failure from error
            self._failure = None
            tell_loaded(self._state, self.project_name, wanted.champion)
            return self._live

    def prepare(self, version: int) -> None:
        """Load a model that is about to be deployed: what cannot be loaded should not become the champion."""
        live = self._live
        if live is not None and live.scorer.version == version:
            return
        with self._load_lock:
            self._prepared = self._loader.scorer(version)

    def open_version(self, version: int) -> Live:
        """Any version with its own contract and today's policies, for work beside the live one.

        Raises NotFound or Corrupt.
        """
        return self._loader.open_version(version)

    def follow(self) -> None:
        """Load what is deployed, in this thread, if it is not live yet. Failures are kept for `readiness`."""
        live = self._live
        wanted = deployment.current(self._state, self.project_name)
        if wanted is None:
            return
        if self._recent_failure(wanted.revision) is None and self._is_behind(live, wanted):
            self._catch_up(live, wanted)
        self._follow_canary(wanted)
        self._checked_at = time.monotonic()

    def follow_in_background(self) -> deployment.Deployment | None:
        """`follow`, in a thread of its own where something must be loaded, one at a time. Gives what is wanted."""
        wanted = deployment.current(self._state, self.project_name)
        self._checked_at = time.monotonic()
        if wanted is None or (self._following is not None and self._following.is_alive()):
            return wanted
        canary = self._canary
        wants = wanted.canary.version if wanted.canary else None
        is_loaded = self._live is not None and self._live.scorer.version == wanted.champion
        if is_loaded and wants in (None, canary.version if canary else None):
            self.follow()
            return wanted
        self._following = threading.Thread(
            target=self._follow_quietly, name=f"follow {self.project_name}", daemon=True
        )
        self._following.start()
        return wanted

    def _follow_quietly(self) -> None:
        try:
            self.follow()
        except OperationalError as error:
            logger.warning("the control database does not answer: %s", type(error).__name__)

    def readiness(self) -> tuple[Readiness, str]:
        """State and one line about it, without loading anything; asks the database."""
        wanted = deployment.current(self._state, self.project_name)
        if wanted is None:
            return "nothing deployed", ""
        live = self._live
        if self._failure is not None and self._failure[0] == wanted.revision:
            kept = f"; model {live.scorer.version} still answers" if live else ""
            return "failed", f"model {wanted.champion}: {self._failure[1].title}{kept}"
        if live is None or live.revision != wanted.revision:
            return "loading model", str(wanted.champion)
        return "ready", f"model {live.scorer.version}"

    def _follow(self) -> None:
        """Begin to load a newer champion in the background, if there is one."""
        live = self._live
        if live is None:
            return
        try:
            wanted = deployment.current(self._state, self.project_name)
        except OperationalError:
            return  # a database that is busy or away must not stop a model that is loaded
        if wanted is None or not self._is_behind(live, wanted):
            return
        if self._recent_failure(wanted.revision) is not None or self._renew(live, wanted):
            return
        threading.Thread(target=self._load_quietly, name=f"load {self.project_name}", daemon=True).start()

    def _is_behind(self, live: Live | None, wanted: deployment.Deployment) -> bool:
        if live is None or live.revision != wanted.revision:
            return True
        return live.policies_mark != self._loader.policies_mark()

    def _follow_canary(self, wanted: deployment.Deployment) -> None:
        """Have the canary that is wanted at hand, or none. One that does not load is withdrawn."""
        challenger = wanted.canary
        if challenger is None:
            self._canary = None
            return
        with self._load_lock:
            canary = kept(self._canary, challenger)
            try:
                if canary is None:
                    live = self._loader.live(challenger.version, wanted.revision, role="canary")
                    canary = Canary(live, challenger)
                elif canary.live.policies_mark != self._loader.policies_mark():
                    canary = canary.changed(self._loader.renewed(canary.live, wanted.revision), challenger)
            except Exception as error:
                logger.exception(
                    "canary %s of project %s did not load", challenger.version, self.project_name
                )
                self._canary = None
                withdraw_not_loaded(self._state, wanted, error)
                return
            self._canary = canary

    def _catch_up(self, live: Live | None, wanted: deployment.Deployment) -> None:
        if live is None or not self._renew(live, wanted):
            self._load_quietly()

    def _renew(self, live: Live, wanted: deployment.Deployment) -> bool:
        """Whether nothing needs to be loaded: the model stayed (its rules are read again), or one is on its way."""
        if not self._load_lock.acquire(blocking=False):
            return True
        try:
            if wanted.champion == live.scorer.version:
                self._live = self._loader.renewed(live, wanted.revision)
                return True
        finally:
            self._load_lock.release()
        return False

    def _load_quietly(self) -> None:
        try:
            self.load_now()
        except TidemillError:
            return  # kept in self._failure, shown by readiness(); the old model goes on answering

    def _recent_failure(self, revision: int) -> TidemillError | None:
        failure = self._failure
        if failure is None or failure[0] != revision or time.monotonic() - failure[2] > RETRY_AFTER:
            return None
        return failure[1]

    def _load(self, wanted: deployment.Deployment) -> Live:
        scorer, self._prepared = self._prepared, None
        for loaded in (self._live, self._canary.live if self._canary else None):
            if loaded is not None and loaded.scorer.version == wanted.champion:
                scorer = loaded.scorer
        return self._loader.live(wanted.champion, wanted.revision, scorer)

    def _plain_beside(
        self, canary: Canary, live: Live, body: bytes, request_id: str, most: int, started: float
    ) -> PlainAnswer | None:
        found = canary.plain(live, body, request_id, most, started)
        if found is None:
            return None
        self._write(found.made)
        if found.failure is not None:
            self._note_failures([found.failure])
        return found.made

    def _write(self, made: PlainAnswer) -> None:
        before_write = time.perf_counter()
        self._log.write(made.lines)
        self._on_log(time.perf_counter() - before_write)

    def _note_failures(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Write down what the canary failed at. The answers are in the log and go out whatever becomes of this."""
        if self._challenger_log is None:
            return
        try:
            self._challenger_log.append(list(events))
        except TidemillError as error:
            logger.warning("a canary's failure could not be logged: %s", error.title)


def _unexpected(project: str, version: int, error: Exception) -> NotReady:
    return NotReady(
        "The model could not be loaded",
        detail=f"project {project}, model {version}: {type(error).__name__}",
        remedy="`tidemill logs api` shows why. Deploy another version meanwhile.",
    )
