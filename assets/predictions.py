"""Station 6, predictions: the log of what was answered, and the truth that came later, as Parquet by day.

The log is written by the API before each answer (`tidemill.store.events`); here closed segments are compacted.
"""

from typing import Any

from dagster import AssetKey, MaterializeResult, asset

from resources.home import HomeResource
from tidemill.project import Project


def build(project: Project) -> list[Any]:
    """The asset `predictions` of one project."""

    @asset(
        name="predictions",
        key_prefix=project.name,
        group_name=project.name,
        deps=[AssetKey([project.name, "deployment"])],
        kinds={"parquet"},
        description="Every answered prediction and every ground truth, compacted from the log.",
    )
    def predictions(home: HomeResource) -> MaterializeResult[Any]:
        from tidemill.store.compaction import compact
        from tidemill.store.sql import query

        compacted = [compact(home.home, project.name, stream) for stream in ("predictions", "ground_truth")]
        counted = query(
            home.home, project.name, "SELECT (SELECT count(*) FROM predictions), count(*) FROM ground_truth"
        )
        answered, truths = counted.rows[0]
        return MaterializeResult(
            metadata={
                "dagster/row_count": answered,
                "ground_truth": truths,
                "newly_compacted": sum(step.rows for step in compacted),
            }
        )

    return [predictions]
