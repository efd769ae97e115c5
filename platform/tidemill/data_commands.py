"""`tidemill data ...`: the versions of a project's tables, what changed between them, going back, clearing away.

What these commands say is put together here; what they do is in `data/versions.py` and `data/retention.py`. The
actions about sources are in `source_commands.py`, those about single files in `file_commands.py`.
Imports are made inside the commands, as in `commands.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tidemill import file_commands, source_commands
from tidemill.console import size
from tidemill.console import table as text_table
from tidemill.home import Home

if TYPE_CHECKING:
    from tidemill.store.tables import TableStore

Command = Callable[[argparse.Namespace, Home], int]


def add_options(data: argparse.ArgumentParser) -> None:
    """The actions of `tidemill data`, each with its options."""
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add(name: str, command: Command, summary: str, json: bool = True) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        sub.add_argument("name", metavar="NAME", help="the project")
        if json:
            sub.add_argument("--json", action="store_true", help="for programs")
        return sub

    def add_table(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--table", default="raw", help="the table (default: raw)")

    add_table(add("versions", versions, "list the versions of a table and what each changed"))
    one = add("show", show, "show one version: its columns, files and what it changed")
    one.add_argument("version", type=int, metavar="VERSION", nargs="?", help="by default the current one")
    add_table(one)
    two = add("diff", diff, "compare two versions: columns, rows, values")
    two.add_argument("old", type=int, metavar="A", help="the version before")
    two.add_argument("new", type=int, metavar="B", help="the version after")
    add_table(two)
    add("files", file_commands.files, "list the files that came, and why one was refused")
    add("sources", source_commands.sources, "list where the data comes from, and how each source was found")
    now = add("fetch", source_commands.fetch, "look at the sources once, now, and take what is new")
    now.add_argument("--source", metavar="SOURCE", help="only this one")
    back = add("rollback", rollback, "publish an earlier version of raw again; the history stays")
    back.add_argument("version", type=int, metavar="VERSION")
    clear = add("prune", prune, "remove old versions of all tables that no model and no kept version needs")
    clear.add_argument(
        "--keep", type=int, metavar="N", help="newest versions kept (default: retention.versions)"
    )
    clear.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    sent = add("send", send, "send a file to the services in parts, and tell what becomes of it")
    sent.add_argument("file", metavar="FILE", help="CSV, Excel, Parquet or JSON lines")
    sent.add_argument("--no-wait", action="store_true", help="do not wait until it is in the table")
    back.add_argument("--reason", default="", metavar="TEXT", help="why; kept with the version (needed)")
    bad = add("rejects", file_commands.rejects, "print why rows of a file were rejected, as CSV", json=False)
    bad.add_argument("file", metavar="FILE", help="the file's id, or its name; `data files` lists them")
    bad.add_argument(
        "--rows", action="store_true", help="print the rows themselves, to be mended and sent again"
    )


def _store(options: argparse.Namespace, home: Home) -> TableStore:
    from tidemill.store.tables import TableStore

    home.require_project(options.name)
    return TableStore(home.tables(options.name))


def _print(options: argparse.Namespace, document: Any, text: Callable[[Any], str]) -> int:
    print(json.dumps(document, indent=2) if options.json else text(document))
    return 0


def versions(options: argparse.Namespace, home: Home) -> int:
    from tidemill.data.versions import history

    return _print(options, history(_store(options, home), options.table), _versions_text)


def show(options: argparse.Namespace, home: Home) -> int:
    from tidemill.data.versions import describe, note_of, require

    store = _store(options, home)
    version = require(store, options.table, options.version)
    document = {
        "table": version.table,
        "version": version.version,
        "created": version.created,
        "rows": version.rows,
        "sha256": version.sha256,
        "parents": version.parents,
        "commit": version.commit,
        "note": note_of(version),
        "columns": version.schema,
        "sources": version.sources,
        **describe(store, version),
    }
    return _print(options, document, _version_text)


def diff(options: argparse.Namespace, home: Home) -> int:
    from tidemill.data.versions import diff

    return _print(options, diff(_store(options, home), options.table, options.old, options.new), _diff_text)


def rollback(options: argparse.Namespace, home: Home) -> int:
    from tidemill.data.versions import roll_back
    from tidemill.settings import load_settings
    from tidemill.store.state import open_state

    home.require_project(options.name)
    state = open_state(home.ensure(), load_settings().database_url)
    made = roll_back(home, state, options.name, options.version, options.reason)
    document = {"table": made.table, "version": made.version, "rows": made.rows, "parents": made.parents}
    said = f"{made.id} is current, equal to raw@{options.version}: {made.rows} rows."
    return _print(options, document, lambda _: f"{said}\nThe next training uses it; no model was changed.")


def send(options: argparse.Namespace, home: Home) -> int:
    from tidemill.send import outcome_text, send_file

    record = send_file(home, options.name, options.file, wait=not options.no_wait)
    _print(options, record, outcome_text)
    return 1 if record["status"] == "refused" else 0


def prune(options: argparse.Namespace, home: Home) -> int:
    from dataclasses import asdict

    from tidemill.data.retention import prune
    from tidemill.errors import InvalidInput
    from tidemill.project import load_project

    project = load_project(home, options.name)
    keep = options.keep if options.keep is not None else project.retention.versions
    if keep is None:
        raise InvalidInput(
            "How many versions are to be kept?",
            detail=f"project {project.name} keeps all: retention.versions is not set",
            remedy="Set `retention: {versions: N}` in project.yaml, or say --keep N.",
        )
    found = prune(home, project.name, keep, dry_run=options.dry_run)
    document = asdict(found) | {"dry_run": options.dry_run}
    return _print(options, document, _pruning_text)


def _pruning_text(found: dict[str, Any]) -> str:
    verb = "would be removed" if found["dry_run"] else "removed"
    lines = [f"{name} {verb}" for name in found["removed"]]
    lines += [f"{name} stays: {reason}" for name, reason in found["kept"].items()]
    return "\n".join([*lines, f"{len(found['removed'])} versions {verb}, {size(found['bytes'])}"])


def _versions_text(entries: list[dict[str, Any]]) -> str:
    headers = ["version", "made", "rows", "added", "changed", "removed", "files", "note"]
    rows = [
        [
            f"{entry['version']}{' *' if entry['current'] else ''}",
            entry["created"][:19],
            *(entry[name] for name in ("rows", "added", "changed", "removed")),
            _few(entry["files"]),
            entry["note"],
        ]
        for entry in entries
    ]
    return f"{text_table(headers, rows)}\n* is current"


def _few(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _version_text(found: dict[str, Any]) -> str:
    lines = [f"{found['table']}@{found['version']}, made {found['created'][:19]}: {found['rows']} rows"]
    if found["note"]:
        lines.append(found["note"])
    if changes := found["changes"]:
        lines.append(f"against version {found['parent']}: {_counts(changes)}")
    lines += [_source_text(source) for source in found["sources"]]
    shown = ("type", "nulls", "distinct", "min", "max", "mean")
    rows = [[name, *(column[each] for each in shown)] for name, column in found["profile"].items()]
    return "\n".join([*lines, "", text_table(["column", *shown], rows)])


def _source_text(source: dict[str, Any]) -> str:
    changes = source.get("changes") or {}
    told = ", ".join(f"{count} {name}" for name, count in changes.items())
    return f"from {source.get('name')}: {source.get('accepted')} rows" + (f" ({told})" if told else "")


def _counts(found: dict[str, Any]) -> str:
    return ", ".join(f"{found[name]} {name}" for name in ("added", "changed", "removed", "unchanged"))


def _diff_text(found: dict[str, Any]) -> str:
    lines = [f"{found['table']}@{found['from']} -> {found['table']}@{found['to']}: rows {_counts(found)}"]
    lines += [f"column added: {name} ({kind})" for name, kind in found["columns_added"].items()]
    lines += [f"column removed: {name} ({kind})" for name, kind in found["columns_removed"].items()]
    lines += [f"type of {name}: {was} -> {now}" for name, (was, now) in found["columns_retyped"].items()]
    lines += [f"{name} changed in {count} rows" for name, count in found["columns_changed"].items()]
    for kind, rows in found["examples"].items():
        lines += ["", f"{kind} (up to {len(rows)} shown):"] if rows else []
        lines += [f"  {_row_text(row)}" for row in rows]
    return "\n".join([*lines, *_profile_text(found["profile"])])


def _row_text(row: dict[str, Any]) -> str:
    cells = [
        f"{name} {value[0]} -> {value[1]}" if isinstance(value, list) else f"{name} {value}"
        for name, value in row.items()
        if name != "_row"
    ]
    return f"{row['_row']}: {', '.join(cells)}"


def _profile_text(profile: dict[str, Any]) -> list[str]:
    if not profile:
        return []
    shown = ("nulls", "distinct", "min", "max", "mean")
    rows = []
    for name, both in profile.items():
        before, after = both["before"] or {}, both["after"] or {}
        rows.append([name, *(_change(before.get(each), after.get(each)) for each in shown)])
    return ["", text_table(["column", *shown], rows)]


def _change(before: Any, after: Any) -> str:
    was, now = (f"{value:.6g}" if isinstance(value, float) else str(value) for value in (before, after))
    return ("" if before is None else was) if was == now else f"{was} -> {now}"
