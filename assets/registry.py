"""Beside the stations: MLflow's registry follows the deployment, whoever changed it.

A job of its own, since importing MLflow takes seconds that neither the API nor the code server should spend. The
assets `evaluation` and `deployment` bring the registry up to date themselves; what the API changes is found by the
sensor. What is written is `resources/registry.py`.
"""

import json
import time
from collections.abc import Sequence
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

from assets.automation import MOST_ATTEMPTS, UNDER_WAY
from resources.home import HomeResource
from resources.tracking import Tracking

# Not the tag of a project's runs: what only keeps records is not among the runs that people are shown.
TAG_KEEPS = "tidemill/keeps"


def build_job() -> Any:
    """The job `registry`: the registered model of one project says what its bundles and its deployment are."""

    @op(name="mirror", config_schema={"project": str})
    def mirror(context: OpExecutionContext, home: HomeResource, tracking: Tracking) -> None:
        from resources.registry import reconcile

        found = reconcile(tracking, home.state(), context.op_config["project"])
        context.add_output_metadata({"versions": len(found.versions), "aliases": json.dumps(found.aliases)})

    @job(
        name="registry",
        executor_def=in_process_executor,
        description="MLflow's registered model of a project follows its bundles and its deployment.",
    )
    def registry() -> None:
        mirror()

    return registry


def build_sensor(projects: Sequence[str]) -> Any:
    """One for all projects, since it looks often: starts the job for each whose registry is behind."""

    @sensor(
        name="registry_is_behind",
        # By name: a copy of a sensor that holds a job warns of what Dagster itself filled in.
        job_name="registry",
        minimum_interval_seconds=5,
        default_status=DefaultSensorStatus.RUNNING,
        description="Starts the job registry when a model was judged or the deployment changed.",
    )
    def registry_is_behind(
        context: SensorEvaluationContext, home: HomeResource
    ) -> list[RunRequest] | SkipReason:
        from resources.registry import behind_at

        state = home.state()
        before = json.loads(context.cursor) if context.cursor else {}
        tried: dict[str, Any] = {}
        asked: list[RunRequest] = []
        for name in projects:
            mark = behind_at(home.home, state, name)
            if mark is None:
                continue
            tried[name] = before.get(name, {})
            attempt = tried[name]["attempt"] if tried[name].get("mark") == mark else 0
            under_way = RunsFilter(tags=_tags(name), statuses=UNDER_WAY)
            if attempt < MOST_ATTEMPTS and not context.instance.get_runs(under_way, limit=1):
                tried[name] = {"mark": mark, "attempt": attempt + 1}
                key = f"{name}:registry:{time.time_ns()}"
                config = {"ops": {"mirror": {"config": {"project": name}}}}
                asked.append(RunRequest(run_key=key, run_config=config, tags=_tags(name)))
        context.update_cursor(json.dumps(tried))
        if asked:
            return asked
        if tried:
            return SkipReason(
                f"Under way, or tried {MOST_ATTEMPTS} times, see the last run: {', '.join(tried)}."
            )
        return SkipReason("The registry says what is deployed.")

    return registry_is_behind


def _tags(project: str) -> dict[str, str]:
    return {TAG_KEEPS: f"registry of {project}"}
