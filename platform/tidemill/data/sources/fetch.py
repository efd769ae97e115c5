"""One look at a source: what is new is brought into the project's inbox, each content once.

Here belongs the order of the steps, which makes a crash harmless at any point:

 1. the bytes are written aside in the inbox, counted and hashed;
 2. bytes that the ledger knows are only noted; for others it is noted where they come from;
 3. the ledger notes that they were received;
 4. the file gets its name in the inbox: from here ingestion has it;
 5. the object is noted as taken.

A look that was cut off before 5 is repeated by the next: equal bytes get the same name, and ingestion takes them
once. What a source is lies in `source.py`; what is remembered in `seen.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tidemill.data import ledger
from tidemill.data.sources.arrival import Arrival, check_size, sweep
from tidemill.data.sources.seen import Memory, Seen, SourceState, told
from tidemill.data.sources.source import Changed, Found, Source, printable
from tidemill.errors import InvalidInput, SourceAway, TidemillError, TooLarge
from tidemill.home import Home
from tidemill.project import Project
from tidemill.project_sources import FilesSource, S3Source, SftpSource, ShareSource, SqlSource, Watched
from tidemill.settings import Settings
from tidemill.store.durable import locked
from tidemill.store.state import State

MOST_PROBLEMS = 20

Connect = Callable[[Home, Watched, float, dict[str, str] | None], Source]


@dataclass
class Look:
    """What one look found. `taken` are the names of files put into the inbox; `known` were taken before.

    `waiting` are not yet whole: they wait for their marker, or to stand still until the next look.
    """

    source: str
    state: SourceState = "ok"
    taken: list[str] = field(default_factory=list)
    waiting: int = 0
    known: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    error: dict[str, str] | None = None


def connect(home: Home, source: Watched, timeout: float, since: dict[str, str] | None) -> Source:
    """The source, opened. Only the kind's own libraries are imported."""
    match source:
        case ShareSource():
            from tidemill.data.sources.share import Share

            return Share(source)
        case SftpSource():
            from tidemill.data.sources.sftp import Sftp

            return Sftp(home, source, timeout)
        case S3Source():
            from tidemill.data.sources.s3 import S3

            return S3(home, source, timeout)
        case SqlSource():
            from tidemill.data.sources.sql import Sql

            return Sql(home, source, timeout, since=since)


def look(
    home: Home,
    state: State,
    project: Project,
    source: Watched,
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    connect: Connect = connect,
) -> Look:
    """Look at one source once. A source that is away, or not as project.yaml says, is an answer and no error.

    Raises NotReady when another process looks at it at this moment.
    """
    memory = Memory(home, state, project.name, source.name)
    lock = home.store(project.name) / f"source-{source.name}.lock"
    with locked(lock, wait=1.0, what=f"the source {source.name} of {project.name}"):
        looking = _Looking(home, state, project, source, settings, memory, clock)
        try:
            looking.through(connect)
        except TidemillError as error:
            looking.found.state = "away" if isinstance(error, SourceAway) else "wrong"
            looking.found.error = told(error)
            memory.note_look(looking.found.state, error=error, problems=looking.found.problems)
        else:
            found = looking.found
            memory.note_look("ok", waiting=found.waiting, problems=found.problems)
        return looking.found


class _Looking:
    """One look, under its lock."""

    def __init__(
        self,
        home: Home,
        state: State,
        project: Project,
        source: Watched,
        settings: Settings,
        memory: Memory,
        clock: Callable[[], float],
    ) -> None:
        self.home = home
        self.state = state
        self.project = project.name
        self.source = source
        self.settings = settings
        self.memory = memory
        self.clock = clock
        self.inbox = home.inbox(project.name)
        self.found = Look(source.name)

    def through(self, connect: Connect) -> None:
        """Everything that is there, oldest first. Raises what concerns the source as a whole."""
        self.inbox.mkdir(parents=True, exist_ok=True)
        sweep(self.inbox, self.source.name)
        seen = self.memory.objects()
        if isinstance(self.source, SqlSource) and self.source.watermark and _is_unread(seen, self.source):
            self.found.waiting = 1
            return
        since = _watermark(seen)
        with connect(self.home, self.source, float(self.settings.source_timeout), since) as source:
            for object_ in source.find():
                if _is_hidden(object_.name):
                    continue
                known = seen.get((object_.name, object_.signature))
                if known is not None and known.is_taken and not known.is_void:
                    self.found.known += 1
                elif self._is_whole(object_, known):
                    self._try(source, object_)
                else:
                    self.found.waiting += 1
            for folder in source.denied:
                self._problem(folder, "The folder must not be read", _ALLOW)

    def _is_whole(self, object_: Found, known: Seen | None) -> bool:
        if object_.is_ready is not None:
            return object_.is_ready
        assert isinstance(self.source, FilesSource)
        if known is None:
            self.memory.note_sight(object_.name, object_.signature, self.clock())
            return False
        return self.clock() - known.first_seen >= self.source.settle

    def _try(self, source: Source, object_: Found) -> None:
        """Take one object; what is wrong with it alone keeps nobody from the next."""
        try:
            self._take(source, object_)
        except FileNotFoundError:
            return  # it vanished since it was listed
        except Changed:
            self.memory.note_sight(object_.name, object_.signature, self.clock())
            self.found.waiting += 1
        except PermissionError:
            self._problem(object_.name, "The file must not be read", _ALLOW)
        except TooLarge as error:
            self._problem(object_.name, error.title, error.remedy, error.detail)

    def _take(self, source: Source, object_: Found) -> None:
        from tidemill.data.ingest import safe_name

        limit = self.settings.max_fetch_bytes
        check_size(object_.size or 0, limit, printable(object_.name))
        with Arrival(self.inbox, self.source.name, limit) as arrival:
            poured = source.pour(object_, arrival)
            if poured.is_empty:
                return
            name, signature, at, sha256 = object_.name, object_.signature, self.clock(), arrival.sha256
            if self.memory.holds(sha256):
                self.memory.note_taken(name, signature, at, sha256, poured.watermark)
                self.found.known += 1
                return
            self.memory.note_landing(name, signature, at, sha256)
            ledger.receive(
                self.state,
                self.project,
                sha256=sha256,
                name=poured.shown,
                size=arrival.size,
                origin=self.source.kind,
            )
            arrival.place(safe_name(poured.shown))
            self.memory.note_taken(name, signature, at, sha256, poured.watermark)
            self.found.taken.append(poured.shown)

    def _problem(self, name: str, title: str, remedy: str, detail: str = "") -> None:
        if len(self.found.problems) < MOST_PROBLEMS:
            shown = printable(name)
            self.found.problems.append(
                {"name": shown, "title": title, "detail": detail or shown, "remedy": remedy}
            )


_ALLOW = (
    "Let the source's user read it; it is tried again with each look. Links out of a source are left alone."
)


def _is_hidden(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.startswith(".") or last.lower().endswith(ledger.UNFINISHED)


def _taken(seen: dict[tuple[str, str], Seen]) -> list[Seen]:
    return [each for each in seen.values() if each.is_taken]


def _watermark(seen: dict[tuple[str, str], Seen]) -> dict[str, str] | None:
    """How far the newest accepted result of a query went."""
    accepted = [each for each in _taken(seen) if each.outcome == "accepted" and each.watermark]
    return accepted[-1].watermark if accepted else None


def _is_unread(seen: dict[tuple[str, str], Seen], source: SqlSource) -> bool:
    """Whether the last result still waits to be ingested: the next begins after what was accepted.

    Raises InvalidInput when it was refused, and the contract has not been changed since: rows would be skipped.
    """
    last = next(reversed(_taken(seen)), None)
    if last is not None and last.outcome == "refused" and not last.is_void:
        raise InvalidInput(
            "The last result of the query was refused",
            detail=f"source {source.name}: going on after it would leave its rows out",
            remedy="See in the list of files why, and mend project.yaml; the rows are then asked for again.",
        )
    return last is not None and last.outcome == "received"
