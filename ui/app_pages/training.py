"""Training: start one, follow it, end it or try it again, and see what became of earlier ones."""

from __future__ import annotations

from typing import Any

import streamlit as st

from tidemill.client_types import ProjectDetail, TrainingInfo
from ui.client import api
from ui.components import page, runs, words


def main() -> None:
    page.head("Training", "Search for the best model on the newest data, test it on held-out rows, judge it.")
    project = page.require_project()
    detail = api().project(project)
    trainings = api().trainings(project)
    if not detail["rows"]:
        page.empty("There is no data to learn from yet", "Send a file on the Data page first.")
        st.page_link("app_pages/data.py", label="Go to Data", icon=":material/table_view:")
    else:
        start(project, trainings)
        plan(detail)
    newest(project, trainings)
    history(trainings)


def start(project: str, trainings: list[TrainingInfo]) -> None:
    is_busy = any(runs.is_going_on(training) for training in trainings)
    with st.form("start_training", clear_on_submit=True):
        where, button = st.columns([4, 1], vertical_alignment="bottom")
        reason = where.text_input("Reason", placeholder="optional: why you train now", disabled=is_busy)
        is_asked = button.form_submit_button(
            "Start training",
            type="primary",
            icon=":material/play_arrow:",
            disabled=is_busy,
            help="A training is going on." if is_busy else None,
            width="stretch",
        )
    if is_asked:
        with page.explained():
            api().start_training(project, reason, trigger="dashboard")
            page.note("The training has been started.")
            st.rerun()


def plan(detail: ProjectDetail) -> None:
    """What a training does, as the project file says."""
    training = detail["training"]
    candidates = [words.estimator(name) for name in training.get("candidates") or []]
    split = training.get("split") or {}
    parts = [
        f"Candidates: {', '.join(candidates)}" if candidates else "",
        f"{training.get('trials')} settings each, {training.get('folds')} folds"
        if training.get("trials")
        else "",
        f"judged by {words.metric(training['metric'])}" if training.get("metric") else "",
        f"{split['test']:.0%} of the rows held out" if split.get("test") else "",
    ]
    st.caption(" · ".join(part for part in parts if part))


def newest(project: str, trainings: list[TrainingInfo]) -> None:
    if not trainings:
        page.empty(
            "No training yet", "The first one will be shown here, step by step.", icon="model_training"
        )
        return
    training = trainings[0]
    page.section("Now" if runs.is_going_on(training) else "The last training")
    runs.follow(project, training, lambda: api().training(project, training["id"]), "Training")
    end_or_retry(project, training)
    if training["status"] == "succeeded" and training["model_version"] is not None:
        st.page_link(
            "app_pages/models.py",
            label=f"It made model version {training['model_version']}",
            icon=":material/deployed_code:",
        )


def end_or_retry(project: str, training: TrainingInfo) -> None:
    """The button that ends the training that goes on, or starts one in place of one that ended badly."""
    if runs.is_going_on(training):
        if st.button("Cancel", icon=":material/cancel:", disabled=training["is_ending"]):
            with page.explained():
                api().cancel_training(project, training["id"])
                page.note("The training is being ended.")
                st.rerun()
    elif training["status"] in ("failed", "canceled") and st.button("Try again", icon=":material/replay:"):
        with page.explained():
            api().retry_training(project, training["id"])
            page.note("Another training has been started in its place.")
            st.rerun()


def history(trainings: list[TrainingInfo]) -> None:
    if len(trainings) < 2:
        return
    page.section("Earlier trainings")
    page.table([row(training) for training in trainings[1:]])
    failed = [training for training in trainings[1:] if training["error"]]
    for training in failed[:5]:
        how = "was cancelled" if training["status"] == "canceled" else "failed"
        with st.expander(f"Why the one of {words.when(training['created_at'])} {how}"):
            st.code(training["error"] or "", language=None, wrap_lines=True)


def row(training: TrainingInfo) -> dict[str, Any]:
    made = {"Reason": training["reason"], "Model version": training["model_version"]}
    return {**runs.row(training), **made}


main()
