"""Station 7, monitoring: has the world moved away from what the live model was trained on?

Statistics, thresholds and alerts are `tidemill.monitor`.
"""

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
    """The asset `drift_report` of one project and its check."""

    @asset(
        name="drift_report",
        key_prefix=project.name,
        group_name=project.name,
        deps=[AssetKey([project.name, "predictions"])],
        kinds={"duckdb"},
        description="The newest window of predictions against the live model's training rows, and live quality.",
    )
    def drift_report(home: HomeResource) -> MaterializeResult[Any]:
        from tidemill.monitor.watch import watch

        watched = watch(home.home, home.state(), home.project(project.name))
        return MaterializeResult(
            metadata={
                "verdict": watched.verdict,
                "rows": watched.rows,
                "report": MetadataValue.md(watched.markdown),
                "open_alerts": watched.open_alerts,
            }
        )

    @asset_check(
        asset=drift_report, name="no_drift", description="No column of the newest window has drifted."
    )
    def no_drift(home: HomeResource) -> AssetCheckResult:
        from tidemill.monitor.report import latest_report

        report = latest_report(home.home, project.name)
        verdict = report.verdict if report else "too few rows"
        drifted = [column.column for column in report.columns if column.drifted] if report else []
        return AssetCheckResult(
            passed=verdict != "drift",
            severity=AssetCheckSeverity.WARN,
            description=f"{verdict}: {', '.join(drifted)}" if drifted else verdict,
        )

    return [drift_report, no_drift]
