"""The back end that a project's file names, and taking over its answers."""

from __future__ import annotations

from tidemill.errors import NotReady
from tidemill.home import Home
from tidemill.labels import ledger
from tidemill.labels.backend import LabelBackend
from tidemill.labels.built_in import BuiltIn
from tidemill.project import Project
from tidemill.store.state import State


def open_backend(home: Home, state: State, project: Project) -> LabelBackend | None:  # noqa: ARG001
    """Where people answer for `project`; None when its labels are a column of the data. Close it after use.

    Raises NotReady when it cannot be reached.
    """
    if project.labels.kind == "built-in":
        return BuiltIn(state, project.name)
    if project.labels.kind == "label-studio":
        raise NotReady(
            "There is no Label Studio here",
            detail=f"project {project.name} wants its labels from Label Studio",
            remedy="Set labels to built-in in project.yaml: then the dashboard's labelling page is used.",
        )
    return None


def sync(home: Home, state: State, project: Project) -> ledger.Synced:
    """Take over what people have answered since the last time. Raises NotReady and what the back end raises."""
    backend = open_backend(home, state, project)
    if backend is None:
        return ledger.Synced()
    try:
        return ledger.sync(state, project.name, backend)
    finally:
        backend.close()
