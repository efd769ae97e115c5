"""What the routes share: home, state, keys, loaded models, logs. Made once per application, handed in by FastAPI.

Nothing heavy is imported here: pandas, scikit-learn, DuckDB and Arrow come with the first request that needs them.
"""

from __future__ import annotations

import logging
import threading
from typing import Annotated

import anyio
from fastapi import Depends, Request
from sqlalchemy.exc import SQLAlchemyError

from api.access_log import AccessLog
from api.metrics import Metrics
from api.mlflow_session import Sessions
from tidemill.errors import TidemillError
from tidemill.home import Home
from tidemill.labels.hints import Hints
from tidemill.labels.label_studio_login import Tickets
from tidemill.ops.access import RateLimits
from tidemill.ops.keys import KeyRing
from tidemill.ops.oidc import Issuer
from tidemill.ops.runs import RunClient
from tidemill.project import Project
from tidemill.serve.keeper import Keeper
from tidemill.serve.service import PredictionService
from tidemill.settings import Settings
from tidemill.store.events import EventLog, Stream
from tidemill.store.state import State

# Threads of the prediction path, kept apart from those of slow queries. Scoring is bound by the processor.
PREDICTION_THREADS = 4
CANARY_THREADS = 2  # a slow canary must leave the others theirs
OTHER_THREADS = 16
WATCH_SECONDS = 0.5

logger = logging.getLogger("tidemill.api")


class Context:
    """Everything a route may need. `close` ends what was opened.

    `streams` counts the event streams that are open; they end once `stopping` is set.
    """

    def __init__(self, home: Home, settings: Settings, state: State, runs: RunClient, home_id: str) -> None:
        self.home = home
        self.settings = settings
        self.state = state
        self.runs = runs
        self.home_id = home_id
        self.keys = KeyRing(state)
        self.issuer = _issuer(settings)
        self.access_log = AccessLog(is_on=settings.access_log)
        self.rates = RateLimits(settings.requests_per_second)
        self.metrics = Metrics()
        self.tickets = Tickets()
        self.mlflow_sessions = Sessions(home, self.keys)
        self.hints = Hints()
        self.predicting = anyio.CapacityLimiter(PREDICTION_THREADS)
        self.asking_canaries = anyio.CapacityLimiter(CANARY_THREADS)
        self.keeper = Keeper(home, state, settings.database_url)
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self.streams = 0
        self._closing = threading.Event()
        self._projects: dict[str, tuple[int, Project]] = {}
        self._services: dict[str, PredictionService] = {}
        self._logs: dict[tuple[str, Stream], EventLog] = {}

    def project(self, name: str) -> Project:
        """The project as its file is now. Raises NotFound or ProjectFileError."""
        file = self.home.require_project(name)
        mark = file.stat().st_mtime_ns
        known = self._projects.get(name)
        if known is None or known[0] != mark:
            known = (mark, Project.load(file))
            self._projects[name] = known
        return known[1]

    def log(self, project: str, stream: Stream) -> EventLog:
        """This process's writer of one log."""
        with self._lock:
            if (project, stream) not in self._logs:
                self._logs[project, stream] = EventLog(
                    self.home, project, stream, segment_bytes=self.settings.segment_bytes
                )
            return self._logs[project, stream]

    def service(self, project: str) -> PredictionService:
        """The prediction service of a project that exists; its model is loaded on first use."""
        log, aside = self.log(project, "predictions"), self.log(project, "challenger")
        with self._lock:
            if project not in self._services:
                self._services[project] = PredictionService(
                    self.home,
                    self.state,
                    project,
                    log,
                    challenger_log=aside,
                    on_log=self.metrics.log_seconds.labels(project).observe,
                )
            return self._services[project]

    def loaded(self, project: str) -> PredictionService | None:
        """The prediction service of `project` if it was asked for before; waits for nothing."""
        return self._services.get(project)

    def watch_deployments(self) -> None:
        """Keep deployed models and keys at hand until `close`, so that no prediction waits for the database.

        Runs in a thread.
        """
        from tidemill.serve.deployment import deployed

        while not self._closing.is_set():
            try:
                self.keys.renew()
                for name in deployed(self.state):
                    if not self._closing.is_set() and (self.home.projects / name).is_dir():
                        found = self.service(name).follow_in_background()
                        if found is not None:
                            self.keeper.look(found)
            except SQLAlchemyError as error:
                logger.warning("the control database does not answer: %s", type(error).__name__)
            self._closing.wait(WATCH_SECONDS)

    def close(self) -> None:
        self._closing.set()
        self.keeper.close()
        self.hints.close()
        self.runs.close()
        with self._lock:
            for log in self._logs.values():
                try:
                    log.close()
                except TidemillError as error:
                    logger.error("closing a log: %s", " ".join(str(error).splitlines()))
            self._logs.clear()


def _issuer(settings: Settings) -> Issuer | None:
    if settings.oidc_issuer is None:
        return None
    return Issuer(
        settings.oidc_issuer,
        settings.oidc_audience,
        roles=settings.oidc_roles_claim,
        projects=settings.oidc_projects_claim,
    )


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _find_context(request: Request) -> Context:
    return _context(request)


async def _known_project(project: str, request: Request) -> str:
    """The name of a project of this home. Raises NotFound."""
    _context(request).home.require_project(project)
    return project


async def _readable_project(project: str, request: Request) -> Project:
    """The project. Raises NotFound or ProjectFileError."""
    return _context(request).project(project)


async def _request_id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])


Ctx = Annotated[Context, Depends(_find_context)]
KnownName = Annotated[str, Depends(_known_project)]
KnownProject = Annotated[Project, Depends(_readable_project)]
RequestId = Annotated[str, Depends(_request_id)]
