"""Drift reports on disk: one JSON file each, never changed, under `store/<project>/reports/drift/`.

Here belong writing, finding and rendering reports. What they say is made in `monitor/drift.py`.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

from tidemill.errors import Corrupt
from tidemill.home import Home
from tidemill.monitor.drift import DriftReport
from tidemill.store.durable import replace_json

MOST_ROWS = 15


def reports_folder(home: Home, project_name: str) -> Path:
    return home.store(project_name) / "reports" / "drift"


def write_report(home: Home, project_name: str, report: DriftReport) -> Path:
    """Store a report and return its file; names sort by time."""
    moment = re.sub(r"[^0-9]", "", report.created.removesuffix("+00:00"))
    file = reports_folder(home, project_name) / f"{moment}-{uuid.uuid4().hex[:8]}.json"
    replace_json(file, report.to_json())
    return file


def list_reports(home: Home, project_name: str) -> list[Path]:
    """Files of the stored reports, newest first."""
    return sorted(reports_folder(home, project_name).glob("[0-9]*.json"), reverse=True)


def read_report(file: Path) -> DriftReport:
    """One stored report. Raises Corrupt."""
    try:
        return DriftReport.from_json(json.loads(file.read_text()))
    except ValueError as error:
        raise Corrupt(
            "A drift report is not readable",
            detail=str(file),
            remedy="Remove the file; the next run writes a new report.",
        ) from error


def latest_report(home: Home, project_name: str) -> DriftReport | None:
    """The newest stored report, or None before the first."""
    files = list_reports(home, project_name)
    return read_report(files[0]) if files else None


def as_markdown(report: DriftReport) -> str:
    """The report for a reader: the verdict, then the columns, the most drifted first."""
    window = f"{report.window_from} to {report.window_to}" if report.window_from else "no predictions"
    lines = [
        f"**{report.verdict}**: {report.rows} predictions of model {report.model_version} ({window}) "
        f"against {report.reference_rows} training rows."
    ]
    if report.verdict == "too few rows":
        return f"{lines[0]} A verdict needs {report.minimum_rows}."
    lines += [
        "",
        "| column | PSI | limit | without drift | missing, now | new categories | drifted |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {_cell(column.column)} | {column.value:.3f} | {column.threshold:.3f} "
        f"| {column.expected_without_drift:.3f} | {column.missing_reference:.1%}, {column.missing_current:.1%} "
        f"| {_cell(', '.join(column.new_categories))} | {'yes' if column.drifted else ''} |"
        for column in report.columns[:MOST_ROWS]
    ]
    if len(report.columns) > MOST_ROWS:
        lines.append(f"\n{len(report.columns) - MOST_ROWS} more columns are nearer to the reference.")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
