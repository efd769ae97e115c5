"""Which versions of a project's tables may go, and removing them.

A version stays when it is among the newest, when readers get it or did within the last day, when a model's bundle
says that it was made from it, or when a version that stays was made from it. Where anything that says so cannot
be read, nothing is removed. Files that a version which stays inherits stay with it.

A killed run leaves every version that stays whole: a version's manifest goes first and its files after it, and
files without a manifest are cleared away by the next run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tidemill.errors import InvalidInput
from tidemill.home import Home
from tidemill.learn.bundle_info import list_bundles
from tidemill.store.durable import locked, sync_folder
from tidemill.store.tables import TableStore, TableVersion

# A training that reads a version it found current may take hours before its bundle names it.
SETTLED_AFTER = timedelta(days=1)
VERSION_ID = re.compile(r"([a-z_][a-z0-9_]*)@([0-9]+)")

Named = tuple[str, int]


@dataclass(frozen=True)
class Pruning:
    """What a prune removed (or would): version ids and bytes; and why each older version stayed."""

    removed: list[str] = field(default_factory=list)
    bytes: int = 0
    kept: dict[str, str] = field(default_factory=dict)


def prune(
    home: Home, project: str, keep: int, *, dry_run: bool = False, moment: datetime | None = None
) -> Pruning:
    """Remove the versions of every table of `project` beyond the newest `keep` that nothing needs.

    `moment` is the time now. Raises InvalidInput for fewer than one, Corrupt when a manifest or a bundle that may
    need a version cannot be read, NotReady while an ingestion is running for long.
    """
    if keep < 1:
        raise InvalidInput(
            "At least one version is kept",
            detail=f"{keep} would leave nothing to read",
            remedy="Say 1 or more, in retention.versions of project.yaml or with --keep.",
        )
    store = TableStore(home.tables(project))
    with ExitStack() as held:
        held.enter_context(
            locked(home.store(project) / "ingest.lock", what=f"the data of {project}", wait=60.0)
        )
        for table in store.names():
            held.enter_context(locked(store.publish_lock(table), what=f"table {table}"))
        versions = {
            (table, number): store.version(table, number)
            for table in store.names()
            for number in store.versions(table)
        }
        why = reasons_to_stay(store, versions, models_of(home, project), keep, moment or datetime.now(UTC))
        gone = {name: version for name, version in versions.items() if name not in why}
        needed = {(table, part.path) for table, number in why for part in versions[table, number].parts}
        size = _bytes_of(gone.values(), needed) if dry_run else _remove(store, gone, needed)
    newest = _newest(versions, keep)
    kept = {_id(name): reason for name, reason in why.items() if name not in newest}
    return Pruning([_id(name) for name in sorted(gone)], size, kept)


def models_of(home: Home, project: str) -> dict[Named, str]:
    """The table versions that model bundles were made from, each with a model that says so."""
    named: dict[Named, str] = {}
    for info in list_bundles(home.models(project)):
        for value in _texts(info.provenance):
            for table, number in VERSION_ID.findall(value):
                named.setdefault((table, int(number)), f"model {info.version} was made from it")
    return named


def reasons_to_stay(
    store: TableStore,
    versions: Mapping[Named, TableVersion],
    models: Mapping[Named, str],
    keep: int,
    moment: datetime,
) -> dict[Named, str]:
    """The versions that stay, each with the reason."""
    why: dict[Named, str] = dict.fromkeys(_newest(versions, keep), "among the newest")
    for table in {table for table, _ in versions}:
        if (current := store.current(table)) is not None:
            why.setdefault((table, current.version), "it is current")
    why |= {name: reason for name, reason in models.items() if name in versions and name not in why}
    for name in versions:
        if name not in why and moment - _superseded(versions, name) < SETTLED_AFTER:
            why[name] = "it was current within the last day"
    waiting = list(why)
    while waiting:
        name = waiting.pop()
        for parent in _made_from(versions[name]):
            if parent in versions and parent not in why:
                why[parent] = f"{_id(name)} was made from it"
                waiting.append(parent)
    return why


def _newest(versions: Iterable[Named], keep: int) -> set[Named]:
    """The newest `keep` of each table."""
    by_table: dict[str, list[int]] = {}
    for table, number in versions:
        by_table.setdefault(table, []).append(number)
    return {(table, number) for table, numbers in by_table.items() for number in sorted(numbers)[-keep:]}


def _superseded(versions: Mapping[Named, TableVersion], name: Named) -> datetime:
    """When the next version came. Only asked of versions that have one."""
    table, number = name
    following = min(other for named, other in versions if named == table and other > number)
    return datetime.fromisoformat(versions[table, following].created)


def _made_from(version: TableVersion) -> list[Named]:
    """The versions of other tables that a version was made from; the one it follows is history, not a need."""
    return [
        (table, int(number))
        for table, found in version.parents.items()
        if table != version.table
        for number in (found if isinstance(found, list) else [found])
    ]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for item in inner for text in _texts(item)]


def _remove(store: TableStore, gone: Mapping[Named, TableVersion], needed: set[tuple[str, str]]) -> int:
    """Take the versions out of the store, then every file of a folder without manifest that nobody needs."""
    for version in gone.values():
        folder = version.folder / f"v{version.version:06d}"
        (folder / "manifest.json").unlink()
        sync_folder(folder)
    size = 0
    for table in store.names():
        for folder in (store.root / table).glob("v[0-9]*"):
            if folder.is_dir() and not (folder / "manifest.json").exists():
                size += _clear(folder, {path for named, path in needed if named == table})
    return size


def _clear(folder: Path, needed: set[str]) -> int:
    size = 0
    for file in folder.iterdir():
        if f"{folder.name}/{file.name}" not in needed:
            size += file.stat().st_size
            file.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
    return size


def _bytes_of(gone: Iterable[TableVersion], needed: set[tuple[str, str]]) -> int:
    parts = {(v.table, part.path): part.bytes for v in gone for part in v.parts}
    return sum(size for name, size in parts.items() if name not in needed)


def _id(name: Named) -> str:
    return f"{name[0]}@{name[1]}"
