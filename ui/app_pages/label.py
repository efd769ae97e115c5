"""Label: say what rows are, one at a time; ask about more of them; see how far everybody agrees."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from tidemill.client_types import Labelling, LabelTaskInfo, ProjectDetail
from ui.client import api
from ui.components import page, words

ACROSS = 4
MOST_BUTTONS = 9  # one for each key from 1 to 9
LONG_TEXT = 60

_NAME = "annotator_name"
_SHOWN = "label_task_shown"

REASONS = {
    "uncertain": "the model is unsure of it",
    "random": "chosen by chance",
    "held-out": "chosen by chance, to judge models by",
    "gold": "chosen by chance",  # a row whose label is known must not be told from others
    "disagreement": "answers contradict each other",
    "suspect": "its label may be wrong",
    "low-confidence": "a prediction that was unsure",
    "drift": "from the days in which the data changed",
}
COEFFICIENTS = {
    "krippendorff_alpha_nominal": "Krippendorff's alpha",
    "krippendorff_alpha_interval": "Krippendorff's alpha",
    "fleiss_kappa": "Fleiss' kappa",
    "cohen_kappa": "Cohen's kappa",
}


def main() -> None:
    page.head("Label", "Say what rows are, so that a model can learn it.")
    project = page.require_project()
    detail, labelling = api().project(project), api().labelling(project)
    if labelling["kind"] == "column":
        labels_are_a_column(detail)
        return
    if not detail["rows"]:
        page.empty("There is no data to label yet", "Send a file on the Data page first.")
        st.page_link("app_pages/data.py", label="Go to Data", icon=":material/table_view:")
        return
    if labelling["kind"] == "built-in":
        one_row(detail, labelling)
    else:
        label_studio(project, labelling)
    standing(labelling)
    more_rows(project, labelling)
    people(project, labelling)


def labels_are_a_column(detail: ProjectDetail) -> None:
    page.empty(
        f"Labels are the column {words.literal(detail['target'] or '')}",
        "Every row whose target is filled has its label. To have people label the others as well, write "
        "`labels: built-in` into the project's project.yaml.",
        icon="label",
    )


def label_studio(project: str, labelling: Labelling) -> None:
    """The way into Label Studio; its link works once and for a minute, so it is made when it is wanted."""
    wrong = labelling["trouble"]
    if wrong:
        said = " ".join(words.literal(wrong[part]) for part in ("detail", "remedy"))
        st.warning(f"**{words.literal(wrong['title'])}** {said}", icon=":material/warning:")
    page.empty(
        "People answer in Label Studio",
        "Here you ask about more rows and see how far they are.",
        icon="label",
    )
    name = st.text_input("Your name", key=_NAME, placeholder="so that answers can be compared", max_chars=60)
    if not st.button("Open Label Studio", icon=":material/open_in_new:", disabled=not name.strip()):
        return
    with page.explained():
        link = api().label_studio_link(project, name.strip())
        valid = f" The link works once, for {link['seconds']} seconds." if link["seconds"] else ""
        st.link_button("Go to the rows", link["url"], type="primary", icon=":material/arrow_forward:")
        st.caption(f"It opens in a new tab.{valid}")


def one_row(detail: ProjectDetail, labelling: Labelling) -> None:
    """The next row for whoever sits here, with a button for each answer."""
    project = detail["name"]
    if labelling["instructions"]:
        st.markdown(f":material/info: {words.literal(labelling['instructions'])}")
    name = st.text_input("Your name", key=_NAME, placeholder="so that answers can be compared", max_chars=100)
    if not name.strip():
        if labelling["finished"] < labelling["tasks"]:
            st.caption("With your name the first row is shown.")
        return
    found = api().next_task(project, name)
    task = found["task"]
    if task is None:
        nothing_left(found["open"])
    else:
        with st.container(border=True):
            st.caption(f"{words.counted(found['open'], 'row')} to go · {REASONS.get(task['reason'], '')}")
            fields(detail, task)
            st.divider()
            answers(project, name, detail, labelling, task)
    st.button(
        "Take back my last answer",
        icon=":material/undo:",
        type="tertiary",
        shortcut="u",
        on_click=take_back,
        args=(project, name),
    )


def nothing_left(others: int) -> None:
    if others:
        page.empty(
            "Nothing is left for you", f"{words.counted(others, 'row')} wait for someone else's answer."
        )
    else:
        page.empty(
            "Every row has its answers", "Ask about more rows below, or train on what there is.", icon="check"
        )


def fields(detail: ProjectDetail, task: LabelTaskInfo) -> None:
    """The row's columns in the contract's order: long texts across the page, the others side by side."""
    texts = {column["name"] for column in detail["columns"] if column["type"] == "text"}
    short: list[tuple[str, str]] = []
    for name, value in task["fields"].items():
        said = words.NOTHING if value is None else words.number(value)
        if name in texts or len(said) > LONG_TEXT:
            side_by_side(short)
            short = []
            st.caption(words.plain(name))
            st.markdown(words.literal(said))
        else:
            short.append((words.plain(name), said))
    side_by_side(short)


def side_by_side(pairs: list[tuple[str, str]]) -> None:
    for start in range(0, len(pairs), ACROSS):
        for place, (label, value) in zip(st.columns(ACROSS), pairs[start : start + ACROSS], strict=False):
            place.markdown(f":small[:gray[{words.literal(label)}]]  \n{words.literal(value)}")


def answers(
    project: str, name: str, detail: ProjectDetail, labelling: Labelling, task: LabelTaskInfo
) -> None:
    """A button for each class with its key, or a field where there are too many classes or a number is wanted."""
    target = words.plain(detail["target"] or "answer")
    suggested = task["suggestion"]
    if suggested:
        sure = f", {suggested['score']:.0%} sure" if suggested["score"] is not None else ""
        said = words.literal(words.number(suggested["label"]))
        st.caption(f"Model version {suggested['model_version']} says {said}{sure}.")
    classes = labelling["classes"]
    if classes and len(classes) <= MOST_BUTTONS:
        with st.container(horizontal=True):
            for index, label in enumerate(classes, 1):
                is_suggested = suggested is not None and suggested["label"] == label
                st.button(
                    words.literal(label),
                    key=f"class_{index}",
                    type="primary" if is_suggested else "secondary",
                    shortcut=str(index),
                    on_click=give,
                    args=(project, task["row"], label, name),
                )
            skip(project, task, name)
    else:
        typed_answer(project, name, target, classes, task)
        skip(project, task, name)
    remember(task)


def typed_answer(
    project: str, name: str, target: str, classes: list[str] | None, task: LabelTaskInfo
) -> None:
    suggested = task["suggestion"]
    first = suggested["label"] if suggested else None
    with st.form("answer", border=False):
        given: Any
        if classes:
            index = classes.index(str(first)) if first in classes else None
            given = st.selectbox(target, classes, index=index, key=f"choice_{task['row']}")
        else:
            value = float(first) if first is not None else None
            given = st.number_input(target, value=value, format="%.6g", key=f"number_{task['row']}")
        is_given = st.form_submit_button("Answer", type="primary")
    if is_given and given is not None:
        give(project, task["row"], given, name)
        st.rerun()


def skip(project: str, task: LabelTaskInfo, name: str) -> None:
    st.button(
        "Skip",
        icon=":material/skip_next:",
        type="tertiary",
        shortcut="s",
        help="Someone else will be asked.",
        on_click=give,
        args=(project, task["row"], None, name),
    )


def remember(task: LabelTaskInfo) -> None:
    """When the row was first shown, to tell how long its answer took."""
    if st.session_state.get(_SHOWN, ("", 0.0))[0] != task["row"]:
        st.session_state[_SHOWN] = (task["row"], time.monotonic())


def give(project: str, row: str, label: Any, name: str) -> None:
    shown, since = st.session_state.get(_SHOWN, ("", 0.0))
    seconds = min(round(time.monotonic() - since, 2), 86_400.0) if shown == row else None
    with page.explained():
        api().answer(project, row, label, name, seconds)


def take_back(project: str, name: str) -> None:
    with page.explained():
        undone = api().undo_answer(project, name)
        page.note(
            "Your last answer was taken back." if undone else "There is no answer of yours to take back."
        )


def standing(labelling: Labelling) -> None:
    page.section("How far it is")
    rows = labelling["rows"] or 0
    page.facts(
        [
            ("Rows with a label", f"{words.count(labelling['labelled_rows'])} of {words.count(rows)}"),
            ("Rows asked about", words.count(labelling["tasks"])),
            ("Of those done", words.count(labelling["finished"])),
            ("Answers", words.count(labelling["answers"])),
        ]
    )
    if labelling["unusable"]:
        many = words.counted(labelling["unusable"], "answer")
        st.warning(f"{many} cannot be used; the table of annotations says why.", icon=":material/warning:")


def more_rows(project: str, labelling: Labelling) -> None:
    is_done = labelling["finished"] >= labelling["tasks"]
    with st.form("round"):
        how_many, button = st.columns([4, 1], vertical_alignment="bottom")
        budget = how_many.number_input("Rows", 1, 100_000, value=labelling["budget"], step=1)
        is_asked = button.form_submit_button(
            "Ask about more rows",
            type="primary" if is_done else "secondary",
            icon=":material/playlist_add:",
            width="stretch",
        )
    if is_asked:
        with page.explained():
            started = api().start_round(project, int(budget))
            said = f"Round {started['round']} asks about {words.counted(started['tasks'], 'row')}."
            page.note(" ".join([said, *started["remarks"]]))
            st.rerun()
    if labelling["rounds"]:
        page.table([round_row(found) for found in labelling["rounds"]])


def round_row(found: Any) -> dict[str, Any]:
    chosen = ", ".join(f"{count} {reason}" for reason, count in found["reasons"].items())
    return {"Round": found["round"], "Rows": found["tasks"], "Done": found["finished"], "Why": chosen}


def people(project: str, labelling: Labelling) -> None:
    """Who answers how; agreement where several people do."""
    if not labelling["by_annotator"]:
        return
    page.section("People")
    page.table(page.filled([person_row(found) for found in api().annotators(project)]))
    if len(labelling["by_annotator"]) > 1:
        found = [each for each in api().agreement(project) if each["rows"]]
        page.table([agreement_row(each) for each in found])


def person_row(found: Any) -> dict[str, Any]:
    gold = (
        f"{found['gold_right']} of {found['gold']}"
        if found["gold_right"] is not None and found["gold"]
        else None
    )
    return {
        "Name": found["annotator"],
        "Answers": found["answers"],
        "Skipped": found["skipped"],
        "Seconds an answer": found["median_seconds"],
        "Agrees with others": f"{found['agreement']:.0%}" if found["agreement"] is not None else None,
        "Apart from others": found["distance"],
        "Known rows right": gold,
        "Error on known rows": found["gold_error"],
    }


def agreement_row(found: Any) -> dict[str, Any]:
    shown = words.interval(found) if found["value"] is not None else "not defined: one label only"
    return {
        "Agreement": COEFFICIENTS.get(found["name"], found["name"]),
        "Of": ", ".join(found["annotators"]),
        "Value": shown,
        "Rows": found["rows"],
    }


main()
