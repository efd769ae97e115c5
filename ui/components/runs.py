"""Showing a run of a job: its state, its steps, and following it while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from tidemill.client_types import RunInfo
from ui.components import page, words

GOING_ON = ("queued", "running")

TRIGGERS = {
    "api": "a program",
    "command-line": "the command line",
    "dashboard": "the dashboard",
    "dagster": "Dagster",
    "schedule": "the schedule",
    "new-data": "new data",
    "new-labels": "new labels",
    "drift": "a drift alert",
    "retry": "another try",
    "git-push": "a git push",
}

STATES = {
    "queued": (":material/schedule:", "gray", "Waiting"),
    "running": (":material/progress_activity:", "blue", "Running"),
    "succeeded": (":material/check_circle:", "green", "Done"),
    "failed": (":material/error:", "red", "Failed"),
    "canceled": (":material/cancel:", "gray", "Cancelled"),
    "skipped": (":material/remove_circle_outline:", "gray", "Skipped"),
}


def is_going_on(run: RunInfo | None) -> bool:
    return run is not None and run["status"] in GOING_ON


def state(name: str) -> str:
    """The state in words."""
    return STATES.get(name, ("", "", words.plain(name)))[2]


def badge(name: str) -> None:
    icon, color, text = STATES.get(name, (":material/help:", "gray", words.plain(name)))
    st.badge(text, icon=icon, color=color)  # type: ignore[arg-type]


def follow(project: str, run: RunInfo, look: Callable[[], RunInfo], title: str) -> None:
    """Show the run; while it goes on, look again each second, and draw the whole page anew at its end."""
    was_going_on = is_going_on(run)

    @st.fragment(run_every=page.LOOK_EVERY if was_going_on else None)
    def panel() -> None:
        with page.explained():
            now = look() if was_going_on else run
            show(project, now, title)
            if was_going_on and not is_going_on(now):
                st.rerun()

    panel()


def show(project: str, run: RunInfo, title: str) -> None:
    """One run: state, times, steps, and the reason when it failed."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            with st.container(horizontal=True, vertical_alignment="center", width="content"):
                st.markdown(f"**{title}**", width="content")
                badge(run["status"])
            if run.get("dagster_url"):
                st.link_button(
                    "Open in Dagster", str(run["dagster_url"]), icon=":material/open_in_new:", type="tertiary"
                )
        began = run["started_at"] or run["created_at"]
        st.caption(f"Started {words.when(began)} · {words.duration(began, run['ended_at'])} · {origin(run)}")
        if run["status"] == "queued":
            st.markdown(words.literal(run["waiting_for"] or "Waiting for its turn."))
        if run["is_ending"]:
            st.markdown("It is being ended; that takes up to 15 seconds.")
        _progress(run)
        _steps(project, run)
        if run["error"] and run["status"] == "canceled":
            st.markdown(words.literal(run["error"]))
        elif run["error"]:
            st.markdown("**What went wrong**")
            st.code(run["error"], language=None, wrap_lines=True)


def _steps(project: str, run: RunInfo) -> None:
    """A line for each step, in the order in which they were begun."""
    lines = []
    for step in run["steps"]:
        icon, color, _ = STATES.get(step["status"], (":material/help:", "gray", ""))
        time = words.duration(step["started_at"], step["ended_at"]) if step["started_at"] else ""
        lines.append(f":{color}[{icon}] {step_name(project, step['name'])} :small[:gray[{time}]]")
    if lines:
        st.markdown("  \n".join(lines))


def _progress(run: RunInfo) -> None:
    """How far a run is, and a training's search with its best score so far, while it goes on."""
    if not is_going_on(run) or run["percent"] is None:
        return
    st.progress(run["percent"] / 100, text=f"{run['percent']} %")
    found = run.get("progress")
    if isinstance(found, dict) and found["total"]:
        told = f"{found['done']} of {found['total']} fits, best score {words.number(found['best_score'])}"
        st.caption(f"{told} · now: {words.estimator(found['name'])}")


def origin(run: RunInfo) -> str:
    """What started a run, by whom and why, in one line."""
    name = TRIGGERS.get(run["trigger"], run["trigger"])
    who = f" ({run['actor']})" if run["actor"] and run["trigger"] != "dagster" else ""
    why = f": {run['reason']}" if run["reason"] else ""
    return words.literal(f"by {name}{who}{why}")


def step_name(project: str, key: str) -> str:
    """breast_cancer__raw -> Raw."""
    return words.literal(words.plain(key.removeprefix(f"{project}__").rpartition("/")[2]))


def row(run: RunInfo) -> dict[str, Any]:
    """The run as a line of a history table."""
    began = run["started_at"] or run["created_at"]
    return {
        "Started": words.local(began),
        "State": state(run["status"]),
        "Started by": TRIGGERS.get(run["trigger"], run["trigger"]),
        "Took": words.duration(began, run["ended_at"]) if run["ended_at"] else words.NOTHING,
    }
