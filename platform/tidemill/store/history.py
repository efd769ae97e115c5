"""Reading the logs of predictions and of ground truth: every event once, also while others write and compact.

A reader lists the open segments FIRST and reads the manifest THEN. The manifest names the segments that its
Parquet files already hold (`sealed`), so a segment that was compacted in between is either named there or gone,
and when it is gone the reader begins again.

Here belong the ways to get at events: as a view, by id, the newest, how many. Writing them belongs to
`store/events.py`; views with a project's own columns, and SQL from people, to `store/sql.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.errors import NotReady
from tidemill.home import Home
from tidemill.store.event_rows import as_events, flags_of, insert_lines, parquet_rows, stored_columns
from tidemill.store.events import COLUMNS, Stream
from tidemill.store.log_manifest import Manifest, load_manifest, stream_folder
from tidemill.store.segments import OpenFile, list_segments, open_to_read

if TYPE_CHECKING:
    import duckdb

READ_ATTEMPTS = 100


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
        con.execute(f"CREATE OR REPLACE TABLE log.{stream}_open ({stored_columns(stream)})")
        for file in files:
            for chunk in file.chunks():
                insert_lines(con, f"log.{stream}_open", stream, chunk, file.path.name)
        paths = manifest.paths(stream_folder(home, project, stream))
        con.execute(f"CREATE OR REPLACE VIEW log.{stream} AS {_union(stream, paths)}")
    return LogView(f"log.{stream}", paths)


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
                        return dict(event) | ({"flags": flags_of(event["flags"])} if "flags" in event else {})
    paths = manifest.paths(stream_folder(home, project, stream))
    found = _from_parquet(paths, "WHERE id = ? LIMIT 1", [prediction_id]) if paths else []
    return found[0] if found else None


def recent(home: Home, project: str, stream: Stream, limit: int = 50) -> list[dict[str, Any]]:
    """The newest `limit` events, newest first, as they were logged."""
    import duckdb

    with duckdb.connect(":memory:", config={"memory_limit": "256MB", "threads": 2}) as con:
        view = read(home, project, stream, con).name
        return as_events(con.execute(f'SELECT * FROM {view} ORDER BY "at" DESC, id LIMIT {int(limit)}'))


def count(home: Home, project: str, stream: Stream) -> int:
    """How many events a stream holds; no SQL is needed."""
    with _opened(home, project, stream) as (files, manifest):
        opened = sum(chunk.count(b"\n") for file in files for chunk in file.chunks())
        return opened + sum(part.rows for part in manifest.files)


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


def _union(stream: Stream, paths: Sequence[str]) -> str:
    names = ", ".join(f'"{name}"' for name in COLUMNS[stream])
    opened = f"SELECT {names} FROM log.{stream}_open"
    if not paths:
        return opened
    return f"SELECT {names} FROM {parquet_rows(paths)} UNION ALL BY NAME {opened}"


def _from_parquet(paths: Sequence[str], where: str, values: list[Any]) -> list[dict[str, Any]]:
    import duckdb

    with duckdb.connect(":memory:", config={"memory_limit": "256MB", "threads": 2}) as con:
        return as_events(con.execute(f"SELECT * FROM {parquet_rows(paths)} {where}", values))
