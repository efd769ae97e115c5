"""Models: how good each version is, which one is live, and changing that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from tidemill.client import ApiError
from tidemill.client_types import DeploymentEvent, DeploymentInfo, Interval, ModelDetail, ModelInfo, Models
from ui.client import api
from ui.components import charts, page, rollout, studies, words

SHOWN_IN_CHART = 12
CARD_HEIGHT = 900
ACTIONS = {
    "deploy": "Made live",
    "promote": "Made live after it was tried",
    "rollback": "Went back",
    "shadow": "Into shadow",
    "canary": "Canary",
    "pause": "Paused",
    "resume": "Went on",
    "withdraw": "Withdrawn",
}


def main() -> None:
    page.head("Models", "Every model that was made, measured on rows its training never saw.")
    project = page.require_project()
    found = api().models(project)
    if not found["models"]:
        page.empty("No model yet", "Train one on the Training page; it appears here with its measurements.")
        st.page_link("app_pages/training.py", label="Go to Training", icon=":material/model_training:")
        return
    deployment = api().deployment(project)
    live(found, deployment)
    rollout.challenger(project, deployment, with_reason)
    comparison(found["models"], deployment)
    details(project, found, deployment)
    changes(deployment)


def live(found: Models, deployment: DeploymentInfo) -> None:
    model = next((model for model in found["models"] if model["version"] == found["champion"]), None)
    if model is None:
        st.markdown(":orange[:material/info:] No model is live: nothing answers predictions yet.")
        return
    metric = model["metric"]
    page.facts(
        [
            ("Live model", f"Version {model['version']}"),
            (f"{words.metric(metric)}, held out", measured(model)),
            ("Dummy model", words.number(model["baseline"].get(metric))),
            ("Live since", words.when(deployment["changed_at"])),
        ]
    )


def measured(model: ModelInfo) -> str:
    found = model["metrics"].get(model["metric"])
    return words.number(found["value"]) if found else words.NOTHING


def comparison(models: list[ModelInfo], deployment: DeploymentInfo) -> None:
    its = deployment["challenger"]
    stages = {its["version"]: its["stage"].capitalize()} if its is not None else {}
    page.section("Versions")
    page.table([model_row(model, stages) for model in models])
    metric = models[0]["metric"]
    shown = [model for model in models if metric in model["metrics"]][:SHOWN_IN_CHART]
    if len(shown) > 1:
        title = f"{words.metric(metric)} with its 95 % interval"
        with st.container(border=True):
            st.altair_chart(charts.intervals([interval_row(model, metric) for model in shown], title))
            better = "smaller" if metric in words.SMALLER_IS_BETTER else "larger"
            st.caption(f"The live model is orange, the grey tick is the dummy model; {better} is better.")


def model_row(model: ModelInfo, stages: dict[int, str]) -> dict[str, Any]:
    metric = model["metric"]
    gate = model["gate"]
    return {
        "Version": model["version"],
        "State": "Live" if model["champion"] else stages.get(model["version"], ""),
        "Kind": words.estimator(model["estimator"]),
        f"{words.metric(metric)} (95 % interval)": words.interval(model["metrics"].get(metric)),
        "Dummy model": words.number(model["baseline"].get(metric)),
        "Gate": "Not judged" if gate is None else "Passed" if gate["passed"] else "Refused",
        "Made": words.local(model["created"]),
    }


def interval_row(model: ModelInfo, metric: str) -> dict[str, Any]:
    return {
        "name": f"Version {model['version']}",
        **model["metrics"][metric],
        "baseline": model["baseline"].get(metric),
        "live": model["champion"],
    }


def details(project: str, found: Models, deployment: DeploymentInfo) -> None:
    versions = [model["version"] for model in found["models"]]
    page.section("One version")
    chosen = st.selectbox(
        "Version",
        versions,
        format_func=lambda version: name_of(version, found["champion"]),
        width=page.NARROW,
    )
    with page.explained():
        model = api().model(project, chosen)
        with st.container(horizontal=True, vertical_alignment="center"):
            change_live(project, model, deployment)
        views: dict[str, Callable[[ModelDetail], None]] = {
            "Measurements": measurements,
            "Weak spots": studies.weak_spots,
            "What it leans on": studies.importance,
            "Gate": gate,
            "Candidates": candidates,
            "Origin": origin,
        }
        view = st.segmented_control(
            "View", [*views, "Card"], default="Measurements", required=True, label_visibility="collapsed"
        )
        if view == "Card":
            card(project, model)
        else:
            views[view](model)


def name_of(version: int, champion: int | None) -> str:
    return f"Version {version}, live" if version == champion else f"Version {version}"


def change_live(project: str, model: ModelDetail, deployment: DeploymentInfo) -> None:
    """Make this version live, or put the one before back; each asks for the reason."""
    version, previous = model["version"], deployment["previous"]
    if not model["champion"]:
        with st.popover(f"Make version {version} live", type="primary", icon=":material/rocket_launch:"):
            has_passed = model["gate"] is not None and model["gate"]["passed"]
            if not has_passed:
                st.markdown(
                    ":orange[:material/warning:] This version has not passed the gate. Making it live all the "
                    "same is your decision; the reason is kept in the history."
                )
            with_reason(
                f"Make version {version} live",
                lambda reason: api().deploy(
                    project, version, reason, deployment["revision"], despite_gate=not has_passed
                ),
            )
    rollout.start(project, model, deployment, with_reason)
    if previous is not None and deployment["champion"] is not None:
        with st.popover(f"Go back to version {previous}", icon=":material/undo:"):
            with_reason(
                f"Go back to version {previous}",
                lambda reason: api().rollback(project, reason, deployment["revision"]),
            )


def with_reason(label: str, act: Callable[[str], DeploymentInfo]) -> None:
    with st.form(label, border=False):
        reason = st.text_input("Reason", placeholder="why; it is kept in the history")
        is_asked = st.form_submit_button(label)
    if not is_asked:
        return
    if not reason.strip():
        st.warning("Give a reason first.", icon=":material/info:")
        return
    with page.explained():
        now = act(reason.strip())
        its = now["challenger"]
        beside = f" Version {its['version']} is in {its['stage']}." if its is not None else ""
        page.note(f"Version {now['champion']} is live.{beside}")
        st.rerun()


def measurements(model: ModelDetail) -> None:
    evaluation: dict[str, Any] = model["evaluation"] or {}
    metrics: dict[str, Interval] = evaluation.get("metrics") or model["metrics"]
    if not metrics:
        page.empty("Not measured yet", "The evaluation on held-out rows has not run for this version.")
        return
    baseline = evaluation.get("baseline") or model["baseline"]
    page.table(
        [
            {
                "Metric": words.metric(name),
                "Value (95 % interval)": words.interval(found),
                "Dummy model": words.number(baseline.get(name)),
            }
            for name, found in metrics.items()
        ]
    )
    if evaluation.get("rows"):
        st.caption(f"On {words.counted(evaluation['rows'], 'held-out row')}.")
    studies.against_live(evaluation)
    studies.warnings(evaluation)
    plots(evaluation)


def plots(evaluation: dict[str, Any]) -> None:
    shown = plots_of(evaluation)
    for start in range(0, len(shown), 2):
        for place, (title, chart) in zip(st.columns(2), shown[start : start + 2], strict=False):
            with place.container(border=True):
                st.markdown(f"**{title}**")
                st.altair_chart(chart)


def plots_of(evaluation: dict[str, Any]) -> list[tuple[str, Any]]:
    """The charts for which there are points."""
    confusion = evaluation.get("confusion")
    shown: list[tuple[str, Any]] = []
    if evaluation.get("roc"):
        x, y = "False positive rate", "True positive rate"
        shown.append(("ROC curve", charts.curves(evaluation["roc"], x, y, diagonal=True)))
    if confusion:
        shown.append(("Confusion", charts.confusion(confusion["classes"], confusion["counts"])))
    if evaluation.get("pr"):
        shown.append(("Precision and recall", charts.curves(evaluation["pr"], "Recall", "Precision")))
    if evaluation.get("calibration"):
        shown.append(("Calibration", charts.calibration(evaluation["calibration"])))
    if evaluation.get("residuals"):
        shown.append(("Predicted and true values", charts.residuals(evaluation["residuals"])))
    return shown


def gate(model: ModelDetail) -> None:
    found = model["gate"]
    if found is None:
        page.empty("Not judged yet", "The gate looks at a version once it has been evaluated.", icon="gavel")
        return
    if found["passed"]:
        st.markdown(":green[:material/check_circle:] **Passed**: it may be made live.")
    else:
        st.markdown(":red[:material/block:] **Refused**")
        st.markdown("\n".join(f"- {words.literal(reason)}" for reason in found["reasons"]))
    if found["checks"]:
        page.table(
            [
                {
                    "Check": words.plain(str(check.get("name", ""))),
                    "Result": "Passed" if check.get("passed") else "Failed",
                    "Found": words.number(check.get("found")),
                    "Needed": words.number(check.get("needed")),
                }
                for check in found["checks"]
            ]
        )


def candidates(model: ModelDetail) -> None:
    if not model["candidates"]:
        page.empty("No candidates are recorded", "This version was not made by a search.")
        return
    page.table([candidate_row(candidate) for candidate in model["candidates"]])


def candidate_row(candidate: dict[str, Any]) -> dict[str, Any]:
    return {
        "Candidate": words.estimator(str(candidate.get("estimator") or candidate.get("name") or "")),
        "Result": "Chosen" if candidate.get("chosen") else "",
        "Cross-validated": words.number(candidate.get("cv_mean")),
        "Spread over folds": words.number(candidate.get("cv_std")),
        "Seconds": words.number(candidate.get("seconds")),
        "Parameters": page.show(candidate.get("params") or {}) or "defaults",
    }


def card(project: str, model: ModelDetail) -> None:
    """The card as a page, to be read here, printed or mailed; one made before cards were pages as Markdown."""
    shown = page_of(project, model["version"])
    downloads = [("Markdown", model["card"], "md", "text/markdown")]
    if shown is not None:
        downloads.insert(0, ("page, to print or mail", shown, "html", "text/html"))
    with st.container(horizontal=True):
        for what, text, ending, mime in downloads:
            st.download_button(
                f"Download as {what}",
                text,
                file_name=f"{project}-model-{model['version']}.{ending}",
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
            )
    with st.container(border=True):
        if shown is not None:
            st.iframe(shown, height=CARD_HEIGHT)
        else:
            st.markdown(model["card"] or "No card was written.")


def page_of(project: str, version: int) -> str | None:
    try:
        return api().model_card(project, version)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def origin(model: ModelDetail) -> None:
    page.table(
        [
            {"What": words.plain(name), "Value": str(page.show(value))}
            for name, value in model["provenance"].items()
        ]
    )


def what_changed(event: DeploymentEvent) -> str:
    share = f" of {event['percent']:g} %" if event["action"] == "canary" and event["percent"] else ""
    return ACTIONS.get(event["action"], words.plain(event["action"])) + share


def changes(deployment: DeploymentInfo) -> None:
    if not deployment["history"]:
        return
    page.section("What was live when")
    page.table(
        [
            {
                "When": words.local(event["at"]),
                "What": what_changed(event),
                "Version": event["version"],
                "Who": event["actor"],
                "Reason": event["reason"],
            }
            for event in deployment["history"]
        ]
    )


main()
