"""What stands behind a model's metrics: comparison with the live model, weak spots, what it leans on, warnings.

Shown from the API's evaluation; a study that was not made shows nothing.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from tidemill.client_types import ModelDetail
from ui.components import charts, page, words

MOST_SHOWN = 15


def against_live(evaluation: dict[str, Any]) -> None:
    """The differences to the model that was live, on the same rows."""
    beside = evaluation.get("comparison")
    if not beside:
        return
    st.markdown(f"**Against version {beside['version']}, which was live**")
    if beside["reason"]:
        st.markdown(f":orange[:material/warning:] Not compared: {words.literal(beside['reason'])}.")
        return
    metrics = evaluation["metrics"]
    page.table(
        [
            {
                "Metric": words.metric(name),
                "This version": words.number(metrics[name]["value"]),
                f"Version {beside['version']}": words.number(beside["live"][name]),
                "Difference (95 % interval)": words.interval(found),
            }
            for name, found in beside["differences"].items()
        ]
    )
    st.caption("Both on the same rows: an interval that holds 0 means that the rows do not tell them apart.")


def warnings(evaluation: dict[str, Any]) -> None:
    """What the studies warn of."""
    found = list((evaluation.get("gaps") or {}).get("warnings", []))
    measured = evaluation.get("calibration_error")
    if measured and measured["error"]["value"] > measured["error_by_chance"]:
        found.append(
            f"the probabilities are off by {words.number(measured['error']['value'])} on average, more than chance "
            f"explains: read them as ranks"
        )
    for text in found:
        st.markdown(f":orange[:material/warning:] {words.literal(text[:1].upper() + text[1:])}.")


def weak_spots(model: ModelDetail) -> None:
    """The metric by slice, the surely worse first, and how named groups are treated."""
    evaluation: dict[str, Any] = model["evaluation"] or {}
    judged = [one for one in evaluation.get("slices") or [] if one["metric"] is not None]
    if not judged:
        page.empty(
            "No slices to judge", "Slices of 30 rows or more appear here once a version has been evaluated."
        )
    else:
        page.table([slice_row(one, model["metric"]) for one in judged[:MOST_SHOWN]])
        st.caption(
            f"Ordered by the loss that is sure. {len(judged)} slices were judged; the result allows for their "
            f"number."
        )
    for one in evaluation.get("fairness") or []:
        treated(one)


def slice_row(one: dict[str, Any], metric: str) -> dict[str, Any]:
    return {
        "Where": f"{one['column']} = {one['name']}",
        "Result": "Worse" if one["is_worse"] else "",
        "Rows": one["rows"],
        f"{words.metric(metric)} (95 % interval)": words.interval(one["metric"]),
        "Other rows": words.number(one["rest"]),
        "Worse by": words.interval(one["worse_by"]),
    }


def treated(one: dict[str, Any]) -> None:
    """The rates of each group of one column."""
    of = f", class {one['outcome']}" if one["outcome"] is not None else ""
    st.markdown(f"**{words.literal(one['column'] + of)}**")
    if not one["groups"]:
        st.caption(words.literal(one["note"]))
        return
    page.table(
        [
            {
                "Group": group["name"],
                "Rows": group["rows"],
                **{words.plain(rate): words.interval(found) for rate, found in group["rates"].items()},
            }
            for group in one["groups"]
        ]
    )


def importance(model: ModelDetail) -> None:
    """Permutation importance as a chart, with the columns that share theirs."""
    study = (model["evaluation"] or {}).get("importance")
    if not study:
        page.empty(
            "Not looked at yet", "The importance of columns appears here once a version has been evaluated."
        )
        return
    top = study["columns"][:MOST_SHOWN]
    title = f"Loss of {words.metric(study['metric'])} when the column is shuffled"
    rows = [
        {
            "name": one["column"],
            "value": one["drop"],
            "low": one["drop"] - 2 * one["std"],
            "high": one["drop"] + 2 * one["std"],
            "baseline": 0.0,
            "live": False,
        }
        for one in top
    ]
    with st.container(border=True):
        st.altair_chart(charts.intervals(rows, title))
    shared = {one["column"]: one["correlated"] for one in top if one["correlated"]}
    st.caption(
        f"{study['repeats']} shuffles on {words.counted(study['rows'], 'held-out row')}. It tells what the model "
        f"leans on, not what causes the outcome."
    )
    if shared:
        page.table([{"Column": name, "Moves with": ", ".join(others)} for name, others in shared.items()])
        st.caption("Columns that move together share their importance: each alone looks less important.")
