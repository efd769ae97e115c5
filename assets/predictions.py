"""Station 6, predictions: the log of what was answered, and the truth that came later, as Parquet by day.

The log is written by the API before each answer (`tidemill.store.events`); here closed segments are compacted.
"""

from dataclasses import asdict
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetKey,
    MaterializeResult,
    MetadataValue,
    asset,
    asset_check,
)

from resources.home import HomeResource
from tidemill.project import Project


def build(project: Project) -> list[Any]:
    """The asset `predictions` of one project and its check."""

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
        from tidemill.store.events import STREAMS
        from tidemill.store.sql import query

        compacted = [compact(home.home, project.name, stream) for stream in STREAMS]
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

    @asset_check(
        asset=predictions,
        name="train_serve_mismatch",
        description="Predictions receive records in the form that the live model was trained on.",
    )
    def train_serve_mismatch(home: HomeResource) -> AssetCheckResult:
        from tidemill.monitor.mismatch import compare_live

        compared = compare_live(home.home, home.state(), home.project(project.name))
        found = [f"{each.detail}: {each.advice}" for each in compared.mismatches]
        return AssetCheckResult(
            passed=not found,
            severity=AssetCheckSeverity.WARN,
            description="; ".join(found) or compared.note or f"{compared.rows} predictions compared",
            metadata={"mismatches": MetadataValue.json([asdict(each) for each in compared.mismatches])},
        )

    return [predictions, train_serve_mismatch]
