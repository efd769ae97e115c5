"""What every page is made of: its head, the project it is about, empty states, problems, passing notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from tidemill.client import ApiError, Unreachable
from tidemill.client_types import ProjectSummary
from ui.components import words

T = TypeVar("T")

LOOK_EVERY = 1.0  # seconds
ROW_HEIGHT = 35  # pixels, Streamlit's own
NARROW = 360  # pixels; a selector of one thing need not fill the page

_PROJECT = "chosen_project"
_PICKER = "project_picker"
_NOTE = "passing_note"


def head(title: str, about: str) -> None:
    """The page's name and one line on what it is for."""
    with st.container(gap="xxsmall"):
        st.title(title, anchor=False)
        st.caption(about)


def section(title: str) -> None:
    st.subheader(title, anchor=False)


def empty(title: str, advice: str, icon: str = "inbox") -> None:
    """What to do where there is nothing yet."""
    with st.container(border=True):
        st.markdown(f"**:material/{icon}: {title}**")
        st.markdown(advice)


def followed(look: Callable[[], T], is_under_way: Callable[[T], bool], show: Callable[[T], None]) -> None:
    """Show in a frame what `look` finds, anew each second while it is under way; at its end the page is redrawn."""
    with explained():
        first = look()
        is_waiting = is_under_way(first)

        @st.fragment(run_every=LOOK_EVERY if is_waiting else None)
        def panel() -> None:
            with explained():
                now = look() if is_waiting else first
                with st.container(border=True):
                    show(now)
                if is_waiting and not is_under_way(now):
                    st.rerun()

        panel()


def choose_project(projects: Sequence[ProjectSummary]) -> None:
    """The selector in the sidebar. The choice is in the address, so that a link opens the same project."""
    names = [project["name"] for project in projects]
    if not names:
        st.session_state.pop(_PROJECT, None)
        return
    asked = st.query_params.get("project")
    chosen = next(
        (name for name in (asked, st.session_state.get(_PROJECT)) if name in names),
        names[0],
    )
    st.session_state[_PROJECT] = st.session_state[_PICKER] = chosen
    if asked is not None and asked not in names:
        note(f"There is no project {asked}; this is {chosen}.")
    if asked != chosen:
        st.query_params["project"] = chosen
    titles = {project["name"]: project["title"] or words.plain(project["name"]) for project in projects}
    with st.sidebar:
        st.selectbox(
            "Project", names, format_func=lambda name: titles.get(name, name), key=_PICKER, on_change=_picked
        )


def _picked() -> None:
    st.session_state[_PROJECT] = st.query_params["project"] = st.session_state[_PICKER]


def chosen_project() -> str | None:
    found: str | None = st.session_state.get(_PROJECT)
    return found


def require_project() -> str:
    """The chosen project; without any, says how to make one and ends the page."""
    project = chosen_project()
    if project is None:
        no_project()
        st.stop()
    return project


def no_project() -> None:
    empty(
        "No project yet",
        "A project is one file that describes your data. Let Tidemill write it from a CSV or Excel file, "
        "in a terminal:\n\n"
        "`./tidemill init data.csv --name my_project --target column_to_predict`",
        icon="add_circle",
    )


@contextmanager
def explained() -> Iterator[None]:
    """Show a problem of the API as a message instead of a traceback, and go on after the block."""
    try:
        yield
    except ApiError as error:
        problem(error)


def problem(error: ApiError) -> None:
    """What was wrong, with which object, what to do."""
    icon = ":material/cloud_off:" if isinstance(error, Unreachable) else ":material/error:"
    # A remedy may name a command between backticks.
    remedy = words.literal(error.remedy, keep="`")
    parts = [f"**{words.literal(error.title)}**", words.literal(error.detail), remedy]
    st.error("\n\n".join(part for part in parts if part), icon=icon)
    faults = error.problem.get("faults")
    if isinstance(faults, list) and faults and all(isinstance(fault, dict) for fault in faults):
        table([{words.plain(name): show(value) for name, value in fault.items()} for fault in faults])
    if error.status >= 500 and error.request_id:
        st.caption(f"Request {error.request_id}; the API's log says more: `./tidemill logs api`.")


def note(text: str) -> None:
    """A short note that is shown once, also after the page has been drawn anew."""
    st.session_state[_NOTE] = text


def show_note() -> None:
    text = st.session_state.pop(_NOTE, None)
    if text:
        st.toast(text, icon=":material/info:")


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Up to four figures side by side."""
    for place, (label, value) in zip(st.columns(len(pairs)), pairs, strict=True):
        place.metric(label, value, border=True)


def table(rows: Sequence[dict[str, Any]], *, tallest: int = 0, **options: Any) -> Any:
    """Rows as a table without the running number; datetimes in short form; it scrolls beyond `tallest` pixels."""
    frame = pd.DataFrame(list(rows))
    moments = {
        str(name): st.column_config.DatetimeColumn(str(name), format="D MMM YYYY, HH:mm")
        for name in frame.columns
        if isinstance(frame[name].dtype, pd.DatetimeTZDtype)
    }
    config = {**moments, **options.pop("column_config", {})}
    return st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        height=tallest if tallest and (len(rows) + 1) * ROW_HEIGHT > tallest else "auto",
        column_config=config,
        placeholder="",
        **options,
    )


def filled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without the columns that no row fills, such as the score of a regression."""
    used = {name for row in rows for name, value in row.items() if value is not None and value != ""}
    return [{name: value for name, value in row.items() if name in used} for row in rows]


def show(value: Any) -> Any:
    """A table cell for anything: lists and objects in words, numbers as they are."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {show(held)}" for name, held in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(show(held)) for held in value)
    return words.number(value) if isinstance(value, float) else value
