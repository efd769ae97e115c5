"""Predict: one record by a form, and what was answered before, with the truth once known.

A whole file is scored on the page of `batch.py`.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from tidemill.client import ApiError
from tidemill.client_types import ColumnProfile, Explanation, LoggedPrediction, Prediction, ProjectDetail
from ui.client import api, places
from ui.components import charts, page, records, words

RECENT = 100


def main() -> None:
    page.head("Predict", "Ask the live model; every answer is logged before it is shown.")
    project = page.require_project()
    detail = api().project(project)
    if detail["champion"] is None:
        page.empty(
            "No model is live", "Train a model and make it live; then this page can ask it.", icon="bolt"
        )
        st.page_link("app_pages/models.py", label="Go to Models", icon=":material/deployed_code:")
        return
    views = {"One record": one_record, "Recent answers": recent}
    view = st.segmented_control(
        "How", list(views), default="One record", required=True, label_visibility="collapsed"
    )
    views[view](detail)


def one_record(detail: ProjectDetail) -> None:
    profile = usual_values(places().api_url, detail["name"], detail["dataset_version"])
    with st.form("record"):
        st.caption("Filled with the usual value of each column. An empty field is sent as missing.")
        record = records.form_fields(detail["columns"], profile)
        is_asked = st.form_submit_button("Predict", type="primary", icon=":material/bolt:")
    if is_asked:
        with page.explained():
            answer(explained_if_possible(detail["name"], record), detail)


def explained_if_possible(project: str, record: dict[str, Any]) -> Prediction:
    """The answer with its reasons, or without where the live model cannot tell them."""
    try:
        return api().predict(project, record, explain=True)
    except ApiError as error:
        if error.problem.get("type") != "urn:tidemill:problem:not-explainable":
            raise
        return api().predict(project, record)


@st.cache_data(ttl=300, show_spinner=False)
def usual_values(api_url: str, project: str, version: int | None) -> list[ColumnProfile]:  # noqa: ARG001 - keys
    """The profile of the raw table, for the form's defaults; without one the form starts empty."""
    try:
        return api().profile(project, "raw")
    except ApiError:
        return []


def answer(found: Prediction, detail: ProjectDetail) -> None:
    with st.container(border=True):
        left, right = st.columns([2, 3])
        with left:
            st.caption(f"{words.plain(detail['target'] or 'Answer')}, as predicted")
            with st.container(gap="xxsmall"):
                st.header(words.literal(words.number(found["label"])), anchor=False)
                st.caption(
                    f"Model version {found['model_version']} · {words.when(found['at'])}  \n"
                    f"Prediction {found['id']}"
                )
        if found["probabilities"]:
            right.caption("Probability of each class")
            right.altair_chart(charts.probabilities(found["probabilities"]))
        for flag in found["flags"]:
            st.markdown(f":orange[:material/flag:] {words.literal(words.flag(flag))}")
        if "explanation" in found:
            reasons(found["explanation"])
        else:
            st.caption("The live model cannot say how each field moved its answer.")


def reasons(found: Explanation) -> None:
    """How much each field moved the answer; the bars add up to the margin."""
    about = f"towards {words.literal(found['label'])}" if found["label"] is not None else "upwards"
    unit = words.UNITS[found["unit"]]
    usual, margin = words.number(found["base_value"]), words.number(found["margin"])
    calibrated = ", before calibration" if found["calibrated"] else ""
    st.caption(
        f"What moved the answer {about}, in {unit}: from {usual} of the usual record to {margin}{calibrated}."
    )
    st.altair_chart(charts.contributions(found["contributions"], unit))


def recent(detail: ProjectDetail) -> None:
    found = api().predictions(detail["name"], limit=RECENT)
    if not found:
        page.empty("No answer yet", "Answers appear here, whoever asked for them.")
        return
    page.table(page.filled([answer_row(event) for event in found]), tallest=360)
    st.caption(f"The newest {len(found)}.")
    page.section("Tell the truth about one")
    truth(detail, found)


def answer_row(event: LoggedPrediction) -> dict[str, Any]:
    truth = {"Truth": (event["truth"] or {}).get("label")} if "truth" in event else {}
    return {
        "When": words.local(event["at"]),
        "Entity": event["entity_id"],
        "Predicted": event["label"],
        "Score": event["score"],
        **truth,
        "Model": event["model_version"],
        "Flags": words.flags(event["flags"]),
        "Took (ms)": event["latency_ms"],
        "Prediction": event["id"],
    }


def truth(detail: ProjectDetail, found: list[LoggedPrediction]) -> None:
    """The true answer to a logged prediction; it feeds the live quality."""
    by_id = {event["id"]: event for event in found}
    with st.form("truth", clear_on_submit=True):
        left, right, end = st.columns([3, 2, 1], vertical_alignment="bottom")
        chosen = left.selectbox(
            "Prediction", list(by_id), format_func=lambda key: prediction_name(by_id[key])
        )
        with right:
            label = true_label(detail, found)
        is_sent = end.form_submit_button("Send the truth", type="primary", width="stretch")
    if not is_sent:
        return
    if label is None:
        st.warning("Choose or write the true answer first.", icon=":material/info:")
        return
    with page.explained():
        receipt = api().send_truth(detail["name"], label, prediction_id=chosen)
        page.note("The truth is stored." if receipt["matched"] else "Stored, but it matches no prediction.")
        st.rerun()


def prediction_name(event: LoggedPrediction) -> str:
    who = event["entity_id"] or event["id"][:8]
    return f"{who}, {words.when(event['at'])}, predicted {words.number(event['label'])}"


def true_label(detail: ProjectDetail, found: list[LoggedPrediction]) -> str | float | None:
    if detail["task"] == "regression":
        return st.number_input("True value", value=None, placeholder="a number", format="%.6g")
    return st.selectbox("True class", classes(detail, found), index=None, placeholder="choose")


def classes(detail: ProjectDetail, found: list[LoggedPrediction]) -> list[str]:
    """The classes that the contract allows, or those seen in the answers."""
    target = next((column for column in detail["columns"] if column["name"] == detail["target"]), None)
    if target is not None and target["values"]:
        return list(target["values"])
    return sorted({str(name) for event in found for name in event["probabilities"] or [event["label"]]})


main()
