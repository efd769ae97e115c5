"""Station 5, deployments: which model version answers, or is tried beside the one that does.

Where a new model begins is `tidemill.serve.release`, compare-and-set and history `tidemill.serve.deployment`; the
API's processes notice a change by themselves.
"""

from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, asset

from resources.bundles import BundleVersion
from resources.home import HomeResource
from resources.tracking import Tracking
from tidemill.ops.runs import TAG_ACTOR
from tidemill.project import Project


def build(project: Project) -> list[Any]:
    """The asset `deployment` of one project."""

    @asset(
        name="deployment",
        key_prefix=project.name,
        group_name=project.name,
        kinds={"fastapi"},
        description="The model version that answers predictions, changed only after the promotion gate.",
    )
    def deployment(
        context: AssetExecutionContext, evaluation: BundleVersion, home: HomeResource, tracking: Tracking
    ) -> MaterializeResult[Any]:
        from resources.registry import reconcile
        from tidemill.serve.release import release

        after = release(
            home.state(),
            project,
            evaluation.version,
            actor=context.run.tags.get(TAG_ACTOR, "dagster"),
            reason=f"passed the promotion gate in run {context.run.run_id}",
        )
        reconcile(tracking, home.state(), project.name)
        return MaterializeResult(metadata=after.summary)

    return [deployment]
