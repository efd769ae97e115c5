"""How the sources of a project are shown: where files come from, how each was found, what somebody must mend."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from tidemill.client_types import SourceInfo
from ui.components import page, words

KINDS = {"inbox": "Inbox folder", "share": "Share", "sftp": "SFTP", "s3": "S3 store", "sql": "SQL query"}
STATES = {"ok": "Answers", "away": "Away, looked at again", "wrong": "Needs mending"}


def found(sources: Sequence[SourceInfo]) -> None:
    """All sources as a table, and below it the faults of each."""
    page.table(
        [
            {
                "Source": source["name"],
                "Kind": KINDS[source["kind"]],
                "State": STATES.get(source["state"] or "", "Not looked at yet"),
                "Last look": words.local(source["last_look"]) if source["last_look"] else words.NOTHING,
                "Files taken": source["taken"],
                "Waiting": source["waiting"],
                "Where": source["where"],
            }
            for source in sources
        ]
    )
    for source in sources:
        if source["error"]:
            since = f", since {words.when(source['since'])}" if source["since"] else ""
            _fault(f"{words.literal(source['name'])}{since}", source["error"])
        for problem in source["problems"]:
            _fault(f"{words.literal(source['name'])}, {words.literal(problem['name'])}", problem)
    st.caption("Sources are in the project's project.yaml; `tidemill data fetch` looks at them now.")


def _fault(where: str, told: dict[str, str]) -> None:
    lines = [f"**{where}:** {words.literal(told['title'])}", words.literal(told["detail"])]
    lines.append(words.literal(told["remedy"], keep="`"))
    st.warning("  \n".join(lines), icon=":material/cloud_off:")
