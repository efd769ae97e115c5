"""Ingestion: the files that wait in an inbox become one more version of the table `raw`, or are refused.

Here belongs the order of the steps, which makes a crash harmless at any point:

 1. the bytes are copied aside into `files/` under their hash, synced and renamed;
 2. the ledger notes that they were received;
 3. the rows are accepted or rejected and the rejects written down;
 4. the table version is published, naming the file in its manifest: from here the file is in;
 5. the ledger notes the outcome;
 6. the file leaves the inbox.

A run that finds a file in the inbox whose hash is in the manifest only repeats 5 and 6. The decision over rows is
`data/accept.py`; the records are `data/ledger.py`.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tidemill.data import ledger, versions
from tidemill.data.accept import Acceptor, raw_schema
from tidemill.data.progress import Phase, Step
from tidemill.data.read import open_source
from tidemill.data.sources.seen import origin_of
from tidemill.data.staging import workbench
from tidemill.data.upsert import Upsert, upsert
from tidemill.data.verdict import Tally, check_columns, check_share
from tidemill.errors import ContractViolation, Corrupt, InvalidInput, TidemillError, TooLarge
from tidemill.home import Home
from tidemill.project import IngestionMode, Project
from tidemill.store.durable import disk_full_is_an_error, locked, sha256_of, sync_folder
from tidemill.store.state import State
from tidemill.store.tables import TableDraft, TableStore, TableVersion

TABLE = "raw"
ASIDE = ".incoming-"
PIECE = 1 << 20
# What a file can do wrong; anything else (a full disk, a corrupt table) ends the run and leaves the file waiting.
FAULTS_OF_A_FILE = (InvalidInput, TooLarge)

OnProgress = Callable[[Step], None]


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file. `status` is accepted, refused, or duplicate (its bytes were in the table already).

    Of a refused file no row is accepted; `rejected` counts the rows that broke a rule, and is None when the file
    could not be read to its end. A file that could not even be read has the id "" and stays in the inbox. After
    an upsert `changes` says how many of the accepted rows were added, changed and unchanged.
    """

    id: str
    name: str
    status: str
    rows: int | None = None
    accepted: int | None = None
    rejected: int | None = None
    problem: dict[str, Any] | None = None
    changes: dict[str, int] | None = None


@dataclass(frozen=True)
class Ingestion:
    """The outcome of one run: `version` is the table as it now stands, None before the first accepted file."""

    version: TableVersion | None
    files: list[FileOutcome] = field(default_factory=list)


@dataclass(frozen=True)
class _Original:
    """The kept bytes of one file: `path` lies in `files/`, `name` is what people call it."""

    id: str
    sha256: str
    name: str
    path: Path
    size: int


@dataclass(frozen=True)
class _Written:
    """The rows of one file, written aside; with `problem` the file is to be refused.

    `kept` are those of the older Parquet files that stay in the table; `found` says how the file is written.
    """

    tally: Tally
    problem: TidemillError | None = None
    kept: Sequence[str] = ()
    upsert: Upsert | None = None
    found: Mapping[str, Any] = field(default_factory=dict)


def ingest_pending(
    home: Home, state: State, project: Project, on_progress: OnProgress | None = None
) -> Ingestion:
    """Take every finished file of the project's inbox, oldest first; one refused file stops no other.

    `on_progress` is called with each step of each file. Raises StorageFull or Corrupt when the
    run cannot go on: what was published before stays, and the files not yet taken stay in the inbox. When the
    contract's columns changed since the last version, the table is first made again from the kept originals.
    """
    with locked(home.store(project.name) / "ingest.lock", what=f"the data of {project.name}"):
        run = _Run(home, state, project, on_progress)
        run.prepare()
        run.follow_contract()
        outcomes = [run.take(path) for path in ledger.settled(ledger.pending_files(home, project))]
        run.describe()
        return Ingestion(run.tables.current(TABLE), outcomes)


class _Run:
    """One ingestion of one project, under its lock."""

    def __init__(self, home: Home, state: State, project: Project, on_progress: OnProgress | None) -> None:
        self.home = home
        self.state = state
        self.project = project
        self.on_progress = on_progress
        self.tables = TableStore(home.tables(project.name))
        self.files = home.files(project.name)
        self.rejects = ledger.rejects_file(home, project.name, "any").parent
        self.scratch = home.store(project.name) / "scratch"
        self.newest = max(self.tables.versions(TABLE), default=0)

    def prepare(self) -> None:
        """Make the folders, and remove what a killed run left aside: the lock says that nobody is at it."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        for folder in (self.files, self.rejects):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f"{ASIDE}*"):
                left.unlink()

    def take(self, path: Path) -> FileOutcome:
        """One file of the inbox, from its bytes to its outcome."""
        try:
            original = keep_original(path, self.files)
        except InvalidInput as problem:
            return FileOutcome("", path.name, "refused", problem=problem_of(problem))
        receipt = ledger.receive(
            self.state,
            self.project.name,
            sha256=original.sha256,
            name=original.name,
            size=original.size,
            origin="inbox",
        )
        original = replace(original, name=str(receipt.record["name"]))
        outcome = self._known(original) or self._decide(original)
        path.unlink(missing_ok=True)
        return outcome

    def _known(self, original: _Original) -> FileOutcome | None:
        """The outcome of a file that the current version holds; the ledger is mended if it does not say so."""
        current = self.tables.current(TABLE)
        for source in current.sources if current else ():
            if source["sha256"] != original.sha256:
                continue
            record = ledger.file_record(self.state, self.project.name, original.id)
            if record is None or record["status"] != "accepted":
                return self._note_accepted(source)
            return FileOutcome(original.id, original.name, "duplicate", *_counts(source))
        return None

    def _decide(self, original: _Original) -> FileOutcome:
        current = self.tables.current(TABLE)
        mode = self.project.ingestion.mode
        self._tell(original, "opening", 0)
        with self.tables.draft(TABLE) as draft:
            written = self.write(draft, original, current.paths if current else [], mode)
            if written.problem is not None:
                return self._refuse(original, written)
            self._tell(original, "publishing", written.tally.rows)
            source = self._source(original, written, mode)
            self.tables.publish(
                TABLE,
                draft,
                inherit=_kept(current, written.kept) if mode != "replace" else None,
                after=current,
                sources=[source],
                parents={TABLE: current.version} if current else {},
            )
        return self._note_accepted(source)

    def _tell(self, original: _Original, phase: Phase, rows: int) -> None:
        if self.on_progress is not None:
            self.on_progress(Step(original.id, original.name, phase, rows, original.path, original.size))

    def write(
        self, draft: TableDraft, original: _Original, old: Sequence[str], mode: IngestionMode
    ) -> _Written:
        """Write the accepted rows of one file into `draft`, and its rejects where they belong.

        `old` are the Parquet files of the table so far. In an append their values may not occur again in id and
        unique columns, in an upsert rows of the same id are replaced, in a replacement they do not matter.
        """
        aside = self.rejects / f"{ASIDE}{uuid.uuid4().hex}"
        tally = Tally()
        try:
            with workbench(self.scratch) as connection:
                reading = self.project.how_to_read
                source = open_source(original.path, reading=reading, name=original.name, scratch=self.scratch)
                check_columns(source, self.project)
                known = old if mode == "append" else []
                acceptor = Acceptor(connection, source, self.project, original.sha256, known)
                tally = acceptor.tally
                draft.write(acceptor.tables(aside, partial(self._tell, original, "reading")))
                part = str(draft.folder / draft.parts[-1].path) if draft.parts else None
                if (more := acceptor.held_back(part, aside)) is not None:
                    draft.extend(more)
            aside.replace(ledger.rejects_file(self.home, self.project.name, original.id))
            sync_folder(self.rejects)
            check_share(tally, original.name, self.project.rejects)
            if mode == "upsert" and old:
                with workbench(self.scratch) as connection:
                    put = upsert(connection, draft, old, self._unique)
                return _Written(tally, kept=put.kept, upsert=put, found=source.found)
        except FAULTS_OF_A_FILE as problem:
            return _Written(tally, problem)
        finally:
            aside.unlink(missing_ok=True)
        return _Written(tally, kept=old if mode != "replace" else (), found=source.found)

    @property
    def _unique(self) -> list[str]:
        """The columns in which no value may occur twice: the id too, since older rows may be named otherwise."""
        columns = self.project.columns.items()
        return [name for name, column in columns if column.unique or column.role == "id"]

    def _source(self, original: _Original, written: _Written, mode: IngestionMode) -> dict[str, Any]:
        """What the manifest says of a file. `version` is the one that the file comes in with."""
        return {
            "id": original.id,
            "name": original.name,
            "sha256": original.sha256,
            "bytes": original.size,
            "origin": origin_of(self.state, self.project.name, original.sha256),
            "stored": original.path.name,
            "version": max(self.tables.versions(TABLE), default=0) + 1,
            "mode": mode,
            "found": dict(written.found),
            **_counts_of(written.tally),
            **({"changes": written.upsert.counts} if written.upsert else {}),
        }

    def _note_accepted(self, source: dict[str, Any]) -> FileOutcome:
        rows, accepted, rejected = _counts(source)
        ledger.finish(
            self.state,
            self.project.name,
            source["id"],
            "accepted",
            rows=rows,
            accepted=accepted,
            rejected=rejected,
            dataset_version=source["version"],
        )
        changes = source.get("changes")
        return FileOutcome(
            source["id"], source["name"], "accepted", rows, accepted, rejected, changes=changes
        )

    def _refuse(self, original: _Original, written: _Written) -> FileOutcome:
        assert written.problem is not None
        problem = problem_of(written.problem)
        # A file whose reading broke off has no counts: those so far would look like the whole.
        tally = written.tally if written.tally.complete else None
        rows, accepted, rejected = (tally.rows, 0, tally.rejected) if tally else (None, None, None)
        ledger.finish(
            self.state,
            self.project.name,
            original.id,
            "refused",
            rows=rows,
            accepted=accepted,
            rejected=rejected,
            problem=problem,
        )
        return FileOutcome(original.id, original.name, "refused", rows, accepted, rejected, problem)

    def follow_contract(self) -> None:
        """Make the table again from the kept originals when the contract's columns or types changed.

        Raises what refuses a file under the new contract; the old version then stays.
        """
        current = self.tables.current(TABLE)
        contract = {field.name: str(field.type) for field in raw_schema(self.project)}
        if current is None or current.schema == contract:
            return
        with self.tables.draft(TABLE) as draft:
            sources = [self._again(draft, source) for source in current.sources]
            metadata = {"made_again": f"the contract's columns changed since {current.id}"}
            parents = {TABLE: current.version}
            self.tables.publish(
                TABLE, draft, after=current, sources=sources, parents=parents, metadata=metadata
            )
        for source in sources:
            self._note_accepted(source)

    def describe(self) -> None:
        """Write down what the versions of this run changed; and the newest, if a killed run did not come to it."""
        for number in self.tables.versions(TABLE):
            if number >= self.newest:
                versions.describe(self.tables, self.tables.version(TABLE, number))

    def _again(self, draft: TableDraft, source: dict[str, Any]) -> dict[str, Any]:
        path = self.files / source["stored"]
        original = _Original(source["id"], source["sha256"], source["name"], path, source["bytes"])
        if not path.is_file() or sha256_of(path) != original.sha256:
            raise Corrupt(
                "A kept original is not what was received",
                detail=f"{path}, the source of {source['name']}, is missing or its SHA-256 differs",
                remedy="Restore the file from a backup; until then keep the contract's columns as they were.",
            )
        parts = [str(draft.folder / part.path) for part in draft.parts]
        written = self.write(draft, original, parts, source.get("mode", "append"))
        if written.problem is not None:
            raise ContractViolation(
                "The contract's columns changed, and a file taken before no longer fits",
                detail=f"{original.name}: {written.problem.title}. {written.problem.detail}",
                remedy="Change project.yaml so that it fits the files taken before; the table stays as it was.",
            ) from written.problem
        changes = {"changes": written.upsert.counts} if written.upsert else {}
        return source | _counts_of(written.tally) | changes


def _kept(current: TableVersion | None, paths: Sequence[str]) -> TableVersion | None:
    """`current` with those of its files that stay."""
    if current is None:
        return None
    stays = set(paths)
    pairs = zip(current.parts, current.paths, strict=True)
    return replace(current, parts=[part for part, path in pairs if path in stays])


def keep_original(path: Path, folder: Path) -> _Original:
    """Copy the bytes of a waiting file into `folder` under their hash, durably; equal bytes are kept once.

    Raises InvalidInput when the file cannot be read or changes meanwhile, StorageFull when the disk is full.
    """
    aside = folder / f"{ASIDE}{uuid.uuid4().hex}"
    try:
        with disk_full_is_an_error(folder):
            sha256, size = _copy_hashed(path, aside)
            name = f"{sha256[: ledger.ID_LENGTH]}-{safe_name(path.name)}"
            suffix = glob.escape(path.suffix)
            kept = next(folder.glob(f"{sha256[: ledger.ID_LENGTH]}-*{suffix}"), folder / name)
            aside.replace(kept)
            sync_folder(folder)
    finally:
        aside.unlink(missing_ok=True)
    return _Original(sha256[: ledger.ID_LENGTH], sha256, path.name, kept, size)


def _copy_hashed(path: Path, target: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    before = _stat(path)
    try:
        itself = path.lstat()
        source = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with source, target.open("wb") as copy:
        # A link put in the file's place since it was listed could name any file of this machine.
        if not os.path.samestat(os.fstat(source.fileno()), itself):
            raise _unreadable(path, OSError("it is a link, not a file"))
        while piece := source.read(PIECE):
            digest.update(piece)
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    if _stat(path) != before:
        raise InvalidInput(
            "The file changed while it was read",
            detail=path.name,
            remedy="Wait until it is copied completely; it is taken with the next run. "
            "Copy under a name that ends in .part and rename it at the end to be sure.",
        )
    return digest.hexdigest(), before[0]


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return found.st_size, found.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        "The file cannot be read",
        detail=f"{path.name}: {error.strerror or error}",
        remedy="Make it readable for the user who runs Tidemill; it stays in the inbox until then.",
    )


def safe_name(name: str) -> str:
    """A name that is safe on every file system, its end with the suffix kept."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-80:].lstrip(".") or "file"


def problem_of(error: TidemillError) -> dict[str, Any]:
    """An error as the record that people read later."""
    kind = {"type": f"urn:tidemill:problem:{error.slug}", "status": error.status}
    problem = {"title": error.title, "detail": error.detail, "remedy": error.remedy}
    return kind | problem | {"diff": error.extra.get("diff")}


def _counts_of(tally: Tally) -> dict[str, int]:
    return {"rows": tally.rows, "accepted": tally.accepted, "rejected": tally.rejected}


def _counts(source: Mapping[str, Any]) -> tuple[int, int, int]:
    return int(source["rows"]), int(source["accepted"]), int(source["rejected"])
