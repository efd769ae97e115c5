"""Monitor: is the live model still looking at the world it learned, and is it still right?"""

from __future__ import annotations

from typing import Any

import streamlit as st

from tidemill.client import ApiError
from tidemill.client_types import AlertInfo, QualityInfo, RunInfo
from ui.client import api
from ui.components import charts, drift, page, runs, words

SEVERITIES = {"info": "blue", "warning": "orange", "critical": "red", "error": "red"}
ALERT_STATES = {"open": "Open", "acknowledged": "Acknowledged", "resolved": "Resolved"}


def main() -> None:
    page.head("Monitor", "Is the live model still seeing what it learned from, and is it still right?")
    project = page.require_project()
    with page.explained():
        alerts(project)
    with page.explained():
        drift_part(project)
    with page.explained():
        quality_part(project)


def alerts(project: str) -> None:
    found = api().alerts(project)
    unresolved = [alert for alert in found if alert["state"] != "resolved"]
    page.section("Alerts")
    if not unresolved:
        st.markdown(":green[:material/check_circle:] No open alert.")
    for alert in unresolved:
        alert_card(project, alert)
    past = [alert for alert in found if alert["state"] == "resolved"]
    if past:
        with st.expander(f"{words.counted(len(past), 'resolved alert')}"):
            page.table([alert_row(alert) for alert in past])


def alert_card(project: str, alert: AlertInfo) -> None:
    color = SEVERITIES.get(alert["severity"], "gray")
    with st.container(border=True):
        text, button = st.columns([5, 1], vertical_alignment="center")
        text.markdown(
            f":{color}[:material/notifications_active:] **{words.literal(alert['title'])}**  \n"
            f":small[:gray[{ALERT_STATES[alert['state']]} · since {words.when(alert['opened_at'])} · "
            f"seen {words.counted(alert['times_seen'], 'time')}, last {words.when(alert['last_seen_at'])}]]"
        )
        if alert["state"] == "open" and button.button(
            "Acknowledge", key=f"acknowledge_{alert['id']}", width="stretch"
        ):
            with page.explained():
                api().acknowledge(project, alert["id"])
                page.note("Acknowledged.")
                st.rerun()


def alert_row(alert: AlertInfo) -> dict[str, Any]:
    return {
        "Alert": alert["title"],
        "Opened": words.local(alert["opened_at"]),
        "Resolved": words.local(alert["resolved_at"]),
        "Seen": alert["times_seen"],
    }


def drift_part(project: str) -> None:
    newest = newest_run(project)
    heading, button = st.columns([5, 1], vertical_alignment="bottom")
    with heading:
        page.section("Drift")
    is_busy = runs.is_going_on(newest)
    if button.button(
        "Check now", type="primary", icon=":material/troubleshoot:", disabled=is_busy, width="stretch"
    ):
        with page.explained():
            api().start_drift(project)
            page.note("The drift check has been started.")
            st.rerun()
    if newest is not None and newest["status"] in ("queued", "running", "failed"):
        run_id = newest["id"]
        runs.follow(project, newest, lambda: api().run(project, run_id), "Drift check")
    report = api().drift(project)
    if report is None:
        page.empty(
            "No drift report yet",
            "It compares the newest predictions with the rows the model learned from. "
            "Make some predictions, then check now.",
            icon="monitoring",
        )
        return
    drift_report(report)


def newest_run(project: str) -> RunInfo | None:
    """The newest monitoring run; None when runs cannot be asked for, which is no reason to hide the report."""
    try:
        found = api().runs(project, job="monitoring", limit=1)
    except ApiError as error:
        st.caption(
            f":orange[:material/warning:] {words.literal(error.title)}: the state of checks is not known."
        )
        return None
    return found[0] if found else None


def drift_report(report: dict[str, Any]) -> None:
    icon, color, verdict = drift.verdict(report)
    columns = drift.columns_of(report)
    drifted = sum(bool(column.get("drifted")) for column in columns)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(verdict, icon=icon, color=color)  # type: ignore[arg-type]
        st.caption(drift_scope(report, drifted))
    if not columns:
        return
    page.table([drift.row(column) for column in columns], tallest=390)
    by_name = {drift.name_of(column): column for column in columns}
    chosen = st.selectbox(
        "Column", list(by_name), format_func=lambda name: drift.title_of(by_name[name]), width=page.NARROW
    )
    bins, reference, current = drift.bins_of(by_name[chosen])
    if bins:
        with st.container(border=True):
            st.altair_chart(charts.two_shares(bins, reference, current))


def drift_scope(report: dict[str, Any], drifted: int) -> str:
    """Which rows, which model, when."""
    parts = [
        f"{words.counted(drifted, 'column')} drifted" if drifted else "",
        words.counted(int(report.get("rows") or 0), "prediction"),
        f"model version {report['model_version']}" if report.get("model_version") is not None else "",
        f"{words.when(report.get('window_from'))} to {words.when(report.get('window_to'))}"
        if report.get("window_from")
        else "",
    ]
    return " · ".join(part for part in parts if part)


def quality_part(project: str) -> None:
    page.section("Live quality")
    found = api().quality(project)
    if not found["matched"]:
        page.empty(
            "No truth is known yet",
            "Send the true answers of past predictions (Predict page, Recent answers); "
            "then the live quality is shown beside the held-out one.",
            icon="fact_check",
        )
        return
    st.caption(
        f"Truth is known for {words.count(found['matched'])} of {words.counted(found['rows'], 'prediction')} "
        "of the live model. A verdict is given where the two intervals do not touch."
    )
    page.table(quality_rows(found, held_out(project)))


def held_out(project: str) -> dict[str, Any]:
    """The live model's metrics on held-out rows."""
    models = api().models(project)
    return next((dict(model["metrics"]) for model in models["models"] if model["champion"]), {})


def quality_rows(found: QualityInfo, expected: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "Metric": words.metric(name),
            "Live (95 % interval)": words.interval(live),
            "Held out (95 % interval)": words.interval(expected.get(name)),
            "Verdict": compare(name, live, expected.get(name)),
        }
        for name, live in found["metrics"].items()
    ]


def compare(name: str, live: Any, expected: Any) -> str:
    """Whether the live interval lies wholly beyond the held-out one."""
    if not live or not expected:
        return words.NOTHING
    is_lower, is_higher = live["high"] < expected["low"], live["low"] > expected["high"]
    if not is_lower and not is_higher:
        return "As expected"
    return "Better" if is_lower == (name in words.SMALLER_IS_BETTER) else "Worse"


main()
