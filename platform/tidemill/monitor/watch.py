"""One round of monitoring: fetch the newest window, compare, store the report, raise or resolve alerts.

Here belong the order of the steps and the rules for alerts. Statistics are `monitor/drift.py` and
`monitor/performance.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tidemill.home import Home
from tidemill.learn.bundle import load_reference
from tidemill.learn.bundle_info import BundleInfo, load_info
from tidemill.learn.metrics import Interval
from tidemill.monitor.alerts import count_unresolved, raise_alert, resolve
from tidemill.monitor.drift import PREDICTION, SCORE, DriftReport, drift_report
from tidemill.monitor.performance import Quality, live_quality
from tidemill.monitor.report import as_markdown, write_report
from tidemill.project import SMALLER_IS_BETTER, Project
from tidemill.serve import deployment
from tidemill.store.sql import connect, feature_names, identifier
from tidemill.store.state import State

DRIFT_SUBJECT = "inputs and predictions"
NOTHING_DEPLOYED = "nothing deployed"
# Live quality is measured on the newest predictions with a known truth, at most this many.
MOST_OUTCOMES = 20_000


@dataclass(frozen=True)
class Watched:
    """What one round found. `report` and `quality` are None when nothing is deployed."""

    verdict: str
    rows: int
    markdown: str
    open_alerts: int
    report: DriftReport | None = None
    quality: Quality | None = None


def watch(home: Home, state: State, project: Project) -> Watched:
    """Look at the live model of `project` once."""
    live = deployment.current(state, project.name)
    if live is None:
        text = "No model is deployed, so there is nothing to compare with."
        return Watched(NOTHING_DEPLOYED, 0, text, count_unresolved(state, project.name))
    models = home.models(project.name)
    bundle = load_info(models, live.champion)
    contract = contract_of(bundle, project)
    report = drift_report(
        load_reference(models, live.champion),
        current_window(home, contract, live.champion),
        contract,
        model_version=live.champion,
    )
    write_report(home, project.name, report)
    _alert_on_drift(state, project, report)
    quality = quality_of(home, project, live.champion)
    _alert_on_quality(state, project, bundle, quality)
    markdown = f"{as_markdown(report)}\n\n{_quality_line(project, quality)}"
    return Watched(
        report.verdict, report.rows, markdown, count_unresolved(state, project.name), report, quality
    )


def contract_of(bundle: BundleInfo, project: Project) -> Project:
    """The contract that the model was trained under, with the settings that `project` has now."""
    file = bundle.folder / "contract.yaml"
    trained = Project.parse(file.read_text(encoding="utf-8"), file)
    return trained.model_copy(update={"monitoring": project.monitoring})


def current_window(home: Home, project: Project, version: int) -> pd.DataFrame:
    """The newest predictions of model `version`, at most `monitoring.window`, oldest first.

    Columns: the contract's features, `_score`, `_prediction` and `at`.
    """
    columns = ", ".join(
        f"{identifier(column)} AS {identifier(f'f{index}')}"
        for index, column in enumerate(feature_names(project).values())
    )
    # Features are numbered on the way: DuckDB would merge names that differ in capitals only.
    query = (
        f'SELECT "at", score, label, {columns} FROM predictions '
        "WHERE model_version = ? AND role = 'champion' ORDER BY \"at\" DESC, id LIMIT ?"
    )
    with connect(home, project.name, project=project) as con:
        rows = con.execute(query, [version, project.monitoring.window]).df()
    rows.columns = pd.Index(["at", SCORE, PREDICTION, *feature_names(project)])
    return rows.iloc[::-1].reset_index(drop=True)


def quality_of(home: Home, project: Project, version: int | None = None) -> Quality:
    """Live quality of model `version`, or of all champions so far, on the newest outcomes."""
    with connect(home, project.name, project=project) as con:
        only = "role = 'champion' AND (? IS NULL OR model_version = ?)"
        rows, matched = con.execute(
            f"SELECT count(*), count(truth) FROM outcomes WHERE {only}", [version, version]
        ).fetchall()[0]
        known = con.execute(
            f"SELECT predicted, truth, probabilities FROM outcomes WHERE {only} AND truth IS NOT NULL "
            f'ORDER BY "at" DESC LIMIT {MOST_OUTCOMES}',
            [version, version],
        ).df()
    found = live_quality(known, project)
    return Quality(rows, matched, rows - matched, found.unknown_labels, found.metrics, found.note)


def _alert_on_drift(state: State, project: Project, report: DriftReport) -> None:
    if report.verdict == "stable":
        resolve(state, project.name, "drift", DRIFT_SUBJECT)
    if report.verdict != "drift":
        return
    names = report.drifted
    raise_alert(
        state,
        project.name,
        "drift",
        DRIFT_SUBJECT,
        f"{len(names)} of {len(report.columns)} columns have drifted: {_listed(names)}",
        "critical" if PREDICTION in names else "warning",
        {
            "columns": names,
            "rows": report.rows,
            "model_version": report.model_version,
            "window_from": report.window_from,
            "window_to": report.window_to,
        },
    )


def _alert_on_quality(state: State, project: Project, bundle: BundleInfo, quality: Quality) -> None:
    """Alert when the live interval of the project's metric lies wholly on the worse side of the held-out one."""
    promised, found = _promised(bundle, project.metric), quality.metrics.get(project.metric)
    if promised is None or found is None or quality.matched < project.monitoring.minimum_rows:
        return
    if project.metric in SMALLER_IS_BETTER:
        worse = found.low > promised.high
    else:
        worse = found.high < promised.low
    if not worse:
        resolve(state, project.name, "performance", project.metric)
        return
    raise_alert(
        state,
        project.name,
        "performance",
        project.metric,
        f"Live {project.metric} is {found.value:.3f}; held-out rows promised {promised.value:.3f}",
        "critical",
        {
            "metric": project.metric,
            "live": found.__dict__,
            "promised": promised.__dict__,
            "matched": quality.matched,
            "model_version": bundle.version,
        },
    )


def _promised(bundle: BundleInfo, metric: str) -> Interval | None:
    found: Any = ((bundle.evaluation or {}).get("metrics") or bundle.metrics).get(metric)
    return Interval(found["value"], found["low"], found["high"]) if found else None


def _quality_line(project: Project, quality: Quality) -> str:
    found = quality.metrics.get(project.metric)
    if found is None:
        return f"Truth is known for {quality.matched} of {quality.rows} predictions. {quality.note}".strip()
    return (
        f"Live {project.metric} {found.value:.3f} ({found.low:.3f} to {found.high:.3f}) on {quality.matched} of "
        f"{quality.rows} predictions."
    )


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
