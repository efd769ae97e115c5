"""The challenger on the page Models: its stage, how it compares with the live model, and what may be done with it.

Whatever it does is asked of the API with a reason and the revision that was seen. The page itself is
`app_pages/models.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from tidemill.client import ApiError
from tidemill.client_types import ChallengerInfo, ComparisonInfo, DeploymentInfo, LatencyInfo, ModelDetail
from ui.client import api
from ui.components import page, words

Change = Callable[[str], DeploymentInfo]
WithReason = Callable[[str, Change], None]
REFRESH_SECONDS = 3


def challenger(project: str, deployment: DeploymentInfo, with_reason: WithReason) -> None:
    """What is tried beside the live model; nothing when nothing is."""
    its = deployment["challenger"]
    if its is None:
        return
    page.section("Being tried")
    with st.container(border=True):
        st.markdown(sentence(its, deployment["champion"]))
        with st.container(horizontal=True):
            decisions(project, its, deployment["revision"], with_reason)
        numbers(project, its["since"])


def sentence(its: ChallengerInfo, champion: int | None) -> str:
    """The stage in words."""
    paused = " It is paused and is asked nothing." if its["paused"] else ""
    since = words.when(its["since_at"])
    if its["stage"] == "shadow":
        return (
            f"**Version {its['version']}** is in shadow since {since}: it is asked about what version {champion} "
            f"answers, and answers nobody.{paused}"
        )
    return (
        f"**Version {its['version']}** is a canary since {since}: it answers {its['percent']:g} % of the entities, "
        f"always the same ones. It is taken back by itself when it breaks the project's rollout policy.{paused}"
    )


def decisions(project: str, its: ChallengerInfo, revision: int, with_reason: WithReason) -> None:
    """What may become of the challenger, each with its reason. Making it live is beside its gate."""
    asked: dict[str, tuple[str, Change]] = {
        "Withdraw it": ("block", lambda why: api().withdraw(project, why, revision))
    }
    if its["paused"]:
        asked["Go on"] = ("play_arrow", lambda why: api().resume(project, why, revision))
    else:
        asked["Pause it"] = ("pause", lambda why: api().pause(project, why, revision))
    for label, (icon, change) in asked.items():
        with st.popover(label, icon=f":material/{icon}:"):
            with_reason(label, change)


def start(project: str, model: ModelDetail, deployment: DeploymentInfo, with_reason: WithReason) -> None:
    """Put a version into shadow, make it a canary, or give the canary another share."""
    its, version, revision = deployment["challenger"], model["version"], deployment["revision"]
    if deployment["champion"] is None or model["champion"] or (its is not None and its["version"] != version):
        return
    if its is None:
        with st.popover(f"Try version {version} in shadow", icon=":material/visibility:"):
            st.markdown("It is asked beside the live model and answers nobody; the two are compared here.")
            with_reason(
                f"Put version {version} into shadow",
                lambda why: api().shadow(project, version, why, revision),
            )
    label = (
        "Change its share"
        if its is not None and its["stage"] == "canary"
        else f"Make version {version} a canary"
    )
    with st.popover(label, icon=":material/percent:"):
        has_passed = model["gate"] is not None and model["gate"]["passed"]
        if not has_passed:
            st.markdown(":orange[:material/warning:] This version has not passed the gate.")
        percent = st.number_input("Share of the entities, in percent", 0.1, 100.0, 10.0, 5.0, format="%.1f")
        with_reason(
            label,
            lambda why: api().canary(
                project, version, why, revision, percent=percent, despite_gate=not has_passed
            ),
        )


@st.fragment(run_every=REFRESH_SECONDS)
def numbers(project: str, since: int) -> None:
    """The comparison as it grows."""
    try:
        found = api().comparison(project, since)
    except ApiError as error:
        if error.status != 404:
            page.problem(error)
        else:
            st.caption("The comparison begins in a few seconds.")
        return
    facts(found)
    page.table(latency_rows(found))
    details(found)


def facts(found: ComparisonInfo) -> None:
    agreement = found["agreement"]
    apart = found["difference"]
    pairs = [("Compared", words.counted(found["compared"], "record"))]
    if agreement is not None:
        pairs.append(("Same answer", f"{agreement:.1%}"))
    pairs.append(("Apart on average", words.number(apart["mean_absolute"]) if apart else words.NOTHING))
    pairs.append(("Failed", str(found["errors"]["count"])))
    page.facts(pairs)


def latency_rows(found: ComparisonInfo) -> list[dict[str, Any]]:
    def row(name: str, version: int, times: LatencyInfo) -> dict[str, Any]:
        return {
            "Latency": f"{name}, version {version}",
            "Median (ms)": words.number(times["p50_ms"]),
            "95 of 100 within (ms)": words.number(times["p95_ms"]),
            "99 of 100 within (ms)": words.number(times["p99_ms"]),
        }

    times = found["latency"]
    return [
        row("Live", found["champion"], times["champion"]),
        row("Being tried", found["challenger"], times["challenger"]),
    ]


def details(found: ComparisonInfo) -> None:
    if found["disagreements"]:
        page.table(
            [
                {
                    "The live model says": one["champion"],
                    "The other says": one["challenger"],
                    "How often": one["count"],
                }
                for one in found["disagreements"]
            ]
        )
    quality = found["quality"]
    if quality is not None:
        st.markdown(
            f"Where truth has come ({words.counted(quality['count'], 'record')}), the {quality['measure']} is "
            f"{words.number(quality['challenger'])}; the live model's is {words.number(quality['champion'])}. The "
            f"difference lies between {words.number(quality['low'])} and {words.number(quality['high'])}."
        )
    if found["errors"]["last"]:
        st.markdown(f"The last failure: {words.literal(found['errors']['last'])}")
    if found["dropped"]:
        st.caption(
            f"{words.counted(found['dropped'], 'record')} could not be kept up with and were left out; no answer "
            "waited for that."
        )
