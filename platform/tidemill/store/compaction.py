"""Compaction of a log: the segments that nobody writes any more become Parquet, one file a day, and go.

Here belong claiming such segments, writing and merging a day's file, saying in one step that the file now holds
the segments' events, and clearing away what an earlier compaction left. Readers (`store/history.py`) need not
stop: Parquet files that were replaced stay for an hour, for those that opened the older manifest. The manifest
itself belongs to `store/log_manifest.py`; when a log is compacted is up to the callers.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.errors import StorageFull
from tidemill.home import Home
from tidemill.store.durable import locked, sha256_of, sync_file, sync_folder
from tidemill.store.event_rows import insert_lines, literal, parquet_rows, stored_columns
from tidemill.store.events import SEGMENT_BYTES, Stream
from tidemill.store.log_manifest import Manifest, ParquetPart, load_manifest, save_manifest, stream_folder
from tidemill.store.segments import OpenFile, claimed, list_segments

if TYPE_CHECKING:
    import duckdb

RETIRED_SECONDS = 3600.0


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
        save_manifest(folder, manifest)
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
        con.execute(f"CREATE TABLE events ({stored_columns(stream)})")
        for file in claims:
            for chunk in file.chunks():
                insert_lines(con, "events", stream, chunk, file.path.name)
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
    where = '"at" IS NULL' if day == "undated" else f"strftime(\"at\", '%Y-%m-%d') = {literal(day)}"
    select = f"SELECT * FROM events WHERE {where}"
    if merged:
        small = parquet_rows([str(folder / part.path) for part in merged])
        select = f"{select} UNION ALL BY NAME SELECT * FROM {small}"
    try:
        con.execute(
            f'COPY (SELECT * FROM ({select}) ORDER BY "at", id) TO {literal(str(path))} '
            "(FORMAT parquet, COMPRESSION zstd)"
        )
    except duckdb.IOException as error:
        path.unlink(missing_ok=True)
        raise _disk_or(error, path) from error
    sync_file(path)
    sync_folder(path.parent)
    sync_folder(folder)
    rows = con.execute(f"SELECT count(*) FROM read_parquet({literal(str(path))})").fetchall()[0][0]
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
