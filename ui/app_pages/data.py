"""Data: send a file, see what became of it, and look at the tables made from it."""

from __future__ import annotations

from typing import Any, Literal

import streamlit as st

from tidemill.client_types import ColumnProfile, FileRecord, TableInfo
from ui.client import api
from ui.components import page, sources, words

FORMATS = ["csv", "tsv", "txt", "xlsx", "xls", "ods", "parquet", "ndjson", "jsonl"]
PREVIEW_ROWS = 50
MOST_UNDER_WAY = 5
SHOWN_TABLES = ("raw", "labels", "features", "predictions", "ground_truth")
TABLES = {
    "raw": "Raw: what the files said, typed and checked",
    "labels": "Labels: the known answers",
    "features": "Features: what models learn from",
}
COUNTS: tuple[Literal["added", "changed", "removed", "unchanged"], ...] = (
    "added",
    "changed",
    "removed",
    "unchanged",
)
FILE_STATES = {
    "received": "Waiting",
    "processing": "Being read",
    "accepted": "Accepted",
    "refused": "Refused",
}
UNDER_WAY = ("received", "processing")
PHASES = {
    "opening": "being opened",
    "reading": "being read",
    "publishing": "becoming a new version of the table",
}
SENT = "sent_file"


def main() -> None:
    page.head("Data", "Send a file, see what became of every row, and look at the tables.")
    project = page.require_project()
    upload(project)
    outcome_of_sent(project)
    tables = api().tables(project)
    files = api().files(project)
    under_way(project, files)
    shown = st.segmented_control(
        "Show", ["Tables", "Files", "Sources"], default="Tables", required=True, label_visibility="collapsed"
    )
    if shown == "Files":
        history(project, files)
    elif shown == "Sources":
        sources.found(api().sources(project))
    else:
        all_tables(project, tables)


def upload(project: str) -> None:
    with st.form("upload", clear_on_submit=True):
        file = st.file_uploader(
            "CSV, Excel, Parquet or JSON lines",
            type=FORMATS,
            help=f"Up to 200 MB. Copy larger files into the folder inbox/{project} of the home.",
        )
        is_sent = st.form_submit_button("Send the file", type="primary", icon=":material/upload:")
    if not is_sent:
        return
    if file is None:
        st.warning("Choose a file first.", icon=":material/info:")
        return
    with page.explained(), st.spinner("Sending the file"):
        st.session_state[SENT] = (project, api().upload(project, file, file.name)["id"])


def outcome_of_sent(project: str) -> None:
    """What became of the file sent in this session; looked at each second until it is known."""
    sent_project, file_id = st.session_state.get(SENT, (None, None))
    if sent_project != project:
        return
    page.followed(
        lambda: api().file(project, file_id),
        lambda record: record["status"] in UNDER_WAY,
        lambda record: outcome(project, record),
    )


def under_way(project: str, files: list[FileRecord]) -> None:
    """How far other files are: those of other people and programs; looked at each second while there are any."""
    sent = st.session_state.get(SENT, (None, None))[1]
    waiting = [file for file in files if file["status"] in UNDER_WAY and file["id"] != sent]

    @st.fragment(run_every=page.LOOK_EVERY if waiting else None)
    def panel() -> None:
        with page.explained():
            records = [api().file(project, file["id"]) for file in waiting[:MOST_UNDER_WAY]]
            for record in records:
                outcome(project, record)
            if len(waiting) > MOST_UNDER_WAY:
                st.caption(f"And {words.counted(len(waiting) - MOST_UNDER_WAY, 'more file')} under way.")
            if any(record["status"] not in UNDER_WAY for record in records):
                st.rerun()

    panel()


def way_of(record: FileRecord) -> None:
    """A file on its way, with a bar where its share is known."""
    progress = record["progress"]
    if progress is None:
        return
    name = words.literal(record["name"])
    text = f":blue[:material/progress_activity:] **{name}** is {PHASES[progress['phase']]}"
    text += f": {words.counted(progress['rows'], 'row')} so far." if progress["rows"] else "."
    if progress["share"] is None:
        st.markdown(text)
    else:
        st.progress(progress["share"], text)


def outcome(project: str, record: FileRecord) -> None:
    name = words.literal(record["name"])
    if record["status"] == "received":
        st.markdown(f":blue[:material/schedule:] **{name}** has arrived and waits to be read.")
    elif record["status"] == "processing":
        way_of(record)
    elif record["status"] == "refused":
        st.markdown(f":red[:material/block:] **{name}** was refused: nothing of it is in the tables.")
        refusal(record["problem"] or {})
    else:
        version = record["dataset_version"]
        st.markdown(
            f":green[:material/check_circle:] **{name}** was accepted: {words.count(record['accepted'])} of "
            f"{words.counted(record['rows'] or 0, 'row')}"
            + (f", now in version {version} of the raw table." if version is not None else ".")
        )
    if record["found"]:
        st.caption(how_written(record["found"]))
    if record["rejected"]:
        rejects(project, record)


def refusal(problem: dict[str, Any]) -> None:
    """Why a file was refused and what to do, with the columns or rows that were in the way."""
    lines = [words.literal(str(problem[name])) for name in ("title", "detail") if problem.get(name)]
    lines.append(words.literal(str(problem.get("remedy") or ""), keep="`"))
    st.markdown("  \n".join(line.replace("\n", "  \n") for line in lines if line))
    for kind, found in (problem.get("diff") or {}).items():
        if found:
            st.caption(words.plain(str(kind)))
            page.table([difference(each) for each in found], tallest=250)


def difference(found: Any) -> dict[str, Any]:
    """One thing that differs: a column's name, or an object that says more."""
    if isinstance(found, dict):
        return {words.plain(str(name)): value for name, value in found.items()}
    return {"Column": str(found)}


def rejects(project: str, record: FileRecord) -> None:
    count = record["rejected"] or 0
    st.markdown(f":orange[:material/rule:] {words.counted(count, 'row was', 'rows were')} refused.")
    with st.container(horizontal=True):
        st.download_button(
            "Download the rows to mend them",
            data=lambda: api().rejected_rows(project, record["id"]),
            file_name=f"{record['name'].rpartition('.')[0] or record['name']}-rejected-rows.csv",
            mime="text/csv",
            icon=":material/build:",
            key=f"rejected_rows_{record['id']}",
            on_click="ignore",
        )
        st.download_button(
            "Download the reasons",
            data=lambda: api().rejects(project, record["id"]).encode(),
            file_name=f"{record['name']}.rejects.csv",
            mime="text/csv",
            icon=":material/download:",
            key=f"rejects_{record['id']}",
            on_click="ignore",
        )
    whole = "all its rows" if record["status"] == "refused" else "them"
    st.caption(f"Mend {whole} in a spreadsheet and send the file above; its first three columns may stay.")


def how_written(found: dict[str, Any]) -> str:
    """How a file is written, and where that is fixed when it was found wrongly."""
    shown = {name: "tab" if value == "\t" else str(value) for name, value in found.items()}
    told = ", ".join(f"{words.plain(name).lower()} {words.literal(value)}" for name, value in shown.items())
    return f"Read as {told}. If that is wrong, `reading` in project.yaml fixes it."


def all_tables(project: str, tables: list[TableInfo]) -> None:
    if not tables:
        page.empty("No table yet", "Send a CSV or Excel file above; its rows become the first table.")
        return
    by_name = {table["name"]: table for table in tables}
    order = sorted(by_name, key=lambda name: SHOWN_TABLES.index(name) if name in SHOWN_TABLES else 99)
    chosen = st.selectbox(
        "Table", order, format_func=lambda name: TABLES.get(name, words.plain(name)), width=page.NARROW
    )
    table = by_name[chosen]
    page.facts(
        [
            ("Rows", words.count(table["rows"])),
            ("Columns", words.count(len(table["columns"]))),
            ("Version", str(table["version"])),
            ("Made", words.when(table["created"])),
        ]
    )
    views = {
        "Preview": preview,
        "Columns": columns,
        "Versions": versions,
        "Contract": contract,
        "Origin": origin,
    }
    view = st.segmented_control(
        "View", list(views), default="Preview", required=True, label_visibility="collapsed"
    )
    with page.explained():
        views[view](project, table)


def preview(project: str, table: TableInfo) -> None:
    found = api().table(project, table["name"], limit=PREVIEW_ROWS)
    order = sorted(found["columns"], key=is_own)
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    page.table(rows, tallest=420, column_order=order)
    if table["rows"] > PREVIEW_ROWS:
        st.caption(f"The first {PREVIEW_ROWS} of {words.count(table['rows'])} rows.")


def is_own(name: str) -> bool:
    """Whether the column is Tidemill's own, not the file's; those are shown last."""
    return name.startswith("_")


def columns(project: str, table: TableInfo) -> None:
    found = sorted(api().profile(project, table["name"]), key=lambda column: is_own(column["column"]))
    spread = st.column_config.BarChartColumn(
        "Spread", help="How many rows from smallest to largest.", width="small"
    )
    rows = page.filled([profile_row(column) for column in found])
    page.table(rows, tallest=420, column_config={"Spread": spread})


def profile_row(column: ColumnProfile) -> dict[str, Any]:
    rows, nulls = column.get("rows", 0), column.get("nulls", 0)
    histogram = column.get("histogram")
    top = ", ".join(f"{value} ({words.count(count)})" for value, count in (column.get("top") or [])[:3])
    return {
        "Column": column["column"],
        "Type": words.column_type(column.get("type", "")),
        "Missing": f"{nulls / rows:.1%}" if rows else words.NOTHING,
        "Distinct": column.get("distinct"),
        "Smallest": words.number(column.get("min")),
        "Median": words.number(column.get("p50")),
        "Largest": words.number(column.get("max")),
        "Spread": histogram["counts"] if histogram else None,
        "Most frequent": top,
    }


def versions(project: str, table: TableInfo) -> None:
    """How the table came to be what it is, and what differs between any two of its versions."""
    found = api().table_versions(project, table["name"])
    page.table(
        [
            {
                "Version": version["version"],
                "Made": words.local(version["created"]),
                "Rows": version["rows"],
                "Added": version["added"],
                "Changed": version["changed"],
                "Removed": version["removed"],
                "Files": ", ".join(version["files"]),
                "Note": version["note"],
            }
            for version in found
        ],
        tallest=420,
    )
    numbers = [version["version"] for version in found]
    if len(numbers) < 2:
        st.caption("The next file makes the next version; each stays as it was made.")
        return
    left, right = st.columns(2)
    old = left.selectbox("Compare version", numbers, index=1)
    new = right.selectbox("with version", numbers, index=0)
    if st.button("Compare", icon=":material/difference:"):
        with st.spinner("Comparing"):
            difference_of(project, table["name"], old, new)


def difference_of(project: str, table: str, old: int, new: int) -> None:
    found = api().table_diff(project, table, old, new)
    page.facts([(name.capitalize(), words.count(found[name])) for name in COUNTS])
    for name, kind in found["columns_added"].items():
        st.markdown(f"New column {words.literal(name)} ({words.column_type(kind)}).")
    for name in found["columns_removed"]:
        st.markdown(f"Column {words.literal(name)} is gone.")
    changed = [
        {"Row": row["_row"], "Column": name, "Before": str(page.show(was)), "After": str(page.show(now))}
        for row in found["examples"].get("changed", [])
        for name, (was, now) in ((name, pair) for name, pair in row.items() if name != "_row")
    ]
    examples = {"Changed rows": changed} | {
        f"{kind.capitalize()} rows": found["examples"].get(kind, []) for kind in ("added", "removed")
    }
    for title, rows in examples.items():
        if rows:
            st.caption(f"{title}, up to 20 of them")
            page.table(rows, tallest=250)


def contract(project: str, table: TableInfo) -> None:  # noqa: ARG001 - all views are called alike
    found = api().project(project)
    page.table(
        [
            {
                "Column": column["name"],
                "Type": column["type"],
                "Role": column["role"],
                "May be missing": column["nulls"],
                "Smallest": words.number(column["min"]),
                "Largest": words.number(column["max"]),
                "Allowed values": ", ".join(column["values"] or []),
            }
            for column in found["columns"]
        ],
        tallest=420,
    )
    st.caption("The contract is in the project's project.yaml; change it there.")


def origin(project: str, table: TableInfo) -> None:  # noqa: ARG001 - all views are called alike
    facts = [("sha-256", table["sha256"])]
    facts += [(f"made from {name}", str(page.show(version))) for name, version in table["parents"].items()]
    page.table([{"What": name, "Value": value} for name, value in facts])
    if table["sources"]:
        page.table(
            [
                {"File": source.get("name"), "Rows": source.get("accepted"), "sha-256": source.get("sha256")}
                for source in table["sources"]
            ]
        )


def history(project: str, files: list[FileRecord]) -> None:
    if not files:
        page.empty(
            "No file yet", "Files that you send above, or drop into the inbox folder, are listed here."
        )
        return
    page.table(
        [
            {
                "File": file["name"],
                "State": FILE_STATES.get(file["status"], words.plain(file["status"])),
                "Rows": file["rows"],
                "Accepted": file["accepted"],
                "Refused rows": file["rejected"],
                "Table version": file["dataset_version"],
                "Received": words.local(file["received_at"]),
                "Size": words.size(file["bytes"]),
            }
            for file in files
        ]
    )
    by_id = {file["id"]: file for file in files}
    chosen = st.selectbox(
        "Details of",
        list(by_id),
        format_func=lambda key: f"{by_id[key]['name']}, {words.when(by_id[key]['received_at'])}",
        width=page.NARROW,
    )
    with st.container(border=True):
        outcome(project, by_id[chosen])


main()
