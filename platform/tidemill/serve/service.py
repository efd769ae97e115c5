"""The service behind predictions: holds the live model of a project, follows its deployment, logs, answers.

Here belongs the life of a loaded model between "deployed" and "replaced", and the order of check, score, log and
answer. HTTP is in `api/`; which model is live is decided in `serve/deployment.py`.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from sqlalchemy.exc import OperationalError

from tidemill.errors import NotReady, TidemillError
from tidemill.home import Home
from tidemill.learn.bundle_info import load_info
from tidemill.project import Project
from tidemill.serve import deployment
from tidemill.serve.plain import PlainAnswer, PlainRoute
from tidemill.serve.record import CheckedRecord, Flag, RecordContract
from tidemill.serve.scorer import Scorer, open_scorer
from tidemill.store.state import State

MakeScorer = Callable[[Path, int, Project], Scorer]
Readiness = Literal["nothing deployed", "loading model", "ready", "failed"]

RETRY_AFTER = 30.0
# A deployment that was looked at longer ago is looked at again before the next answer.
STALE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Log(Protocol):
    """Where predictions are stored before they are answered (`store.events.EventLog`)."""

    def append(self, events: Sequence[Mapping[str, Any]]) -> None: ...

    def write(self, lines: bytes) -> None: ...


@dataclass(frozen=True)
class Prediction:
    """One answer, as it was logged."""

    id: str
    label: str | float
    score: float | None
    probabilities: dict[str, float] | None
    model_version: int
    flags: list[Flag]
    at: str


@dataclass(frozen=True)
class Live:
    """A loaded model with the contract it was trained under.

    `policies_mark` tells when policies were edited. `plain` answers plain requests, where the model is compiled.
    """

    scorer: Scorer
    contract: RecordContract
    project: Project
    revision: int
    policies_mark: int
    plain: PlainRoute | None = None


class PredictionService:
    """Predictions of one project. Thread-safe.

    The deployment is looked at no more often than every `check_every` seconds. A new champion is loaded beside
    the old one, which answers until a reference is exchanged: no request waits for a swap but the very first.
    `on_log` is told the seconds each write of the log took.
    """

    def __init__(
        self,
        home: Home,
        state: State,
        project_name: str,
        log: Log,
        *,
        make_scorer: MakeScorer = open_scorer,
        check_every: float = 0.5,
        on_log: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.project_name = project_name
        self._home = home
        self._state = state
        self._log = log
        self._make_scorer = make_scorer
        self._check_every = check_every
        self._on_log = on_log
        self._live: Live | None = None
        self._prepared: Scorer | None = None
        self._failure: tuple[int, TidemillError, float] | None = None
        self._checked_at = float("-inf")
        self._check_lock = threading.Lock()
        self._load_lock = threading.Lock()

    def predict(self, records: Sequence[Any], request_id: str) -> list[Prediction]:
        """Check, score and log `records`; answers exist only for what is in the log.

        Raises InvalidInput (with every fault), NotReady when no model is live, StorageFull when the log takes no
        more. All records are answered, or none.
        """
        started = time.perf_counter()
        live = self.live()
        checked = live.contract.check_all(records)
        scores = live.scorer.score([record.values for record in checked])
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        answers = [
            Prediction(
                id=str(uuid.uuid4()),
                label=score.label,
                score=score.score,
                probabilities=score.probabilities,
                model_version=live.scorer.version,
                flags=record.flags,
                at=at,
            )
            for record, score in zip(checked, scores, strict=True)
        ]
        latency = round((time.perf_counter() - started) * 1000, 3)
        events = [
            self._event(record, answer, request_id, latency)
            for record, answer in zip(checked, answers, strict=True)
        ]
        before_write = time.perf_counter()
        self._log.append(events)
        self._on_log(time.perf_counter() - before_write)
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
        made = live.plain(body, request_id, most, started)
        if made is not None:
            before_write = time.perf_counter()
            self._log.write(made.lines)
            self._on_log(time.perf_counter() - before_write)
        return made

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
            if live is not None and live.revision == wanted.revision and not self._policies_changed(live):
                return live
            if live is None and (failure := self._recent_failure(wanted.revision)) is not None:
                raise failure
            try:
                self._live = self._load(wanted)
            except TidemillError as error:
                self._failure = (wanted.revision, error, time.monotonic())
                raise
            except Exception as error:
                logger.exception("model %s of project %s did not load", wanted.champion, self.project_name)
                failure = _unexpected(self.project_name, wanted.champion, error)
                self._failure = (wanted.revision, failure, time.monotonic())
                raise failure from error
            self._failure = None
            return self._live

    def prepare(self, version: int) -> None:
        """Load a model that is about to be deployed: what cannot be loaded should not become the champion."""
        live = self._live
        if live is not None and live.scorer.version == version:
            return
        with self._load_lock:
            models = self._home.models(self.project_name)
            self._prepared = self._make_scorer(models, version, self._contract_of(models, version))

    def open_version(self, version: int) -> Live:
        """Any version with its own contract and today's policies, for work beside the live one.

        Raises NotFound or Corrupt.
        """
        models = self._home.models(self.project_name)
        load_info(models, version)
        project = self._with_policies(self._contract_of(models, version))
        scorer = self._make_scorer(models, version, project)
        return self._ready(scorer, project, 0, self._policies_mark())

    def follow(self) -> None:
        """Load what is deployed, in this thread, if it is not live yet. Failures are kept for `readiness`."""
        live = self._live
        wanted = deployment.current(self._state, self.project_name)
        if wanted is None:
            return
        if self._recent_failure(wanted.revision) is None and self._is_behind(live, wanted):
            self._catch_up(live, wanted)
        self._checked_at = time.monotonic()

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
        return live is None or live.revision != wanted.revision or self._policies_changed(live)

    def _catch_up(self, live: Live | None, wanted: deployment.Deployment) -> None:
        if live is None or not self._renew(live, wanted):
            self._load_quietly()

    def _renew(self, live: Live, wanted: deployment.Deployment) -> bool:
        """Whether nothing needs to be loaded: the model stayed (its rules are read again), or one is on its way."""
        if not self._load_lock.acquire(blocking=False):
            return True
        try:
            if wanted.champion == live.scorer.version:
                self._live = self._renewed(live, wanted)
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
        models = self._home.models(self.project_name)
        mark = self._policies_mark()
        project = self._with_policies(self._contract_of(models, wanted.champion))
        scorer, self._prepared = self._prepared, None
        if scorer is None or scorer.version != wanted.champion:
            scorer = self._make_scorer(models, wanted.champion, project)
        return self._ready(scorer, project, wanted.revision, mark)

    def _renewed(self, live: Live, wanted: deployment.Deployment) -> Live:
        mark = self._policies_mark()
        project = self._with_policies(live.project)
        return self._ready(live.scorer, project, wanted.revision, mark)

    def _ready(self, scorer: Scorer, project: Project, revision: int, mark: int) -> Live:
        from tidemill.serve.compiled import CompiledScorer

        contract = RecordContract(project)
        is_compiled = isinstance(scorer, CompiledScorer) and project.name == self.project_name
        plain = PlainRoute(project, contract, scorer) if is_compiled else None  # type: ignore[arg-type]
        return Live(scorer, contract, project, revision, mark, plain)

    def _contract_of(self, models: Path, version: int) -> Project:
        """The contract the model was trained under: today's project.yaml may have other columns."""
        file = models / str(version) / "contract.yaml"
        if not file.is_file():
            return Project.load(self._home.require_project(self.project_name))
        text = file.read_text(encoding="utf-8")
        return Project.parse(text, self._home.project_file(self.project_name))

    def _with_policies(self, trained: Project) -> Project:
        """`trained` with today's rules on odd values, which need no new model; the threshold stays the model's."""
        try:
            today = Project.load(self._home.require_project(self.project_name)).serving
        except TidemillError:
            return trained  # a broken project.yaml is shown elsewhere and must not stop the answers
        rules = today.model_dump(exclude={"threshold"})
        serving = trained.serving.model_copy(update=rules)
        return trained.model_copy(update={"serving": serving})

    def _policies_mark(self) -> int:
        try:
            return self._home.project_file(self.project_name).stat().st_mtime_ns
        except OSError:
            return 0

    def _policies_changed(self, live: Live) -> bool:
        return live.policies_mark != self._policies_mark()

    def _event(
        self, record: CheckedRecord, answer: Prediction, request_id: str, latency_ms: float
    ) -> dict[str, Any]:
        return {
            "id": answer.id,
            "at": answer.at,
            "project": self.project_name,
            "model_version": answer.model_version,
            "role": "champion",
            "request_id": request_id,
            "entity_id": record.entity_id,
            "input": record.input,
            "label": answer.label,
            "score": answer.score,
            "probabilities": answer.probabilities,
            "flags": answer.flags,
            "latency_ms": latency_ms,
        }


def _unexpected(project: str, version: int, error: Exception) -> NotReady:
    return NotReady(
        "The model could not be loaded",
        detail=f"project {project}, model {version}: {type(error).__name__}",
        remedy="`tidemill logs api` shows why. Deploy another version meanwhile.",
    )
