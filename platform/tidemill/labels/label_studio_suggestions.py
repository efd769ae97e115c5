"""What models say of tasks in Label Studio: sent with a later model, and only the newest model's shown.

Label Studio shows the suggestions of one version, the project's, and keeps with an answer what that version said.
`contract` is the project as we know it, `project` its number in Label Studio, `there` its tasks by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.errors import Corrupt
from tidemill.labels.backend import LabelTask
from tidemill.labels.label_config import prediction, version_name, version_of
from tidemill.labels.label_studio_http import Connection
from tidemill.project import Project


def suggest(
    server: Connection,
    contract: Project,
    project: int,
    tasks: Sequence[LabelTask],
    there: Mapping[str, Mapping[str, Any]],
) -> None:
    """Add what a model says to tasks that lack it. One request, since each takes seconds.

    What an earlier model said stays, as somebody may have it before them; `show` says which is shown.
    """
    said = _said(server, project, tasks, there)
    wanted = []
    for task in tasks:
        number = int(there[task.row]["id"])
        if task.suggestion is not None and task.suggestion.model_version not in said.get(number, ()):
            wanted.append({"task": number, **prediction(contract, task.suggestion)})
    if not wanted:
        return
    made = server.call("POST", f"/api/projects/{project}/import/predictions", json=wanted)
    if made.get("created") != len(wanted):
        raise Corrupt(
            "Label Studio did not take every suggestion",
            detail=f"{len(wanted)} were sent to project {project}; it made {made.get('created')}",
            remedy=f"See {server.log}; pushing again sends what is missing.",
        )


def _said(
    server: Connection, project: int, tasks: Sequence[LabelTask], there: Mapping[str, Mapping[str, Any]]
) -> dict[int, set[int]]:
    """Task -> the versions of models that have said something of it."""
    wanted = {task.suggestion.model_version for task in tasks if task.suggestion}
    names = server.call("GET", f"/api/projects/{project}/model-versions") if wanted else {}
    if len(names) <= 1:
        one = {version_of(name) for name in names}
        return {int(task["id"]): one for task in there.values() if task["predictions"]}
    found: dict[int, set[int]] = {}
    for each in server.call("GET", "/api/predictions/", params={"project": project}):
        found.setdefault(int(each["task"]), set()).add(version_of(each["model_version"]))
    return found


def show(server: Connection, project: int, versions: Sequence[int]) -> None:
    """Show people what the newest of these models says; answers are held against what that says."""
    if not versions:
        return
    name = version_name(max(versions))
    if server.call("GET", f"/api/projects/{project}")["model_version"] != name:
        server.call("PATCH", f"/api/projects/{project}", json={"model_version": name})
