"""Overview: every project, what is live in it, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import streamlit as st

from tidemill.client_types import ProjectSummary
from ui.client import api, places
from ui.components import page, words

LOOK_EVERY = 10.0  # seconds


def main() -> None:
    page.head("Overview", "Your projects, what is live, and what to do next.")
    projects = api().projects()
    if not projects:
        page.no_project()
    else:
        all_projects()
    services()


@st.fragment(run_every=LOOK_EVERY)
def all_projects() -> None:
    with page.explained():
        for project in api().projects():
            card(project, is_chosen=project["name"] == page.chosen_project())


def card(project: ProjectSummary, *, is_chosen: bool) -> None:
    with st.container(border=True):
        name, advice, button = st.columns([4, 4, 2], vertical_alignment="center")
        with name:
            title(project)
        if project["problem"]:
            st.markdown(":red[:material/error:] **Its project.yaml cannot be used**")
            st.code(project["problem"], language=None, wrap_lines=True)
            return
        with advice:
            st.caption(words.literal(project["next_step"]["text"]), text_alignment="right")
        with button:
            next_step(project, is_chosen=is_chosen)
        figures(project)


def title(project: ProjectSummary) -> None:
    about = ""
    if project["task"] and project["target"]:
        about = f"  \n:small[:gray[{words.task(project['task'])} of {words.literal(project['target'])}]]"
    st.markdown(f"**{words.literal(project['title'] or words.plain(project['name']))}**{about}")


def next_step(project: ProjectSummary, *, is_chosen: bool) -> None:
    """The way to what is to be done; the chosen project's is the page's primary button."""
    target, label = words.PAGE_OF_ACTION.get(project["next_step"]["action"], ("app_pages/data.py", "Open"))
    if st.button(
        label,
        key=f"next_{project['name']}",
        type="primary" if is_chosen else "secondary",
        icon=":material/arrow_forward:",
        width="stretch",
    ):
        st.switch_page(target, query_params={"project": project["name"]})


def figures(project: ProjectSummary) -> None:
    version = project["dataset_version"]
    rows = f"{words.count(project['rows'])} rows, version {version}" if version is not None else "none yet"
    live = f"version {project['champion']}" if project["champion"] is not None else "none"
    alerts = project["open_alerts"]
    shown_alerts = f":red[:material/notifications_active: {alerts} open]" if alerts else "none open"
    pairs = [
        ("Data", rows),
        ("Live model", live),
        ("Predictions", words.count(project["predictions"])),
        ("Alerts", shown_alerts),
    ]
    for place, (label, value) in zip(st.columns(len(pairs)), pairs, strict=True):
        place.markdown(f":small[:gray[{label}]]  \n{value}")


def services() -> None:
    """What runs, and the ways to the other screens."""
    checks = api().ready().get("checks") or {}
    page.section("Services")
    with (
        st.container(border=True),
        st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"),
    ):
        with st.container(horizontal=True, width="content"):
            for name, found in each_check(checks):
                is_well, detail = read_check(found)
                icon, color = (":material/check_circle:", "green") if is_well else (":material/error:", "red")
                st.badge(words.plain(name), icon=icon, color=color, help=detail or None)  # type: ignore[arg-type]
        links()


def links() -> None:
    """The ways to the screens of others."""
    found = places()
    with st.container(horizontal=True, width="content"):
        if found.dagster_url:
            st.link_button("Dagster", found.dagster_url, icon=":material/open_in_new:", type="tertiary")
        st.link_button(
            "API reference", f"{found.api_url}/docs", icon=":material/open_in_new:", type="tertiary"
        )
        if st.button("MLflow", icon=":material/science:", type="tertiary"):
            with page.explained():
                link = api().mlflow_link()
                st.link_button("Open MLflow", link["url"], icon=":material/open_in_new:", type="tertiary")
                st.caption(f"The link works once, for {link['seconds']} seconds.")


def each_check(checks: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The readiness checks as name and what was found; the models are a group of their own."""
    for name, found in checks.items():
        if isinstance(found, dict):
            yield from ((f"model of {part}", str(state)) for part, state in found.items())
        else:
            yield name, str(found)


def read_check(found: str) -> tuple[bool, str]:
    """A check as (is well, what else it says): "ok", "ready model 2", "loading model model 3"."""
    state, _, more = found.partition(" ")
    return state in ("ok", "ready"), more if state in ("ok", "ready") else found


main()
