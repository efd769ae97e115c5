"""The service `projects`: what there is, how it stands, and the one thing to do next."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.answers import answer
from api.auth import Asking, require_key
from api.context import Context, Ctx, KnownName
from api.schema_out import PROJECT, PROJECTS, ok
from tidemill.errors import TidemillError
from tidemill.project import Project

router = APIRouter(prefix="/v1/projects", tags=["projects"], dependencies=[Depends(require_key)])


@router.get("", summary="All projects", responses=ok(PROJECTS))
def list_projects(context: Ctx, caller: Asking) -> Response:
    """Each project that the key reaches, with its data, its live model, its alerts and the next step."""
    names = caller.of_these(context.home.project_names())
    return answer({"projects": [summary(context, name) for name in names]})


@router.get("/{project}", summary="One project", responses=ok(PROJECT))
def get_project(name: KnownName, context: Ctx) -> Response:
    """One project with the columns and settings of its project.yaml."""
    return answer(detail(context, name))


NOTHING = {
    "rows": None,
    "dataset_version": None,
    "models": 0,
    "champion": None,
    "predictions": 0,
    "truths": 0,
    "open_alerts": 0,
    "open_tasks": 0,
    "unlabelled": False,
}


def summary(context: Context, name: str) -> dict[str, Any]:
    """How a project stands. What cannot be read is a `problem`, not an error: the rest and the others are shown."""
    project: Project | None = None
    problem: str | None = None
    counts: dict[str, Any] = dict(NOTHING)
    try:
        counts |= _counts(context, name)
        project = context.project(name)
        counts |= _labelling(context, project)
    except TidemillError as error:
        problem = str(error)
    return {
        "name": name,
        "title": project.display_name if project else name,
        "task": project.task if project else None,
        "target": project.target if project else None,
        **{key: counts[key] for key in ("rows", "dataset_version", "champion", "predictions", "open_alerts")},
        "problem": problem,
        "next_step": next_step(name, counts, problem, str(context.home.inbox(name))),
    }


def detail(context: Context, name: str) -> dict[str, Any]:
    """`summary` with what project.yaml says."""
    found = summary(context, name)
    parts: dict[str, Any] = {"description": "", "columns": []}
    sections = ("labels", "training", "gates", "serving", "monitoring")
    if found["problem"] is not None:
        return found | parts | {section: {} for section in sections}
    project = context.project(name)
    fields = {"type", "role", "nulls", "min", "max", "values", "description"}
    parts["description"] = project.description
    parts["columns"] = [
        {"name": column, **settings.model_dump(include=fields)}
        for column, settings in project.columns.items()
    ]
    shown = {section: getattr(project, section).model_dump(mode="json") for section in sections}
    shown["training"]["metric"] = project.metric
    return found | parts | shown


def _counts(context: Context, name: str) -> dict[str, Any]:
    from tidemill.learn.bundle_info import list_bundles
    from tidemill.monitor.alerts import list_alerts
    from tidemill.serve.deployment import current
    from tidemill.store.history import count
    from tidemill.store.tables import TableStore

    raw = TableStore(context.home.tables(name)).current("raw")
    live = current(context.state, name)
    return {
        "rows": raw.rows if raw else None,
        "dataset_version": raw.version if raw else None,
        "models": len(list_bundles(context.home.models(name))),
        "champion": live.champion if live else None,
        "predictions": count(context.home, name, "predictions"),
        "truths": count(context.home, name, "ground_truth"),
        "open_alerts": len(list_alerts(context.state, name, ["open"])),
    }


def _labelling(context: Context, project: Project) -> dict[str, Any]:
    """Rows that wait for an answer, and whether nobody has labelled anything yet."""
    from tidemill.labels.progress import open_tasks
    from tidemill.store.tables import TableStore

    if project.labels.kind == "column":
        return {}
    labels = TableStore(context.home.tables(project.name)).current("labels")
    return {
        "open_tasks": open_tasks(context.state, project.name),
        "unlabelled": labels is None or labels.rows == 0,
    }


def next_step(name: str, counts: dict[str, Any], problem: str | None, inbox: str) -> dict[str, str]:
    """The one thing to do next, in a person's words."""
    if problem is not None:
        return _step("upload", f"Mend what is said above (projects/{name}/project.yaml or the store) first.")
    if counts["rows"] is None:
        return _step(
            "upload",
            f"Send a CSV or Excel file on the page Data, or copy it into {inbox}: rows with the target.",
        )
    if counts["open_alerts"]:
        many = counts["open_alerts"]
        return _step(
            "look_at_alerts", f"{many} open alert{'s' if many > 1 else ''}: look on the page Monitor."
        )
    if counts["open_tasks"]:
        many = counts["open_tasks"]
        return _step(
            "label", f"{many} row{'s wait' if many > 1 else ' waits'} for an answer on the page Label."
        )
    if counts["unlabelled"]:
        return _step("label", "People label this data. Ask about the first rows on the page Label.")
    if counts["models"] == 0:
        return _step("train", "The data is in. Press Train on the page Training for a first model.")
    if counts["champion"] is None:
        return _step(
            "train",
            "No model has passed its gate yet: the page Models says why. Send more data, then train again.",
        )
    if counts["predictions"] == 0:
        return _step("predict", f"Model {counts['champion']} answers. Ask it something on the page Predict.")
    if counts["truths"] == 0:
        return _step(
            "send_truth",
            "Say what turned out to be true on the page Predict, under Recent answers, or send it to the API: "
            "then the page Monitor shows how good the answers are.",
        )
    return _step("all_well", "Nothing needs doing. New data, truth and alerts will show here.")


def _step(action: str, text: str) -> dict[str, str]:
    return {"action": action, "text": text}
