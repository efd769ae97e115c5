"""What is remembered of sources: which objects were seen and taken, and how each source was found.

Here belong the records in the control state and the rules for reading them. Looking and taking is `fetch.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from tidemill.data.ledger import ID_LENGTH
from tidemill.errors import TidemillError
from tidemill.home import Home
from tidemill.project import Project
from tidemill.project_sources import InboxSource, S3Source, SftpSource, ShareSource, SqlSource, Watched
from tidemill.store.state import State, files, now, remote_objects, source_states

SourceState = Literal["ok", "away", "wrong"]


@dataclass(frozen=True)
class Seen:
    """One object as it was seen before."""

    signature: str
    first_seen: float
    sha256: str | None
    is_taken: bool
    watermark: dict[str, str] | None
    outcome: str | None  # of the file in the ledger: received, accepted, refused
    is_void: bool  # refused, by a contract that was changed since


class Memory:
    """What is remembered of one source of one project."""

    def __init__(self, home: Home, state: State, project: str, source: str) -> None:
        self.home = home
        self.state = state
        self.project = project
        self.source = source

    def objects(self) -> dict[tuple[str, str], Seen]:
        """Everything seen, by name and signature, in the order in which it was taken."""
        rows = self.state.rows(
            _with_outcome().where(*self._mine()).order_by(remote_objects.c.taken_at.nulls_last())
        )
        changed = self._contract_changed()
        return {(row["name"], row["signature"]): _seen(row, changed) for row in rows}

    def holds(self, sha256: str) -> bool:
        """Whether bytes need not be put into the inbox: they are in the table, refused, or waiting already."""
        changed = self._contract_changed()
        query = sa.select(files).where(files.c.project == self.project, files.c.id == sha256[:ID_LENGTH])
        for record in self.state.rows(query):
            if record["status"] != "received":
                return not _is_void(record["status"], record["finished_at"], changed)
        taken = sa.select(remote_objects.c.name).where(
            remote_objects.c.project == self.project,
            remote_objects.c.sha256 == sha256,
            remote_objects.c.taken_at.is_not(None),
        )
        return bool(self.state.rows(taken.limit(1)))

    def note_sight(self, name: str, signature: str, at: float) -> None:
        """An object has this signature now; that of an unfinished one before is forgotten."""
        key = self._key(name)
        untaken = sa.delete(remote_objects).where(*key, remote_objects.c.taken_at.is_(None))
        with self.state.begin() as connection:
            connection.execute(untaken.where(remote_objects.c.signature != signature))
            self._put(connection, name, signature, first_seen=at)

    def note_landing(self, name: str, signature: str, at: float, sha256: str) -> None:
        """The object's bytes are about to appear in the inbox: from here ingestion can tell where they come from.

        Whoever had these bytes has them no more: a refused file that is tried again is taken when it has landed.
        """
        old = sa.delete(remote_objects).where(*self._key(name), remote_objects.c.taken_at.is_(None))
        again = sa.update(remote_objects).where(
            remote_objects.c.project == self.project, remote_objects.c.sha256 == sha256
        )
        with self.state.begin() as connection:
            connection.execute(old.where(remote_objects.c.signature != signature))
            connection.execute(again.values(taken_at=None))
            self._put(connection, name, signature, first_seen=at, sha256=sha256)

    def note_taken(
        self, name: str, signature: str, at: float, sha256: str, watermark: Mapping[str, str] | None
    ) -> None:
        """The object's bytes are in the inbox, or were before. Equal bytes of one name have one record."""
        same = sa.delete(remote_objects).where(*self._key(name), remote_objects.c.sha256 == sha256)
        with self.state.begin() as connection:
            connection.execute(same.where(remote_objects.c.signature != signature))
            mark = dict(watermark) if watermark else None
            self._put(
                connection,
                name,
                signature,
                first_seen=at,
                sha256=sha256,
                taken_at=now(),
                watermark=mark,
            )

    def note_look(
        self,
        state: SourceState,
        *,
        waiting: int = 0,
        error: TidemillError | None = None,
        problems: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """How the source was found; `since` stays while the state does."""
        at = now()
        key = (source_states.c.project == self.project, source_states.c.source == self.source)
        values: dict[str, Any] = {
            "state": state,
            "last_look": at,
            "waiting": waiting,
            "error": told(error) if error else None,
            "problems": [dict(problem) for problem in problems],
        }
        if state == "ok":
            values["last_ok"] = at
        with self.state.begin() as connection:
            before = connection.execute(sa.select(source_states).where(*key)).mappings().first()
            if before is None or before["state"] != state:
                values["since"] = at
            if before is None:
                values |= {"project": self.project, "source": self.source}
                connection.execute(sa.insert(source_states).values(**values))
            else:
                connection.execute(sa.update(source_states).where(*key).values(**values))

    def _put(self, connection: sa.Connection, name: str, signature: str, **values: Any) -> None:
        key = (*self._key(name), remote_objects.c.signature == signature)
        if connection.execute(sa.select(remote_objects.c.name).where(*key)).first() is None:
            named = {"project": self.project, "source": self.source, "name": name, "signature": signature}
            connection.execute(sa.insert(remote_objects).values(**named, **values))
        else:
            values.pop("first_seen", None)
            if values:
                connection.execute(sa.update(remote_objects).where(*key).values(**values))

    def _mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        return (remote_objects.c.project == self.project, remote_objects.c.source == self.source)

    def _key(self, name: str) -> tuple[sa.ColumnElement[bool], ...]:
        return (*self._mine(), remote_objects.c.name == name)

    def _contract_changed(self) -> str:
        """When project.yaml was written, in the form of the ledger's times."""
        changed = self.home.project_file(self.project).stat().st_mtime
        return datetime.fromtimestamp(changed, UTC).isoformat(timespec="milliseconds")


def last_looks(state: State, project: str) -> dict[str, str]:
    """When each source of a project was last looked at."""
    query = sa.select(source_states.c.source, source_states.c.last_look)
    return {
        row["source"]: row["last_look"] for row in state.rows(query.where(source_states.c.project == project))
    }


def origin_of(state: State, project: str, sha256: str) -> dict[str, str]:
    """Where a received file came from: its kind (api, inbox, share ...), and the source and its name there."""
    received = sa.select(files.c.origin).where(files.c.project == project, files.c.sha256 == sha256)
    query = sa.select(remote_objects.c.source, remote_objects.c.name)
    query = query.where(remote_objects.c.project == project, remote_objects.c.sha256 == sha256)
    landed = state.rows(query.order_by(remote_objects.c.first_seen).limit(1))
    kind = next((row["origin"] for row in state.rows(received)), "inbox")
    return {"kind": kind} | (landed[0] if landed and kind not in ("api", "inbox") else {})


def overview(state: State, project: Project) -> list[dict[str, Any]]:
    """Each source of a project as people are shown it: what it is, how it was found, how many files it gave."""
    states = {
        row["source"]: row
        for row in state.rows(sa.select(source_states).where(source_states.c.project == project.name))
    }
    count = sa.func.count(sa.distinct(remote_objects.c.sha256))
    taken = {
        row["source"]: row["taken"]
        for row in state.rows(
            sa.select(remote_objects.c.source, count.label("taken"))
            .where(remote_objects.c.project == project.name, remote_objects.c.taken_at.is_not(None))
            .group_by(remote_objects.c.source)
        )
    }
    unknown = dict.fromkeys(("state", "since", "last_look", "last_ok", "error"))
    entries: list[dict[str, Any]] = []
    for source in project.sources:
        if isinstance(source, InboxSource):
            plain = {"name": "inbox", "kind": "inbox", "where": source.pattern, "every": None, "waiting": 0}
            entries.append(plain | unknown | {"state": "ok", "problems": [], "taken": None})
            continue
        known = states.get(source.name, {**unknown, "waiting": 0, "problems": []})
        shown = {name: known[name] for name in (*unknown, "waiting", "problems")}
        about = {"name": source.name, "kind": source.kind, "where": where(source), "every": source.every}
        entries.append(about | shown | {"taken": taken.get(source.name, 0)})
    return entries


def where(source: Watched) -> str:
    """Where a source is, without anything secret."""
    match source:
        case ShareSource():
            return source.path
        case SftpSource():
            port = "" if source.port == 22 else f":{source.port}"
            return f"sftp://{source.user}@{source.host}{port}{source.path}"
        case S3Source():
            return f"s3://{source.bucket}/{source.path}" + (
                f" at {source.endpoint}" if source.endpoint else ""
            )
        case SqlSource():
            return sa.make_url(source.url).set(password=None, query={}).render_as_string()


def told(error: TidemillError) -> dict[str, str]:
    """An error as it is kept and shown."""
    return {"title": error.title, "detail": error.detail, "remedy": error.remedy}


def _with_outcome() -> sa.Select[Any]:
    same = sa.and_(files.c.project == remote_objects.c.project, files.c.sha256 == remote_objects.c.sha256)
    return sa.select(remote_objects, files.c.status.label("outcome"), files.c.finished_at).select_from(
        remote_objects.outerjoin(files, same)
    )


def _seen(row: Mapping[str, Any], contract_changed: str) -> Seen:
    return Seen(
        signature=row["signature"],
        first_seen=row["first_seen"],
        sha256=row["sha256"],
        is_taken=row["taken_at"] is not None,
        watermark=row["watermark"],
        outcome=row["outcome"],
        is_void=_is_void(row["outcome"], row["finished_at"], contract_changed),
    )


def _is_void(status: str | None, finished_at: str | None, contract_changed: str) -> bool:
    """Whether a file was refused by a contract that was changed since, so that it deserves another try."""
    return status == "refused" and finished_at is not None and finished_at < contract_changed
