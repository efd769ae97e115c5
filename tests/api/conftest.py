"""The API in this process: no port, no thread of its own for the tests to wait for."""

import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import anyio.from_thread
import httpx
import pandas as pd
import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI

from api.app import create_app
from tidemill.client import Client
from tidemill.errors import NotReady
from tidemill.home import Home
from tidemill.ops.keys import ensure_owner_key
from tidemill.ops.runs import Run, RunClient
from tidemill.serve.deployment import deploy
from tidemill.settings import Settings
from tidemill.store.tables import TableStore, TableVersion


class _Whole(httpx.AsyncByteStream):
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> Any:
        for start in range(0, len(self._data), 60_000):
            yield self._data[start : start + 60_000]


class AppTransport(httpx.BaseTransport):
    """From synchronous httpx into an ASGI application in a portal's event loop; enters its lifespan too."""

    def __init__(self, app: Any, portal: BlockingPortal) -> None:
        self._app = app
        self._portal = portal
        self._inner = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        @asynccontextmanager
        async def lived() -> Any:
            async with self._app.router.lifespan_context(self._app):
                yield

        self._stack.enter_context(self._portal.wrap_async_context_manager(lived()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def close(self) -> None:
        """Clients come and go; the application stays until the end of the `with`."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sent = httpx.Request(
            request.method, request.url, headers=request.headers, stream=_Whole(b"".join(request.stream))
        )

        async def ask() -> httpx.Response:
            response = await self._inner.handle_async_request(sent)
            content = await response.aread()
            return httpx.Response(response.status_code, headers=response.headers, content=content)

        return self._portal.call(ask)


PROJECT = """\
name: pets
title: Pets
task: binary
columns:
  pet_id: {type: string, role: id}
  kind: {type: category, values: [cat, dog]}
  weight: {type: float, min: 0, max: 100, nulls: false}
  age: {type: integer}
  chipped: {type: boolean}
  born: {type: date}
  sick: {type: category, role: target, values: ["no", "yes"]}
labels: {positive: "yes"}
"""


class FakeRuns(RunClient):
    """Runs that a test moves along by hand."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.away = False
        self._ids = itertools.count(1)

    def launch(self, project: str, job: str, tags: Mapping[str, str] | None = None) -> str:
        if self.away:
            raise NotReady("Dagster does not answer", detail="it is away", remedy="Start it.")
        run_id = f"run-{next(self._ids)}"
        self.runs[run_id] = Run(
            run_id, project, job, "queued", "2026-04-30T14:05:00.000+00:00", None, None, tags=dict(tags or {})
        )
        return run_id

    def move(self, run_id: str, **changes: Any) -> None:
        self.runs[run_id] = Run(**{**self.runs[run_id].__dict__, **changes})

    def get(self, run_id: str) -> Run | None:
        return self.runs.get(run_id)

    def list(self, project: str, job: str | None = None, limit: int = 20) -> Sequence[Run]:
        found = [
            run for run in reversed(self.runs.values()) if run.project == project and job in (None, run.job)
        ]
        return found[:limit]

    def under_way(self) -> Sequence[Run]:
        return [run for run in self.runs.values() if run.status == "running"]

    def cancel(self, run_id: str) -> bool:
        if self.runs[run_id].is_finished:
            return False
        self.move(run_id, status="canceled")
        return True

    def url(self, run_id: str) -> str | None:
        return f"http://127.0.0.1:8702/runs/{run_id}"

    def is_reachable(self) -> bool:
        return not self.away


def add_project(home: Home, text: str = PROJECT, name: str = "pets") -> Path:
    file = home.project_file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models 1 (passed its gate) and 2 (did not) of the project, trained once."""
    import numpy as np
    import pandas as pd

    from tidemill.labels.column import labels_from_column
    from tidemill.learn.bundle import add_evaluation, write_bundle
    from tidemill.learn.evaluation import evaluate
    from tidemill.learn.features import build_features
    from tidemill.learn.gate import decide
    from tidemill.learn.training import train
    from tidemill.project import Project

    folder = tmp_path_factory.mktemp("models")
    text = PROJECT + "training: {candidates: [linear], trials: 1, folds: 2}\n"
    project = Project.parse(text, Path("pets/project.yaml"))
    random = np.random.default_rng(5)
    weight = random.uniform(1, 20, 200)
    raw = pd.DataFrame(
        {
            "_row": [f"p{index}" for index in range(200)],
            "kind": random.choice(["cat", "dog"], 200),
            "weight": weight,
            "age": random.integers(0, 15, 200),
            "chipped": random.random(200) < 0.5,
            "born": pd.to_datetime("2020-01-01").date(),
            "sick": np.where(weight + random.normal(0, 2, 200) > 10, "yes", "no"),
        }
    )
    features = build_features(raw, labels_from_column(raw, project, 1), project)
    training = train(features, project)
    strict = project.model_copy(
        update={"gates": project.gates.model_copy(update={"minimum": {"roc_auc": 1.0}})}
    )
    for run_id, judge in (("run-1", project), ("run-2", strict)):
        info = write_bundle(
            folder,
            project=project,
            training=training,
            provenance={"run_id": run_id},
            reference=features,
            contract=text,
        )
        found = evaluate(training.best.pipeline, features, project, baseline=training.baseline)
        add_evaluation(folder, info.version, found, decide(found, judge))
    return folder


@pytest.fixture
def models(home: Home, bundles: Path) -> Path:
    """The home's own copy of the trained models."""
    folder = home.models("pets")
    shutil.copytree(bundles, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def deployed(app: FastAPI, models: Path) -> FastAPI:  # noqa: ARG001 - deployed from there
    """The application with model 1 deployed."""
    deploy(app.state.context.state, "pets", 1, actor="test", reason="a test")
    return app


@pytest.fixture
def data(home: Home) -> TableVersion:
    """A table `raw` of the project, so that there is something to train on."""
    return TableStore(home.tables("pets")).publish_frame("raw", pd.DataFrame({"_row": ["a", "b"]}))


@pytest.fixture
def runs() -> FakeRuns:
    return FakeRuns()


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {"max_body_bytes": 100_000, "max_upload_bytes": 200_000, "max_records": 50}
    )


@pytest.fixture
def app(home: Home, runs: FakeRuns, settings: Settings) -> Iterator[FastAPI]:
    add_project(home)
    made = create_app(home, settings, runs=runs, home_id="home-1")
    yield made
    made.state.context.state.engine.dispose()


@pytest.fixture
def transport(app: FastAPI) -> Iterator[AppTransport]:
    with anyio.from_thread.start_blocking_portal() as portal, AppTransport(app, portal) as made:
        yield made


@pytest.fixture
def key(app: FastAPI, home: Home) -> str:
    return ensure_owner_key(home, app.state.context.state)


@pytest.fixture
def http(transport: AppTransport, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(
        transport=transport, base_url="http://api", headers={"Authorization": f"Bearer {key}"}
    ) as client:
        yield client


@pytest.fixture
def client(transport: AppTransport, key: str) -> Iterator[Client]:
    with Client("http://api", key, transport=transport) as made:
        yield made
