"""The logs of predictions and of ground truth: written before the answer, read by SQL, never lost or doubled.

    log/<project>.<stream>.<uuid>.jsonl                       open segments (see `store/segments.py`)
    store/<project>/predictions/<stream>/manifest.json        which Parquet files hold the closed segments
    store/<project>/predictions/<stream>/<day>/<uuid>.parquet

Here belong the two streams, the writer, and turning closed segments into Parquet. What a model answered and why
belongs to `serve/`; views for people to `store/sql.py`.

Every event is read exactly once, also while others write and compact: a reader lists the open segments FIRST and
reads the manifest THEN. The manifest names the segments that its Parquet files already hold (`sealed`), so a
segment that was compacted in between is either named there or gone, and when it is gone the reader begins again.
Parquet files that a compaction replaced stay for an hour, for readers that opened the older manifest.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tidemill.errors import Corrupt, InvalidInput, NotReady, StorageFull
from tidemill.home import Home
from tidemill.store.durable import (
    disk_full_is_an_error,
    locked,
    replace_json,
    sha256_of,
    sync_file,
    sync_folder,
)
from tidemill.store.segments import OpenFile, Segment, claimed, list_segments, open_to_read

if TYPE_CHECKING:
    import duckdb

Stream = Literal["predictions", "ground_truth"]
STREAMS: tuple[Stream, ...] = ("predictions", "ground_truth")

# The columns of each stream. What varies with the project (the input, the label) stays JSON text here, so that
# a changed contract never makes an old event unreadable.
COLUMNS: dict[str, dict[str, str]] = {
    "predictions": {
        "id": "VARCHAR",
        "at": "TIMESTAMPTZ",
        "project": "VARCHAR",
        "model_version": "BIGINT",
        "role": "VARCHAR",
        "request_id": "VARCHAR",
        "entity_id": "VARCHAR",
        "input": "JSON",
        "label": "JSON",
        "score": "DOUBLE",
        "probabilities": "JSON",
        "flags": "JSON",
        "latency_ms": "DOUBLE",
    },
    "ground_truth": {
        "id": "VARCHAR",
        "at": "TIMESTAMPTZ",
        "project": "VARCHAR",
        "prediction_id": "VARCHAR",
        "entity_id": "VARCHAR",
        "label": "JSON",
        "observed_at": "TIMESTAMPTZ",
        "source": "VARCHAR",
    },
}

SEGMENT_BYTES = 67_108_864
SEGMENT_SECONDS = 3600.0
SYNC_SECONDS = 0.04
RETIRED_SECONDS = 3600.0
READ_ATTEMPTS = 100


class EventLog:
    """The writer of one stream in this process. Thread-safe; the segment is made at the first event."""

    def __init__(
        self, home: Home, project: str, stream: Stream, *, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.home = home
        self.project = project
        self.stream = stream
        self.segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._segment: Segment | None = None
        self._dirty = threading.Event()
        self._syncer: threading.Thread | None = None
        self._failure: Exception | None = None

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Store `events`. When this returns they survive any crash of ours, 50 ms later a loss of power.

        Raises StorageFull (nothing of the batch is kept) and InvalidInput for values that JSON cannot hold.
        """
        if not events:
            return
        data = _encode(events)
        with self._lock:
            self._raise_failure()
            segment = self._current()
            try:
                segment.append(data)
            finally:
                if segment.torn:
                    self._let_go()
            if segment.size >= self.segment_bytes or time.monotonic() - segment.opened > SEGMENT_SECONDS:
                self._let_go()
        self._dirty.set()

    def close(self) -> None:
        """Sync and close the segment; the next `append` would begin a new one."""
        with self._lock:
            self._let_go()
            self._raise_failure()

    def _current(self) -> Segment:
        # After a fork the segment belongs to the parent, which still writes to it.
        if self._segment is None or self._segment.pid != os.getpid():
            self._segment = Segment(self.home.log, self.project, self.stream)
        if self._syncer is None or not self._syncer.is_alive():
            self._syncer = threading.Thread(
                target=self._sync_forever, name=f"sync {self.project}.{self.stream}", daemon=True
            )
            self._syncer.start()
        return self._segment

    def _let_go(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None and segment.pid == os.getpid():
            segment.close()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _sync_forever(self) -> None:
        while True:
            self._dirty.wait()
            self._dirty.clear()
            time.sleep(SYNC_SECONDS)
            with self._lock:
                segment = self._segment
                descriptor = segment.duplicate() if segment else None
            if descriptor is None:
                continue
            try:
                with disk_full_is_an_error(self.home.log):
                    os.fdatasync(descriptor)
            except Exception as error:  # noqa: BLE001 - kept, and raised to whoever appends next
                with self._lock:
                    self._failure = error
            finally:
                os.close(descriptor)


def _encode(events: Sequence[Mapping[str, Any]]) -> bytes:
    try:
        lines = [
            json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")) for event in events
        ]
        return ("\n".join(lines) + "\n").encode()
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            "An event cannot be stored",
            detail=f"a value is not JSON: {error}",
            remedy="Send finite numbers and well-formed Unicode text.",
        ) from error


@dataclass(frozen=True)
class ParquetPart:
    """One Parquet file of a stream; `path` is relative to the stream's folder."""

    path: str
    day: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What readers go by. `sealed`: segments whose events are in `files`; `retired`: path -> when replaced."""

    files: list[ParquetPart] = field(default_factory=list)
    sealed: list[str] = field(default_factory=list)
    retired: dict[str, float] = field(default_factory=dict)


def stream_folder(home: Home, project: str, stream: Stream) -> Path:
    return home.predictions(project) / stream


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a stream; empty before the first compaction. Raises Corrupt."""
    file = folder / "manifest.json"
    try:
        document = json.loads(file.read_text())
        return Manifest(
            [ParquetPart(**part) for part in document["files"]], document["sealed"], document["retired"]
        )
    except FileNotFoundError:
        return Manifest()
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            "The manifest of a log is not readable",
            detail=str(file),
            remedy="Restore the file from a backup: it names the Parquet files beside it.",
        ) from error


@contextmanager
def _opened(home: Home, project: str, stream: Stream) -> Iterator[tuple[list[OpenFile], Manifest]]:
    """The open segments and the manifest that together hold every event once."""
    folder = stream_folder(home, project, stream)
    for _ in range(READ_ATTEMPTS):
        with ExitStack() as stack:
            segments = list_segments(home.log, project, stream)
            manifest = load_manifest(folder)
            sealed = set(manifest.sealed)
            files: list[OpenFile] = []
            try:
                for path in segments:
                    if path.name not in sealed:
                        files.append(open_to_read(path))
                        stack.callback(files[-1].close)
            except FileNotFoundError:
                continue  # compacted since it was listed: its events are in a newer manifest
            yield files, manifest
            return
    raise NotReady(
        "The log is being compacted",
        detail=f"{READ_ATTEMPTS} attempts to read {project}.{stream} met a compaction each",
        remedy="Try again.",
    )


@dataclass(frozen=True)
class LogView:
    """A view on all events of a stream, and the Parquet files it reads."""

    name: str
    paths: list[str]


def read(home: Home, project: str, stream: Stream, con: duckdb.DuckDBPyConnection) -> LogView:
    """Make all events of a stream a view of `con`, called `log.<stream>`.

    Its columns are `COLUMNS[stream]`, times as TIMESTAMP in UTC and JSON as text. The open segments are copied
    into `con`, the closed ones are read where they lie. Raises Corrupt for a line that is not an event.
    """
    con.execute("CREATE SCHEMA IF NOT EXISTS log")
    with _opened(home, project, stream) as (files, manifest):
        con.execute(f"CREATE OR REPLACE TABLE log.{stream}_open ({_stored_columns(stream)})")
        for file in files:
            for chunk in file.chunks():
                _insert_lines(con, f"log.{stream}_open", stream, chunk, file.path.name)
        paths = parquet_paths(home, project, stream, manifest)
        con.execute(f"CREATE OR REPLACE VIEW log.{stream} AS {_union(stream, paths)}")
    return LogView(f"log.{stream}", paths)


def parquet_paths(home: Home, project: str, stream: Stream, manifest: Manifest | None = None) -> list[str]:
    """Absolute paths of the Parquet files of a stream, as the manifest names them."""
    folder = stream_folder(home, project, stream)
    manifest = load_manifest(folder) if manifest is None else manifest
    return [str(folder / part.path) for part in manifest.files]


def _union(stream: Stream, paths: Sequence[str]) -> str:
    names = ", ".join(f'"{name}"' for name in COLUMNS[stream])
    opened = f"SELECT {names} FROM log.{stream}_open"
    if not paths:
        return opened
    listed = ", ".join(_quoted(path) for path in paths)
    return f"SELECT {names} FROM read_parquet([{listed}], union_by_name=true) UNION ALL BY NAME {opened}"


def _stored_type(kind: str) -> str:
    return {"TIMESTAMPTZ": "TIMESTAMP", "JSON": "VARCHAR"}.get(kind, kind)


def _stored_value(name: str, kind: str) -> str:
    """SQL that takes one column out of the struct `e`, a parsed line."""
    if name == "id":
        return "coalesce(e.id, error('an event without id'))"
    if kind == "TIMESTAMPTZ":
        return f"e.\"{name}\" AT TIME ZONE 'UTC'"
    return f'CAST(e."{name}" AS {_stored_type(kind)})'


def _stored_columns(stream: Stream) -> str:
    return ", ".join(f'"{name}" {_stored_type(kind)}' for name, kind in COLUMNS[stream].items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _insert_lines(
    con: duckdb.DuckDBPyConnection, table: str, stream: Stream, chunk: bytes, segment: str
) -> None:
    """Append the JSON lines of `chunk` to `table`.

    DuckDB's read_json is not used on the file: its ignore_errors turns a torn tail into a row of NULLs, and
    without it a line still being written is an error.
    """
    import duckdb
    import pyarrow as pa

    columns = COLUMNS[stream]
    shape = _quoted(json.dumps(columns))
    values = ", ".join(_stored_value(name, kind) for name, kind in columns.items())
    lines = chunk.decode("utf-8", errors="replace").split("\n")[:-1]
    con.register("_lines", pa.table({"line": pa.array(lines, pa.string())}))
    try:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(
            f"INSERT INTO {table} SELECT {values} FROM (SELECT json_transform(line, {shape}) e FROM _lines)"
        )
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise Corrupt(
            "A line of the log is not an event",
            detail=f"segment {segment}: {str(error).splitlines()[0][:200]}",
            remedy="Restore the segment from a backup, or cut the line out of it.",
        ) from error
    finally:
        con.unregister("_lines")


@dataclass(frozen=True)
class Compaction:
    """What one compaction did: events moved out of segments, and the Parquet files written."""

    rows: int
    files: int


def compact(home: Home, project: str, stream: Stream, *, merge_bytes: int = SEGMENT_BYTES) -> Compaction:
    """Turn every segment that nobody writes any more into Parquet, by day of the event, and remove it.

    A day's Parquet files smaller than `merge_bytes` together are written anew as one: query time grows with the
    number of files. Killed at any point it leaves every event readable once. Raises StorageFull, Corrupt.
    """
    folder = stream_folder(home, project, stream)
    with locked(folder / ".compact.lock", what=f"compacting {project}.{stream}"), ExitStack() as held:
        manifest = _swept(home, folder, load_manifest(folder))
        sealed = set(manifest.sealed)
        claims = [
            file
            for path in list_segments(home.log, project, stream)
            if path.name not in sealed and (file := held.enter_context(claimed(path))) is not None
        ]
        if not claims:
            return Compaction(0, 0)
        rows, written, replaced = _write_days(folder, stream, claims, manifest, merge_bytes)
        gone = {part.path for part in replaced}
        manifest = Manifest(
            files=sorted(
                [part for part in manifest.files if part.path not in gone] + written,
                key=lambda part: (part.day, part.path),
            ),
            sealed=[*manifest.sealed, *(file.path.name for file in claims)],
            retired=manifest.retired | {path: time.time() for path in gone},
        )
        with disk_full_is_an_error(folder):
            replace_json(folder / "manifest.json", asdict(manifest))
        for file in claims:
            file.path.unlink(missing_ok=True)
        return Compaction(rows, len(written))


def _swept(home: Home, folder: Path, manifest: Manifest) -> Manifest:
    """Finish what an earlier compaction left: sealed segments, and Parquet files nobody reads any more."""
    for name in manifest.sealed:
        (home.log / name).unlink(missing_ok=True)
    old = {path for path, at in manifest.retired.items() if time.time() - at > RETIRED_SECONDS}
    for path in old:
        (folder / path).unlink(missing_ok=True)
    known = {part.path for part in manifest.files} | set(manifest.retired)
    for stray in folder.glob("*/*.parquet"):
        name = str(stray.relative_to(folder))
        if name not in known and time.time() - stray.stat().st_mtime > RETIRED_SECONDS:
            stray.unlink(missing_ok=True)
    retired = {path: at for path, at in manifest.retired.items() if path not in old}
    return replace(manifest, sealed=[], retired=retired)


def _write_days(
    folder: Path, stream: Stream, claims: Sequence[OpenFile], manifest: Manifest, merge_bytes: int
) -> tuple[int, list[ParquetPart], list[ParquetPart]]:
    """Write the events of `claims` as Parquet, one file a day: (events, new parts, parts they replace)."""
    import duckdb

    scratch = folder / f".scratch-{uuid.uuid4().hex}"
    con = duckdb.connect(
        ":memory:", config={"memory_limit": "512MB", "threads": 2, "temp_directory": str(scratch)}
    )
    try:
        con.execute(f"CREATE TABLE events ({_stored_columns(stream)})")
        for file in claims:
            for chunk in file.chunks():
                _insert_lines(con, "events", stream, chunk, file.path.name)
        days = con.execute(
            "SELECT coalesce(strftime(\"at\", '%Y-%m-%d'), 'undated') AS day, count(*) FROM events "
            "GROUP BY 1 ORDER BY 1"
        ).fetchall()
        written: list[ParquetPart] = []
        replaced: list[ParquetPart] = []
        for day, _ in days:
            small = _mergeable(manifest, day, merge_bytes)
            written.append(_write_day(con, folder, day, small))
            replaced += small
        return sum(count for _, count in days), written, replaced
    finally:
        con.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _mergeable(manifest: Manifest, day: str, merge_bytes: int) -> list[ParquetPart]:
    chosen: list[ParquetPart] = []
    total = 0
    for part in sorted((part for part in manifest.files if part.day == day), key=lambda part: part.bytes):
        total += part.bytes
        if total > merge_bytes:
            break
        chosen.append(part)
    return chosen


def _write_day(
    con: duckdb.DuckDBPyConnection, folder: Path, day: str, merged: Sequence[ParquetPart]
) -> ParquetPart:
    import duckdb

    path = folder / day / f"{uuid.uuid4().hex}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    where = '"at" IS NULL' if day == "undated" else f"strftime(\"at\", '%Y-%m-%d') = {_quoted(day)}"
    select = f"SELECT * FROM events WHERE {where}"
    if merged:
        listed = ", ".join(_quoted(str(folder / part.path)) for part in merged)
        select = f"{select} UNION ALL BY NAME SELECT * FROM read_parquet([{listed}], union_by_name=true)"
    try:
        con.execute(
            f'COPY (SELECT * FROM ({select}) ORDER BY "at", id) TO {_quoted(str(path))} '
            "(FORMAT parquet, COMPRESSION zstd)"
        )
    except duckdb.IOException as error:
        path.unlink(missing_ok=True)
        raise _disk_or(error, path) from error
    sync_file(path)
    sync_folder(path.parent)
    sync_folder(folder)
    rows = con.execute(f"SELECT count(*) FROM read_parquet({_quoted(str(path))})").fetchall()[0][0]
    return ParquetPart(f"{day}/{path.name}", day, int(rows), path.stat().st_size, sha256_of(path))


def _disk_or(error: Exception, path: Path) -> Exception:
    """StorageFull when the disk of `path` is full (DuckDB gives no errno), else `error` itself."""
    if "No space left" in str(error):
        return StorageFull(
            "The disk is full",
            detail=f"nothing more could be written under {path.parent}",
            remedy="Free some space on that disk, then try again. What was stored before is whole.",
        )
    return error


def find(
    home: Home, project: str, prediction_id: str, stream: Stream = "predictions"
) -> dict[str, Any] | None:
    """The event with this id as it was logged, or None."""
    needle = json.dumps(prediction_id, ensure_ascii=False).encode()
    with _opened(home, project, stream) as (files, manifest):
        for file in files:
            for chunk in file.chunks():
                if needle not in chunk:
                    continue
                for line in chunk.splitlines():
                    if needle in line and (event := json.loads(line))["id"] == prediction_id:
                        return dict(event)
    paths = parquet_paths(home, project, stream, manifest)
    found = _from_parquet(paths, "WHERE id = ? LIMIT 1", [prediction_id]) if paths else []
    return found[0] if found else None


def recent(home: Home, project: str, stream: Stream, limit: int = 50) -> list[dict[str, Any]]:
    """The newest `limit` events, newest first, as they were logged."""
    import duckdb

    with duckdb.connect(":memory:", config={"memory_limit": "256MB", "threads": 2}) as con:
        view = read(home, project, stream, con).name
        return _as_events(con.execute(f'SELECT * FROM {view} ORDER BY "at" DESC, id LIMIT {int(limit)}'))


def count(home: Home, project: str, stream: Stream) -> int:
    """How many events a stream holds; no SQL is needed."""
    with _opened(home, project, stream) as (files, manifest):
        opened = sum(chunk.count(b"\n") for file in files for chunk in file.chunks())
        return opened + sum(part.rows for part in manifest.files)


def _from_parquet(paths: Sequence[str], where: str, values: list[Any]) -> list[dict[str, Any]]:
    import duckdb

    listed = ", ".join(_quoted(path) for path in paths)
    with duckdb.connect(":memory:", config={"memory_limit": "256MB", "threads": 2}) as con:
        return _as_events(
            con.execute(f"SELECT * FROM read_parquet([{listed}], union_by_name=true) {where}", values)
        )


def _as_events(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Stored rows as the events they came from."""
    names = [column[0] for column in result.description]
    kinds = {name: kind for columns in COLUMNS.values() for name, kind in columns.items()}
    return [
        {name: _as_logged(value, kinds[name]) for name, value in zip(names, row, strict=True)}
        for row in result.fetchall()
    ]


def _as_logged(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "JSON":
        return json.loads(value)
    if kind == "TIMESTAMPTZ":
        moment: datetime = value.replace(tzinfo=UTC)
        return moment.isoformat(timespec="microseconds" if moment.microsecond % 1000 else "milliseconds")
    return value
