"""Beside the stations: models made elsewhere, taken from the import folder of a project.

A job of its own and no asset: such a model has no upstream here. Looking at a file, registering and judging it is
`tidemill.learn.imports.take`; the file stays out of this process until the child has looked at it.
"""

import json
import time
from typing import Any

from dagster import (
    DefaultSensorStatus,
    OpExecutionContext,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    in_process_executor,
    job,
    op,
    sensor,
)

from assets.automation import MOST_ATTEMPTS, UNDER_WAY, next_attempt
from resources.home import HomeResource
from tidemill.ops.runs import TAG_JOB, TAG_PROJECT
from tidemill.project import Project

# Seconds since a file last changed, from which it counts as whole.
SETTLE = 5.0


def build_job(project: Project) -> Any:
    """The job `<project>__imports`: every file of the import folder becomes a challenger or is refused."""

    @op(name=f"{project.name}__take_models")
    def take_models(context: OpExecutionContext, home: HomeResource) -> None:
        from tidemill.learn.imports.take import import_pending

        records = import_pending(
            home.home, home.state(), home.project(project.name), actor="import folder", settle=SETTLE
        )
        for record in records:
            problem = record["problem"]
            made = f"is model {record['model_version']}" if problem is None else f"{problem['detail']}"
            context.log.info(f"{record['name']}: {record['status']}: {made}")
        context.add_output_metadata({"files": json.dumps({r["name"]: r["status"] for r in records})})

    @job(
        name=f"{project.name}__imports",
        tags=_tags(project),
        executor_def=in_process_executor,
        description=f"{project.display_name}: models made elsewhere become challengers, or are refused.",
    )
    def imports() -> None:
        take_models()

    return imports


def build_sensor(project: Project) -> Any:
    """Takes what lands in the import folder; a file that only waits for a library is tried a few times."""

    @sensor(
        name=f"{project.name}__landed_models",
        # By name: a copy of a sensor that holds a job warns of what Dagster itself filled in.
        job_name=f"{project.name}__imports",
        minimum_interval_seconds=15,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Starts {project.name}__imports when model files have landed in the import folder.",
    )
    def landed_models(context: SensorEvaluationContext, home: HomeResource) -> RunRequest | SkipReason:
        from tidemill.learn.imports.ledger import pending

        files = pending(home.home, project.name, SETTLE)
        if not files:
            return SkipReason("No file in the import folder.")
        if context.instance.get_runs(RunsFilter(tags=_tags(project), statuses=UNDER_WAY), limit=1):
            return SkipReason("Models of this project are being imported.")
        landed = sorted(f"{file.name}:{file.lstat().st_mtime_ns}" for file in files)
        attempt = next_attempt(context.cursor, landed)
        if attempt > MOST_ATTEMPTS:
            return SkipReason("These files were tried often enough; see the last run, then touch them.")
        context.update_cursor(json.dumps({"landed": landed, "attempt": attempt}))
        return RunRequest(run_key=f"{project.name}:models:{time.time_ns()}", tags=_tags(project))

    return landed_models


def _tags(project: Project) -> dict[str, str]:
    return {TAG_PROJECT: project.name, TAG_JOB: "imports"}
