"""Score a file: every row of a file through a model, followed while it goes on, and the result to download."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import streamlit as st

from tidemill.client_types import BatchInfo, ProjectDetail
from ui.client import api
from ui.components import page, words

FORMATS = ["csv", "tsv", "txt", "gz", "zip", "xlsx", "xls", "ods", "parquet", "ndjson", "jsonl"]
KINDS: dict[str, Literal["csv", "parquet"]] = {"CSV": "csv", "Parquet": "parquet"}
TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
UNDER_WAY = ("queued", "running")
# In the address, so that the result is still there after the page was closed.
ASKED = "batch"


def main() -> None:
    page.head("Score a file", "Every row of a file through a model; the rows come back with their answers.")
    project = page.require_project()
    detail = api().project(project)
    if detail["champion"] is None:
        page.empty(
            "No model is live", "Train a model and make it live; then this page can ask it.", "grading"
        )
        st.page_link("app_pages/models.py", label="Go to Models", icon=":material/deployed_code:")
        return
    send(detail)
    if st.query_params.get(ASKED):
        follow(project, st.query_params[ASKED])


def send(detail: ProjectDetail) -> None:
    live = detail["champion"]
    versions = [model["version"] for model in api().models(detail["name"])["models"]]
    with st.form("batch"):
        file = st.file_uploader(
            "CSV, Excel, Parquet or JSON lines",
            type=FORMATS,
            help=f"Up to 200 MB. For larger files: ./tidemill predict {detail['name']} FILE",
        )
        left, middle, right = st.columns([2, 2, 3], vertical_alignment="bottom")
        version = left.selectbox(
            "Model",
            versions,
            index=versions.index(live) if live in versions else 0,
            format_func=lambda number: f"Version {number}{', live' if number == live else ''}",
        )
        kind = middle.selectbox("Result as", list(KINDS))
        is_logged = right.checkbox(
            "Log the answers",
            help="They then count in drift and live quality, as those of single records do.",
        )
        is_sent = st.form_submit_button("Score the file", type="primary", icon=":material/grading:")
    if not is_sent:
        return
    if file is None:
        st.warning("Choose a file first.", icon=":material/info:")
        return
    with page.explained(), st.spinner("Sending the file"):
        begun = api().start_batch(
            detail["name"], file, name=file.name, format=KINDS[kind], version=version, log=is_logged
        )
        st.query_params[ASKED] = begun["id"]


def follow(project: str, batch: str) -> None:
    """The batch; while it goes on it is looked at each second."""
    page.followed(
        lambda: api().batch(project, batch),
        lambda now: now["status"] in UNDER_WAY,
        lambda now: show(project, now),
    )


def show(project: str, batch: BatchInfo) -> None:
    name = words.literal(batch["name"])
    so_far = words.counted(batch["rows"], "row")
    if batch["status"] == "queued":
        st.markdown(f":blue[:material/schedule:] **{name}** has arrived and waits for its turn.")
    elif batch["status"] == "running":
        st.markdown(f":blue[:material/progress_activity:] **{name}** is being scored: {so_far} so far.")
    elif batch["status"] == "failed":
        st.markdown(f":red[:material/block:] **{name}** was not scored.")
        problem = batch["problem"] or {}
        st.markdown(
            "  \n".join(words.literal(str(problem[key])) for key in ("title", "detail") if problem.get(key))
        )
        st.markdown(words.literal(str(problem.get("remedy") or ""), keep="`"))
    else:
        result(project, batch)


def result(project: str, batch: BatchInfo) -> None:
    st.markdown(
        f":green[:material/check_circle:] **{words.literal(batch['name'])}** is scored: "
        f"{words.counted(batch['rows'], 'row')} by model version {batch['model_version']}, "
        f"{words.duration(batch['created_at'], batch['ended_at'])}."
    )
    if batch["errors"]:
        st.markdown(
            f":orange[:material/rule:] {words.counted(batch['errors'], 'row breaks', 'rows break')} the contract "
            f"and {'has' if batch['errors'] == 1 else 'have'} no answer; `_error` says why."
        )
    stem = Path(batch["name"]).stem or "file"
    st.download_button(
        "Download the result",
        data=lambda: result_bytes(project, batch["id"]),
        file_name=f"{stem}.predictions.{batch['format']}",
        mime=TYPES[batch["format"]],
        icon=":material/download:",
        on_click="ignore",
    )
    st.caption("Rows are in the file's order, with `_prediction` and what belongs to it. Kept for a week.")


def result_bytes(project: str, batch: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return api().batch_result(project, batch, Path(folder) / "result").read_bytes()


main()
