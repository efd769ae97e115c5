"""How a run is shown: its state in words, how far it is, what started it, and why it waits or ended.

Here belongs the document that `trainings` and `runs` answer with. Starting and ending runs is `api/training.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.context import Context
from tidemill.errors import NotFound
from tidemill.learn.bundle_info import BundleInfo, list_bundles
from tidemill.learn.progress import read_progress
from tidemill.ops.cancellations import why_canceled
from tidemill.ops.runs import TAG_ACTOR, TAG_REASON, TAG_RETRY_OF, TRAINS, Run

CANCELED_ELSEWHERE = "Cancelled in Dagster, or when the services were stopped."


def require_run(context: Context, project: str, run_id: str) -> Run:
    """A run of this project. Raises NotFound."""
    run = context.runs.get(run_id)
    if run is None or run.project != project:
        raise NotFound(
            "There is no such run",
            detail=f"project {project} has no run {run_id[:60]!r}",
            remedy=f"GET /v1/projects/{project}/runs lists the runs there are.",
        )
    return run


def show_runs(context: Context, project: str, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs of every job."""
    busy = _busy(context, runs)
    why = why_canceled(context.state, project)
    return [_shown(context, run, "runs", busy, why) for run in runs]


def show_trainings(context: Context, project: str, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Trainings, each with the model it made and how far its search is."""
    busy = _busy(context, runs)
    why = why_canceled(context.state, project)
    bundles = list_bundles(context.home.models(project))
    models = {str(bundle.provenance.get("run_id")): bundle for bundle in bundles}
    return [_training(context, run, busy, why, models.get(run.id)) for run in runs]


def percent(run: Run, search: Mapping[str, Any] | None) -> int | None:
    """How far a run is, 0 to 100; None where the number of its steps is not known.

    The search of a training counts as much as all other steps together, since it takes most of the time.
    """
    if run.status == "succeeded":
        return 100
    if run.planned is None:
        return None
    done = [step.name for step in run.steps if step.status != "running"]
    if search is None or not search["total"]:
        return min(99, round(100 * len(done) / max(run.planned, 1)))
    is_over = any(name.endswith("__model") for name in done)
    share = 1.0 if is_over else min(1.0, search["done"] / search["total"])
    others = len(done) - is_over
    return min(99, round(50 * share + 50 * others / max(run.planned - 1, 1)))


def _training(
    context: Context, run: Run, busy: Sequence[Run], why: Mapping[str, str], model: BundleInfo | None
) -> dict[str, Any]:
    shown = _shown(context, run, "trainings", busy, why)
    if run.status == "failed" and model and model.gate and not model.gate["passed"]:
        reasons = "; ".join(model.gate["reasons"])
        shown["error"] = f"Model {model.version} was made and not deployed. {reasons}"
    search = read_progress(context.home, run.id)
    return shown | {
        "model_version": model.version if model else None,
        "progress": search,
        "percent": percent(run, search),
    }


def _shown(
    context: Context, run: Run, kind: str, busy: Sequence[Run], why: Mapping[str, str]
) -> dict[str, Any]:
    error = run.error
    if run.status == "canceled":
        error = why.get(run.id, CANCELED_ELSEWHERE)
    return {
        "id": run.id,
        "job": run.job,
        "status": run.status,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "steps": [step.__dict__ for step in run.steps],
        "steps_total": run.planned,
        "percent": percent(run, None),
        "trigger": run.trigger,
        "actor": run.tags.get(TAG_ACTOR),
        "reason": run.tags.get(TAG_REASON),
        "retry_of": run.tags.get(TAG_RETRY_OF),
        "waiting_for": _waiting_for(context, run, busy),
        "is_ending": run.is_ending,
        "error": error,
        "url": f"/v1/projects/{run.project}/{kind}/{run.id}",
        "dagster_url": context.runs.url(run.id),
    }


def _busy(context: Context, runs: Sequence[Run]) -> Sequence[Run]:
    """What is carried out now, asked for only where one of `runs` waits."""
    return context.runs.under_way() if any(run.status == "queued" for run in runs) else []


def _waiting_for(context: Context, run: Run, busy: Sequence[Run]) -> str | None:
    """Why a queued run does not begin yet, in one sentence."""
    if run.status != "queued" or run.id in {other.id for other in busy}:
        return None
    settings = context.settings
    trainings = [other for other in busy if other.project == run.project and other.job in TRAINS]
    if run.job in TRAINS and len(trainings) >= settings.concurrent_trainings:
        return (
            f"Training {trainings[-1].id[:8]} of this project goes on, and {settings.concurrent_trainings} at a "
            "time are allowed (TIDEMILL_CONCURRENT_TRAININGS)."
        )
    if len(busy) >= settings.concurrent_runs:
        return (
            f"{len(busy)} runs go on, and {settings.concurrent_runs} at a time are allowed "
            "(TIDEMILL_CONCURRENT_RUNS)."
        )
    return "It is next: it begins within seconds while the services run."
