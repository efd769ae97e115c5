"""What starts by itself: jobs, sensors for landed files, sources, answers and trainings, schedules.

The API starts the same jobs by name; nothing here decides what a step does.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dagster import (
    AssetSelection,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    SensorEvaluationContext,
    SkipReason,
    define_asset_job,
    in_process_executor,
    sensor,
)

from resources.home import HomeResource
from tidemill.ops.runs import (
    TAG_JOB,
    TAG_PROJECT,
    TAG_REASON,
    TAG_TRAINS,
    TAG_TRIGGER,
    TRAINS,
    job_name,
)
from tidemill.project import Project

UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
]
MOST_ATTEMPTS = 5
# How long a tick waits for sources; a look that takes longer goes on beside it.
LOOK_SECONDS = 3.0

STEPS: Mapping[str, Sequence[str]] = {
    "ingest": ["raw"],
    "training": ["labels", "features", "model", "evaluation", "deployment"],
    "monitoring": ["predictions", "drift_report"],
    "loop": [
        "raw",
        "labels",
        "features",
        "model",
        "evaluation",
        "deployment",
        "predictions",
        "drift_report",
    ],
}
# Where people label, their answers are taken over before the labels are made.
OF_PEOPLE = ("annotations", "production_rows")
MOST_TICKS = 10


def steps_of(project: Project) -> dict[str, list[str]]:
    """The assets that each job of a project makes, in order. `labels` is a job where people label."""
    if project.labels.kind == "column":
        return {name: list(steps) for name, steps in STEPS.items()}
    with_people = {
        name: [part for step in steps for part in ((*OF_PEOPLE, step) if step == "labels" else (step,))]
        for name, steps in STEPS.items()
    }
    return with_people | {"labels": [*OF_PEOPLE, "labels"]}


def build_jobs(project: Project) -> dict[str, Any]:
    """The jobs of one project: `<project>__ingest`, `__training`, `__monitoring`, `__loop`, `__labelling`."""
    return {
        name: define_asset_job(
            job_name(project.name, name),
            selection=AssetSelection.assets(*([project.name, step] for step in steps)),
            tags={
                TAG_PROJECT: project.name,
                TAG_JOB: name,
                # Of these Dagster's queue lets only some begin at once (`ops/prepare.py`).
                **({TAG_TRAINS: project.name} if name in TRAINS else {}),
            },
            # One process: importing what a step needs costs more than most steps of a small project do.
            executor_def=in_process_executor,
            description=f"{project.display_name}: {' -> '.join(steps)}",
        )
        for name, steps in steps_of(project).items()
    }


def build_schedule(project: Project, job: Any) -> ScheduleDefinition:
    """The drift report by `monitoring.schedule`."""
    return ScheduleDefinition(
        name=f"{project.name}__drift",
        job=job,
        cron_schedule=project.monitoring.schedule,
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING,
    )


def build_training_schedule(project: Project, job: Any) -> ScheduleDefinition:
    """A training by `training.schedule`, where the project has one."""
    return ScheduleDefinition(
        name=f"{project.name}__scheduled_training",
        job=job,
        cron_schedule=str(project.training.schedule),
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING,
        tags=_training_tags(project, "schedule", f"schedule {project.training.schedule}"),
    )


def build_training_sensor(project: Project, job: Any) -> Any:
    """A training when `training.triggers` says so: new rows, new labels, drift; never two in a cool-down."""

    @sensor(
        name=f"{project.name}__training_triggers",
        job=job,
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Starts {project.name}__training on new rows, new labels or drift, as project.yaml says.",
    )
    def training_triggers(context: SensorEvaluationContext, home: HomeResource) -> RunRequest | SkipReason:
        from tidemill.learn.triggers import due, seen_by_newest_model, seen_now

        policy = project.training.triggers
        if waits := _cooling(context, project, policy.cooldown_hours):
            return SkipReason(waits)
        state = home.state()
        now = seen_now(home.home, state, project.name)
        # What a failed training saw does not start another one: only what came after it does.
        before = _later(seen_by_newest_model(home.home, state, project.name), context.cursor)
        found = due(policy, now, before)
        if found is None:
            return SkipReason("Nothing that project.yaml wants a training for.")
        context.update_cursor(json.dumps(asdict(now)))
        tags = _training_tags(project, found.trigger, found.reason)
        return RunRequest(run_key=f"{project.name}:training:{time.time_ns()}", tags=tags)

    return training_triggers


def _cooling(context: SensorEvaluationContext, project: Project, hours: float) -> str | None:
    """Why no training may start by itself now, or None."""
    for job in sorted(TRAINS):
        wanted = RunsFilter(tags={TAG_PROJECT: project.name, TAG_JOB: job})
        for record in context.instance.get_run_records(wanted, limit=1):
            if not record.dagster_run.is_finished:
                return "A training of this project waits or goes on."
            age = time.time() - record.create_timestamp.timestamp()
            if age < hours * 3600:
                return f"The last training began {age / 3600:.1f} h ago; the cool-down is {hours:g} h."
    return None


def _later(model: Any, cursor: str | None) -> Any:
    """What the newest model saw, or what the last run that was triggered here saw, whichever is more."""
    asked = json.loads(cursor) if cursor else {}
    return type(model)(**{name: max(value, asked.get(name, 0)) for name, value in asdict(model).items()})


def _training_tags(project: Project, trigger: str, reason: str) -> dict[str, str]:
    return {
        TAG_PROJECT: project.name,
        TAG_JOB: "training",
        TAG_TRAINS: project.name,
        TAG_TRIGGER: trigger,
        TAG_REASON: reason,
    }


def build_sensor(project: Project, job: Any) -> Any:
    """Takes what lands in the inbox: one run for all finished files, again with a new key after a failure."""

    @sensor(
        name=f"{project.name}__landed_files",
        job=job,
        minimum_interval_seconds=15,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Starts {project.name}__ingest when files have landed in the inbox.",
    )
    def landed_files(context: SensorEvaluationContext, home: HomeResource) -> RunRequest | SkipReason:
        from tidemill.data.ledger import pending_files

        files = pending_files(home.home, project.name)
        if not files:
            return SkipReason("No finished file in the inbox.")
        if context.instance.get_runs(RunsFilter(tags=_ingest_tags(project), statuses=UNDER_WAY), limit=1):
            return SkipReason("An ingestion of this project is under way.")
        landed = sorted(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)
        attempt = next_attempt(context.cursor, landed)
        if attempt > MOST_ATTEMPTS:
            return SkipReason(
                f"Ingesting {', '.join(file.name for file in files)} failed {MOST_ATTEMPTS} times. "
                "Look at the last run, mend the cause, then touch the file to have it taken again."
            )
        context.update_cursor(json.dumps({"landed": landed, "attempt": attempt}))
        # Dagster drops a run key it has seen, silently: the attempt and the time make each one new.
        return RunRequest(run_key=f"{project.name}:{attempt}:{time.time_ns()}", tags=_ingest_tags(project))

    return landed_files


def build_labels_sensor(project: Project, job: Any) -> Any:
    """Takes over answers, and makes the labels anew once people pause, or after ten looks if they do not."""

    @sensor(
        name=f"{project.name}__answers",
        job=job,
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Starts {project.name}__labelling when people have answered in {project.labels.kind}.",
    )
    def answers(context: SensorEvaluationContext, home: HomeResource) -> RunRequest | SkipReason:
        from tidemill.errors import NotReady
        from tidemill.labels.ledger import last_change
        from tidemill.labels.sources import sync

        state = home.state()
        try:
            sync(home.home, state, home.project(project.name))
        except NotReady as error:
            return SkipReason(f"{error}")
        wait, cursor = look(context.cursor, last_change(state, project.name))
        context.update_cursor(cursor)
        if wait is not None:
            return SkipReason(wait)
        tags = {TAG_PROJECT: project.name, TAG_JOB: "labels"}
        return RunRequest(run_key=f"{project.name}:labels:{time.time_ns()}", tags=tags)

    return answers


def look(cursor: str | None, change: int) -> tuple[str | None, str]:
    """Why nothing is to be done about the answers up to number `change`, or None; and the cursor to keep."""
    before = {"done": 0, "seen": 0, "ticks": 0, **(json.loads(cursor) if cursor else {})}
    if change == before["done"]:
        return "No new answer.", json.dumps({"done": change, "seen": change, "ticks": 0})
    if change != before["seen"] and before["ticks"] + 1 < MOST_TICKS:
        kept = {"done": before["done"], "seen": change, "ticks": before["ticks"] + 1}
        return "People are answering; the labels are made when they pause.", json.dumps(kept)
    return None, json.dumps({"done": change, "seen": change, "ticks": 0})


def build_lookout(project: Project) -> Any:
    """Looks at the project's sources in turns. What they land, `landed_files` finds: this one starts no run."""
    lookouts: list[Any] = []  # one, made with the first tick: its imports are not for whoever loads the code

    @sensor(
        name=f"{project.name}__sources",
        minimum_interval_seconds=15,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Brings what is new in the sources of {project.display_name} into its inbox.",
    )
    def sources(home: HomeResource) -> SkipReason:
        from tidemill.data.sources.lookout import Lookout
        from tidemill.settings import load_settings

        if not lookouts:
            lookouts.append(Lookout())
        described = home.project(project.name)
        busy = lookouts[0].turn(home.home, home.state(), described, load_settings(), wait=LOOK_SECONDS)
        return SkipReason(f"Still looking at {', '.join(busy)}." if busy else "No source is being looked at.")

    return sources


def next_attempt(cursor: str | None, landed: Sequence[str]) -> int:
    """Which attempt this is at the files `landed` (name:size:mtime), counting from 1."""
    before = json.loads(cursor) if cursor else {}
    return int(before["attempt"]) + 1 if before.get("landed") == list(landed) else 1


def _ingest_tags(project: Project) -> dict[str, str]:
    return {TAG_PROJECT: project.name, TAG_JOB: "ingest"}
