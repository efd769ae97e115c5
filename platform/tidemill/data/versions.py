"""The history of a table: which versions there are, what each changed, and going back to one of them.

What changed, with a profile, is written beside the manifest of a version (`changes.json`) once the version is
out. It is derived: where it is missing, it is made again. How versions are compared belongs to
`data/table_diff.py`, which versions may go to `data/retention.py`, making versions of `raw` to `data/ingest.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tidemill.data import ledger
from tidemill.data.profile import EXACT_ROWS, ColumnProfile, Histogram, profile
from tidemill.data.table_diff import EXAMPLES, VersionDiff, compare
from tidemill.errors import Conflict, InvalidInput, NotFound
from tidemill.home import Home
from tidemill.store.durable import locked, replace_json
from tidemill.store.state import State
from tidemill.store.tables import TableStore, TableVersion

CHANGES = "changes.json"
FORM = 2  # of what is written there; another is made again
RAW = "raw"


def history(store: TableStore, table: str) -> list[dict[str, Any]]:
    """The kept versions of a table, newest first, with what each changed as far as it was written down.

    Cheap: it reads manifests and no rows. `added`, `changed` and `removed` are None for a version that nobody
    has described yet, or that has no parent any more.
    """
    require(store, table)
    current = store.require(table).version
    return [_entry(store, store.version(table, number), current) for number in store.versions(table)[::-1]]


def _entry(store: TableStore, version: TableVersion, current: int) -> dict[str, Any]:
    rows = (_written(version) or {}).get("changes") or {}
    return {
        "version": version.version,
        "current": version.version == current,
        "created": version.created,
        "rows": version.rows,
        "parent": parent_of(store, version),
        "parents": version.parents,
        "added": rows.get("added"),
        "changed": rows.get("changed"),
        "removed": rows.get("removed"),
        "files": [str(s.get("name")) for s in version.sources if s.get("version") == version.version],
        "note": note_of(version),
    }


def note_of(version: TableVersion) -> str:
    """Why a version was made, where it was for more than new rows."""
    if rollback := version.metadata.get("rollback"):
        return f"back to {version.table}@{rollback['to']}: {rollback['reason']}"
    return str(version.metadata.get("made_again", ""))


def require(store: TableStore, table: str, number: int | None = None) -> TableVersion:
    """Version `number` of a table, by default the current one. Raises NotFound naming what there is."""
    names = store.names()
    if table not in names:
        raise NotFound(
            "There is no such table",
            detail=f"no table {table[:60]!r}; there are: {', '.join(names) or 'none yet'}",
            remedy="Choose one of those."
            if names
            else "Send data first; `./tidemill data files NAME` tells what became of files that came.",
        )
    if number is None:
        return store.require(table)
    if number not in (kept := store.versions(table)):
        raise NotFound(
            "There is no such version",
            detail=f"{table}@{number} is not kept; there are: {', '.join(map(str, kept))}",
            remedy="Choose one of those; `./tidemill data versions NAME` says what each changed.",
        )
    return store.version(table, number)


def parent_of(store: TableStore, version: TableVersion) -> int | None:
    """The kept version that `version` follows. Versions from before parents were noted follow the one before."""
    kept = [number for number in store.versions(version.table) if number < version.version]
    named = version.parent
    return (named if named in kept else None) if named is not None else max(kept, default=None)


def diff(store: TableStore, table: str, old: int, new: int, *, examples: int = EXAMPLES) -> dict[str, Any]:
    """What `new` has that `old` has not, as plain values; `columns` tells both profiles where they differ."""
    before, after = require(store, table, old), require(store, table, new)
    return plain_diff(compare(before, after, examples=examples)) | {
        "profile": _profile_changes(describe(store, before)["profile"], describe(store, after)["profile"])
    }


def plain_diff(found: VersionDiff) -> dict[str, Any]:
    """A difference with the names that programs see."""
    plain = asdict(found)
    return {"table": plain.pop("table"), "from": plain.pop("old"), "to": plain.pop("new"), **plain} | {
        "unchanged": found.unchanged
    }


def _profile_changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    compared = ("type", "nulls", "distinct", "min", "max", "mean")

    def numbers(of: dict[str, Any], name: str) -> dict[str, Any] | None:
        return {key: of[name][key] for key in compared} if name in of else None

    pairs = {name: (numbers(before, name), numbers(after, name)) for name in {**before, **after}}
    return {name: {"before": was, "after": now} for name, (was, now) in pairs.items() if was != now}


def describe(store: TableStore, version: TableVersion) -> dict[str, Any]:
    """What is written beside the manifest: the change to the parent, and a profile. Made when it is not there.

    `changes` is None for a version without a kept parent; examples of rows are not kept.
    """
    if (written := _written(version)) is not None:
        return written
    number = parent_of(store, version)
    changes = None
    if number is not None:
        changes = plain_diff(compare(store.version(version.table, number), version, examples=0))
        del changes["examples"]
    document = {
        "form": FORM,
        "parent": number,
        "changes": changes,
        "profile": {column.column: asdict(column) for column in profile(version)},
        "distinct_is_exact": version.rows <= EXACT_ROWS,
    }
    folder = version.folder / f"v{version.version:06d}"
    if folder.is_dir():
        replace_json(folder / CHANGES, document)
    return document


def profile_of(store: TableStore, version: TableVersion) -> list[ColumnProfile]:
    """The profile that is written down with a version; made when it is not there."""
    found = []
    for column in describe(store, version)["profile"].values():
        histogram = column["histogram"] and Histogram(**column["histogram"])
        top = [(text, count) for text, count in column["top"]]
        found.append(ColumnProfile(**{**column, "histogram": histogram, "top": top}))
    return found


def _written(version: TableVersion) -> dict[str, Any] | None:
    file = version.folder / f"v{version.version:06d}" / CHANGES
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None  # It is derived: what cannot be read is made again.
    return document if document.get("form") == FORM else None


def roll_back(home: Home, state: State, project: str, number: int, reason: str) -> TableVersion:
    """Publish a version of `raw` that is equal to version `number`; the history stays as it was.

    Files that came in since are out of the table again, and the ledger says so: sent again, they are taken
    again. Raises NotFound, Conflict when that version is current, InvalidInput without a reason.
    """
    if not reason.strip():
        raise InvalidInput(
            "Going back needs a reason",
            detail=f"raw@{number} would be current again, and nobody would know why",
            remedy='Give one: --reason "the file of March was wrong".',
        )
    store = TableStore(home.tables(project))
    with locked(home.store(project) / "ingest.lock", what=f"the data of {project}"):
        target, current = require(store, RAW, number), require(store, RAW)
        if target.version == current.version:
            raise Conflict(
                "That version is current already",
                detail=f"{target.id} is what readers get",
                remedy="Name an earlier version; `./tidemill data versions` lists them.",
            )
        target.verify()
        metadata = {"rollback": {"to": number, "from": current.version, "reason": reason.strip()}}
        # Before the step, so that a crash leaves files the ledger calls refused: sent again, they are found.
        _note_left_out(state, project, current, target, reason.strip())
        with store.draft(RAW) as draft:
            made = store.publish(
                RAW,
                draft,
                inherit=target,
                after=current,
                parents={RAW: [current.version, number]},
                metadata=metadata,
            )
        _note_restored(state, project, current, made)
        describe(store, made)
        return made


def _note_left_out(
    state: State, project: str, before: TableVersion, after: TableVersion, reason: str
) -> None:
    problem = {
        "title": "The version it came with was rolled back",
        "detail": f"the table is as in {after.id} again: {reason}",
        "remedy": "Send it again to have it taken again.",
        "diff": None,
    }
    for source in _only_in(before, after):
        counts = {"rows": source["rows"], "accepted": 0, "rejected": source["rejected"]}
        ledger.finish(state, project, source["id"], "refused", **counts, problem=problem)


def _note_restored(state: State, project: str, before: TableVersion, after: TableVersion) -> None:
    for source in _only_in(after, before):
        counts = {name: source[name] for name in ("rows", "accepted", "rejected")}
        ledger.finish(state, project, source["id"], "accepted", **counts, dataset_version=source["version"])


def _only_in(version: TableVersion, other: TableVersion) -> list[dict[str, Any]]:
    ids = {source["id"] for source in other.sources}
    return [source for source in version.sources if source["id"] not in ids]
