"""The ledger of labelling: which rows people were asked about, and every answer they gave.

Here belong the records in the control state and taking over what a back end says has changed. What a set of
answers says of a row is `labels/consolidation.py`; talking to a back end, and the cursor's meaning, is the back
end's own business.

An answer keeps its history: each state that it was ever in stays in `label_revisions`. Nothing is ever removed;
an answer that was deleted in the back end is marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from tidemill.errors import Conflict, InvalidInput
from tidemill.labels.backend import Annotation, Cell, LabelBackend, LabelTask, Origin, Pull, UnusableAnswer
from tidemill.store.state import State, label_annotations, label_cursors, label_revisions, label_tasks, now

SYNC_ATTEMPTS = 3
# Parameters of one statement; SQLite takes 32,766.
BATCH = 500


@dataclass(frozen=True)
class Task:
    """A row that people were asked about, and what they were shown."""

    source: str
    row: str
    task_id: str
    reason: str
    round: int
    annotators: int
    fields: Mapping[str, Cell]
    suggestion: Mapping[str, Any] | None
    pushed_at: str


@dataclass(frozen=True)
class Answer:
    """An answer as it stands now. `label` is None for a skipped row; `problem` says why an answer is no label."""

    source: str
    id: str
    row: str
    label: str | float | None
    annotator: str
    created_at: str
    updated_at: str
    lead_seconds: float | None
    origin: Origin
    deleted_at: str | None
    problem: str | None
    revision: int
    change: int

    @property
    def is_live(self) -> bool:
        """Whether it stands: neither deleted nor unusable. A skip stands."""
        return self.deleted_at is None and self.problem is None

    @property
    def is_label(self) -> bool:
        return self.is_live and self.label is not None


@dataclass(frozen=True)
class Synced:
    """What a sync found, in answers."""

    new: int = 0
    edited: int = 0
    deleted: int = 0
    unusable: int = 0
    unchanged: int = 0

    @property
    def changes(self) -> int:
        return self.new + self.edited + self.deleted + self.unusable


class _Change(NamedTuple):
    """A state that an answer is to be in. `version` orders the states that a back end reports, when it says."""

    id: str
    values: dict[str, Any]
    version: str | None


def sync(state: State, project: str, backend: LabelBackend) -> Synced:
    """Take over what changed in the back end since the last sync.

    The answers and the cursor are written in one transaction: killed at any point, the next sync takes the rest,
    nothing twice. Of two syncs at once, the one that comes second asks the back end again. Raises Conflict when
    that happens several times over, and what the back end raises.
    """
    for _ in range(SYNC_ATTEMPTS):
        known, pulls = _cursor(state, project, backend.source)
        found = backend.pull(known)
        if (taken := _take(state, project, backend.source, found, pulls)) is not None:
            return taken
    raise Conflict(
        "Answers are being taken over by someone else",
        detail=f"project {project}, {backend.source}: {SYNC_ATTEMPTS} attempts met another one each",
        remedy="Try again.",
    )


def record_tasks(
    state: State,
    project: str,
    source: str,
    tasks: Sequence[LabelTask],
    ids: Mapping[str, str],
    round_: int | None = None,
) -> None:
    """Note rows that people are asked about; `ids` is what `push` gave.

    A row that was asked about before is asked anew: with the new reason, round and suggestion, and never fewer
    people than before. Without a round it keeps its own, and a new row has 0.
    """
    with state.begin() as connection:
        rows = [task.row for task in tasks]
        known = _by(connection, label_tasks, label_tasks.c.row, project, source, rows)
        for task in {task.row: task for task in tasks}.values():
            before = known.get(task.row)
            suggestion = asdict(task.suggestion) if task.suggestion else None
            values = {
                "task_id": ids[task.row],
                "reason": task.reason,
                "round": round_ if round_ is not None else (before["round"] if before else 0),
                "annotators": task.annotators,
                "fields": dict(task.fields),
                "suggestion": suggestion,
            }
            if before is None:
                new = {"project": project, "source": source, "row": task.row, "pushed_at": now(), **values}
                connection.execute(sa.insert(label_tasks).values(**new))
            else:
                values["annotators"] = max(before["annotators"], task.annotators)
                where = (*_of(label_tasks, project, source), label_tasks.c.row == task.row)
                connection.execute(sa.update(label_tasks).where(*where).values(**values))


def write(state: State, project: str, source: str, answers: Sequence[Annotation]) -> Synced:
    """Record answers that were given to ourselves; the ledger is then where they live."""
    with state.begin() as connection:
        return _apply(connection, project, source, Pull(annotations=answers), in_order=True)


def delete(state: State, project: str, source: str, ids: Sequence[str]) -> Synced:
    """Mark answers that were given to ourselves as taken back."""
    with state.begin() as connection:
        return _apply(connection, project, source, Pull(deleted=ids), in_order=True)


def tasks(state: State, project: str, source: str | None = None) -> list[Task]:
    """The rows that people were asked about, in the order of rounds."""
    query = sa.select(*(label_tasks.c[name] for name in Task.__dataclass_fields__))
    query = query.where(*_of(label_tasks, project, source))
    return [Task(**row) for row in state.rows(query.order_by(label_tasks.c.round, label_tasks.c.row))]


def task(state: State, project: str, source: str, row: str) -> Task:
    """What people were asked about one row. Raises InvalidInput when nobody was."""
    query = sa.select(*(label_tasks.c[name] for name in Task.__dataclass_fields__))
    query = query.where(*_of(label_tasks, project, source), label_tasks.c.row == row)
    for found in state.rows(query):
        return Task(**found)
    raise InvalidInput(
        "Nobody was asked about this row",
        detail=f"project {project} has no labelling task for row {row[:100]!r}",
        remedy="Ask for the next task, and answer about its row.",
    )


def needed(state: State, project: str, source: str | None = None) -> dict[str, tuple[int, int]]:
    """Of each row that people were asked about: its round, and how many are to answer."""
    columns = label_tasks.c.row, label_tasks.c.round, label_tasks.c.annotators
    found = state.rows(sa.select(*columns).where(*_of(label_tasks, project, source)))
    return {each["row"]: (each["round"], each["annotators"]) for each in found}


def answer(state: State, project: str, source: str, answer_id: str) -> Answer | None:
    """One answer in its present state, or None."""
    query = sa.select(*(label_annotations.c[name] for name in Answer.__dataclass_fields__))
    where = (*_of(label_annotations, project, source), label_annotations.c.id == answer_id)
    found = state.rows(query.where(*where))
    return Answer(**found[0]) if found else None


def answers(state: State, project: str, source: str | None = None, since: int = 0) -> list[Answer]:
    """Every answer in its present state, in the order of their last change; `since` leaves out earlier changes."""
    query = sa.select(*(label_annotations.c[name] for name in Answer.__dataclass_fields__))
    query = query.where(*_of(label_annotations, project, source), label_annotations.c.change >= since)
    return [Answer(**row) for row in state.rows(query.order_by(label_annotations.c.change))]


def revisions(state: State, project: str, source: str, answer_id: str) -> list[dict[str, Any]]:
    """Every state that an answer was in, oldest first."""
    where = (*_of(label_revisions, project, source), label_revisions.c.id == answer_id)
    return state.rows(sa.select(label_revisions).where(*where).order_by(label_revisions.c.revision))


def last_change(state: State, project: str) -> int:
    """The number of the newest change of a project's answers; 0 before the first."""
    query = sa.select(sa.func.max(label_annotations.c.change).label("last"))
    return int(state.rows(query.where(label_annotations.c.project == project))[0]["last"] or 0)


def cursor(state: State, project: str, source: str) -> str:
    """Where the next sync goes on; "" before the first."""
    return _cursor(state, project, source)[0]


def _cursor(state: State, project: str, source: str) -> tuple[str, int]:
    found = state.rows(sa.select(label_cursors).where(*_of(label_cursors, project, source)))
    return (str(found[0]["cursor"]), int(found[0]["pulls"])) if found else ("", 0)


def _take(state: State, project: str, source: str, found: Pull, pulls: int) -> Synced | None:
    """Write what was pulled; None when another sync came in between, whose answers may be newer."""
    with state.begin() as connection:
        where = _of(label_cursors, project, source)
        now_at = connection.execute(sa.select(label_cursors.c.pulls).where(*where)).scalar() or 0
        if now_at != pulls:
            return None
        values = {"cursor": found.cursor, "pulls": pulls + 1, "pulled_at": now()}
        if pulls:
            connection.execute(sa.update(label_cursors).where(*where).values(**values))
        else:
            connection.execute(sa.insert(label_cursors).values(project=project, source=source, **values))
        return _apply(connection, project, source, _with_absent(connection, project, source, found))


def _with_absent(connection: sa.Connection, project: str, source: str, found: Pull) -> Pull:
    """The pull with the answers among its deleted ones that are not there any more."""
    if found.there is None:
        return found
    ids = label_annotations.c.id
    query = sa.select(ids).where(
        *_of(label_annotations, project, source),
        ids.startswith(found.within, autoescape=True),
        label_annotations.c.deleted_at.is_(None),
    )
    gone = [each for each in connection.execute(query).scalars() if each not in found.there]
    return replace(found, deleted=[*found.deleted, *gone])


def _apply(
    connection: sa.Connection, project: str, source: str, found: Pull, *, in_order: bool = False
) -> Synced:
    """Bring the answers into the states that `found` tells, each change with a revision.

    `in_order` says that states come as they are made, so that their times need not be asked.
    """
    changes = [*map(_of_annotation, found.annotations), *map(_of_unusable, found.unusable)]
    changes += [_Change(each, {"deleted_at": now()}, None) for each in dict.fromkeys(found.deleted)]
    rows = _by(
        connection, label_annotations, label_annotations.c.id, project, source, [c.id for c in changes]
    )
    highest = sa.select(sa.func.max(label_annotations.c.change)).where(label_annotations.c.project == project)
    change = connection.execute(highest).scalar() or 0
    counts: dict[str, int] = {}
    for each in changes:
        before = rows.get(each.id)
        kind = _kind(before, each._replace(version=None) if in_order else each)
        counts[kind] = counts.get(kind, 0) + 1
        if kind == "unchanged":
            continue
        change += 1
        after = {**(before or {}), **each.values}
        after |= {"revision": (before["revision"] if before else 0) + 1, "change": change}
        after |= {"project": project, "source": source, "id": each.id}
        _store(connection, after, new=before is None)
        rows[each.id] = after
    return Synced(**counts)


def _kind(before: Mapping[str, Any] | None, change: _Change) -> str:
    """What a change makes of an answer: new, edited, deleted, unusable or unchanged."""
    values = change.values
    if "row" not in values:  # a deletion
        return "deleted" if before is not None and before["deleted_at"] is None else "unchanged"
    if before is not None:
        dated = change.version is not None and before["problem"] is None
        if dated and change.version < before["updated_at"]:
            return "unchanged"  # an older state, come late
        ignored = {"created_at", "updated_at"} if values["problem"] else set()
        if all(before[name] == value for name, value in values.items() if name not in ignored):
            return "unchanged"
    if values["problem"]:
        return "unusable"
    return "new" if before is None else "edited"


def _of_annotation(given: Annotation) -> _Change:
    updated = utc(given.updated_at)
    values = {
        "row": given.row,
        "label": given.label,
        "annotator": given.annotator,
        "created_at": utc(given.created_at),
        "updated_at": updated,
        "lead_seconds": given.lead_seconds,
        "origin": given.origin,
        "deleted_at": None,
        "problem": None,
    }
    return _Change(given.id, values, updated)


def _of_unusable(given: UnusableAnswer) -> _Change:
    moment = now()
    values = {
        "row": given.row,
        "label": None,
        "annotator": given.annotator,
        "created_at": moment,
        "updated_at": moment,
        "lead_seconds": None,
        "origin": "manual",
        "deleted_at": None,
        "problem": given.problem,
    }
    return _Change(given.id, values, None)


def _store(connection: sa.Connection, after: dict[str, Any], *, new: bool) -> None:
    if new:
        connection.execute(sa.insert(label_annotations).values(**after))
    else:
        where = (
            *_of(label_annotations, after["project"], after["source"]),
            label_annotations.c.id == after["id"],
        )
        connection.execute(sa.update(label_annotations).where(*where).values(**after))
    kept = {name: after[name] for name in label_revisions.c.keys() if name != "noted_at"}  # noqa: SIM118
    connection.execute(sa.insert(label_revisions).values(**kept, noted_at=now()))


def _by(
    connection: sa.Connection,
    table: sa.Table,
    key: sa.Column[Any],
    project: str,
    source: str,
    wanted: Iterable[str],
) -> dict[str, dict[str, Any]]:
    """The rows of `table` whose `key` is wanted, by it."""
    found: dict[str, dict[str, Any]] = {}
    names = list(dict.fromkeys(wanted))
    for start in range(0, len(names), BATCH):
        where = (*_of(table, project, source), key.in_(names[start : start + BATCH]))
        for row in connection.execute(sa.select(table).where(*where)).mappings():
            found[row[key.name]] = dict(row)
    return found


def _of(table: sa.Table, project: str, source: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    own = table.c.project == project
    return (own,) if source is None else (own, table.c.source == source)


def utc(moment: str) -> str:
    """An ISO 8601 time in UTC with milliseconds, so that two back ends' times sort as text."""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError as error:
        raise InvalidInput(
            "An answer has no usable time",
            detail=f"{moment[:60]!r} is not an ISO 8601 time",
            remedy="Mend the back end's client; times are such as 2026-05-02T09:00:00.000+00:00.",
        ) from error
    aware = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    return aware.isoformat(timespec="milliseconds")
