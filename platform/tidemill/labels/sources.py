"""The back end that a project's file names, and taking over its answers."""

from __future__ import annotations

from tidemill.errors import NotReady, TidemillError
from tidemill.home import Home
from tidemill.labels import ledger
from tidemill.labels.backend import LabelBackend
from tidemill.labels.built_in import BuiltIn
from tidemill.labels.classes import known_classes
from tidemill.labels.hints import HOOK_HEADER
from tidemill.labels.label_studio import TIMEOUT, LabelStudio
from tidemill.labels.label_studio_hook import Hook
from tidemill.ops import label_studio
from tidemill.ops.control import home_id
from tidemill.project import Project
from tidemill.store.state import State

GLANCE = 3.0


def open_backend(home: Home, state: State, project: Project) -> LabelBackend | None:
    """Where people answer for `project`; None when its labels are a column of the data. Close it after use.

    Raises NotReady when it cannot be reached.
    """
    if project.labels.kind == "built-in":
        return BuiltIn(state, project.name)
    if project.labels.kind == "label-studio":
        return label_studio_of(home, project)
    return None


def label_studio_of(home: Home, project: Project, *, timeout: float = TIMEOUT) -> LabelStudio:
    """Label Studio for `project`: ours, or the server that its file names. Raises NotReady without a token."""
    own = project.labels.url is None
    file = home.secrets / ("label-studio.token" if own else f"label-studio.{project.name}.token")
    try:
        token = file.read_text().strip()
    except FileNotFoundError:
        raise NotReady(
            "There is no token for Label Studio",
            detail=f"{file} is not there",
            remedy="Start our own server with `./tidemill up`."
            if own
            else f"Write the access token of an account of {project.labels.url} into that file, and chmod 600 it.",
        ) from None
    return LabelStudio(
        project,
        known_classes(home, project),
        url=project.labels.url or label_studio.address(home),
        token=token,
        mark=f"tidemill:{home_id(home)}:{project.name}",
        log="`./tidemill logs label-studio`" if own else "the log of that server",
        secret=str(file),
        data=label_studio.folder(home) / "data" if own else None,
        hook=_hook(home, project) if own else None,
        timeout=timeout,
    )


def trouble(home: Home, state: State, project: Project) -> TidemillError | None:
    """What keeps answers in Label Studio from coming over, asked in a few seconds; None when nothing does."""
    if project.labels.kind != "label-studio":
        return None
    try:
        backend = label_studio_of(home, project, timeout=GLANCE)
    except NotReady as error:
        return error
    try:
        backend.check(ledger.cursor(state, project.name, backend.source))
    except TidemillError as error:
        return error
    finally:
        backend.close()
    return None


def _hook(home: Home, project: Project) -> Hook | None:
    """Where our own server finds the API, by the way of this machine alone; None before that was ever started."""
    port = label_studio.port_of(home, "api")
    if port is None:
        return None
    url = f"http://127.0.0.1:{port}/v1/projects/{project.name}/label-studio/webhook"
    return Hook(url, {HOOK_HEADER: label_studio.secret(home, "webhook")})


def sync(home: Home, state: State, project: Project) -> ledger.Synced:
    """Take over what people have answered since the last time. Raises NotReady and what the back end raises."""
    backend = open_backend(home, state, project)
    if backend is None:
        return ledger.Synced()
    try:
        return ledger.sync(state, project.name, backend)
    finally:
        backend.close()
