"""One function assembles everything Dagster is shown, from the project files of a home.

A project file that cannot be used becomes an asset that says why; the other projects load all the same.
"""

from typing import Any

from dagster import (
    AssetChecksDefinition,
    AssetSpec,
    Definitions,
    MetadataValue,
    definitions,
    in_process_executor,
)

from assets import (
    automation,
    data,
    deployments,
    features,
    imports,
    labels,
    models,
    monitoring,
    predictions,
    registry,
)
from resources.bundles import BundleIOManager
from resources.home import HomeResource
from resources.tables import TableIOManager
from resources.tracking import Tracking
from tidemill.errors import ProjectFileError
from tidemill.home import Home
from tidemill.project import load_project

STATIONS = (data, labels, features, models, deployments, predictions, monitoring)


def build_definitions(home: Home, resources: dict[str, Any] | None = None) -> Definitions:
    """Definitions of every project in `home`; `resources` overrides some of the default ones by key."""
    assets: list[Any] = []
    checks: list[Any] = []
    jobs: list[Any] = []
    sensors: list[Any] = []
    schedules: list[Any] = []
    names: list[str] = []
    for name in home.project_names():
        try:
            project = load_project(home, name)
        except ProjectFileError as error:
            assets.append(_unusable(name, error))
            continue
        for definition in (part for station in STATIONS for part in station.build(project)):
            is_check = isinstance(definition, AssetChecksDefinition)
            (checks if is_check else assets).append(definition)
        by_name = automation.build_jobs(project)
        names.append(project.name)
        jobs.extend([*by_name.values(), imports.build_job(project)])
        sensors.append(imports.build_sensor(project))
        sensors.append(automation.build_sensor(project, by_name["ingest"]))
        if project.watched:
            sensors.append(automation.build_lookout(project))
        if "labels" in by_name:
            sensors.append(automation.build_labels_sensor(project, by_name["labels"]))
        if project.training.triggers.is_any:
            sensors.append(automation.build_training_sensor(project, by_name["training"]))
        schedules.append(automation.build_schedule(project, by_name["monitoring"]))
        if project.training.schedule:
            schedules.append(automation.build_training_schedule(project, by_name["training"]))
    if names:
        jobs.append(registry.build_job())
        sensors.append(registry.build_sensor(names))
    return Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=jobs,
        sensors=sensors,
        schedules=schedules,
        executor=in_process_executor,
        resources=default_resources(home) | (resources or {}),
    )


def default_resources(home: Home) -> dict[str, Any]:
    """The same keys in every deployment; only the home changes."""
    root = str(home.root)
    return {
        "home": HomeResource(root=root),
        "tables": TableIOManager(root),
        "bundles": BundleIOManager(root),
        "tracking": Tracking(root=root),
    }


def _unusable(name: str, error: ProjectFileError) -> AssetSpec:
    """Stands in the graph for a project whose file cannot be used, and says why."""
    return AssetSpec(
        key=[name, "project_file"],
        group_name=name,
        description=f"**This project.yaml cannot be used.**\n\n```\n{error}\n```",
        metadata={"faults": MetadataValue.json([str(problem) for problem in error.problems])},
    )


@definitions
def defs() -> Definitions:
    """What `workspace.yaml` loads: the projects of the home that TIDEMILL_HOME names."""
    return build_definitions(Home.find())
