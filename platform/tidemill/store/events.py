"""The events of the logs (predictions, ground truth, challenger), and their writer: in the log before the answer.

    log/<project>.<stream>.<uuid>.jsonl     open segments (see `store/segments.py`)

Here belong what an event of each stream holds, and `EventLog`, which a process writes a stream with. Reading the
events back belongs to `store/history.py`, turning closed segments into Parquet to `store/compaction.py`. What a
model answered and why belongs to `serve/`; views for people to `store/sql.py`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tidemill.errors import InvalidInput
from tidemill.home import Home
from tidemill.store.durable import disk_full_is_an_error
from tidemill.store.segments import Segment

Stream = Literal["predictions", "ground_truth", "challenger"]
STREAMS: tuple[Stream, ...] = ("predictions", "ground_truth", "challenger")

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
    # What a challenger said in shadow about the record of a prediction, or why a canary did not answer it.
    "challenger": {
        "id": "VARCHAR",
        "at": "TIMESTAMPTZ",
        "project": "VARCHAR",
        "model_version": "BIGINT",
        "role": "VARCHAR",
        "request_id": "VARCHAR",
        "entity_id": "VARCHAR",
        "prediction_id": "VARCHAR",
        "label": "JSON",
        "score": "DOUBLE",
        "probabilities": "JSON",
        "error": "VARCHAR",
        "latency_ms": "DOUBLE",
    },
}

SEGMENT_BYTES = 67_108_864
SEGMENT_SECONDS = 3600.0
SYNC_SECONDS = 0.04


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
        self._spare: Segment | None = None  # the next segment, when this one is half full
        self._retired: list[Segment] = []  # full, and not yet closed
        self._closing = threading.Lock()
        self._pid = os.getpid()
        self._dirty = threading.Event()
        self._syncer: threading.Thread | None = None
        self._failure: Exception | None = None

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Store `events`. When this returns they survive any crash of ours, 50 ms later a loss of power.

        Raises StorageFull (nothing of the batch is kept) and InvalidInput for values that JSON cannot hold.
        """
        if not events:
            return
        self.write(_encode(events))

    def write(self, lines: bytes) -> None:
        """`append` for events that are whole lines of JSON already. Raises StorageFull."""
        with self._lock:
            if self._failure is not None:
                self._raise_failure()
            segment = self._segment
            if segment is None or segment.pid != os.getpid():
                segment = self._begin()
            try:
                segment.append(lines)
            finally:
                if segment.torn:
                    self._retire()
            if segment.size >= self.segment_bytes or time.monotonic() - segment.opened > SEGMENT_SECONDS:
                self._retire()
        if not self._dirty.is_set():
            self._dirty.set()

    def close(self) -> None:
        """Sync and close the segment; the next `append` would begin a new one."""
        with self._lock:
            self._retire()
            if self._spare is not None:
                self._retired.append(self._spare)
                self._spare = None
            self._close_retired()
            self._raise_failure()

    def _begin(self) -> Segment:
        """A segment of this process, and the thread that syncs it."""
        if self._pid != os.getpid():
            # After a fork all segments belong to the parent, which still writes to them.
            self._pid, self._spare, self._retired = os.getpid(), None, []
        segment = self._spare or Segment(self.home.log, self.project, self.stream)
        self._spare, self._segment = None, segment
        if self._syncer is None or not self._syncer.is_alive():
            self._syncer = threading.Thread(
                target=self._sync_forever, name=f"sync {self.project}.{self.stream}", daemon=True
            )
            self._syncer.start()
        return segment

    def _retire(self) -> None:
        """Write no more to the segment. It is closed by the thread that syncs: no answer waits for the disk."""
        if self._segment is not None and self._segment.pid == os.getpid():
            self._retired.append(self._segment)
        self._segment = None

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _close_retired(self) -> None:
        """Raises StorageFull when a segment could not be synced; it is let go all the same."""
        with self._closing:
            while self._retired:
                self._retired.pop(0).close()

    def _sync_forever(self) -> None:
        while True:
            self._dirty.wait()
            self._dirty.clear()
            time.sleep(SYNC_SECONDS)
            try:
                self._sync()
            except Exception as error:  # noqa: BLE001 - kept, and raised to whoever appends next
                with self._lock:
                    self._failure = error

    def _sync(self) -> None:
        """Sync what was written and have the next segment at hand. Raises StorageFull."""
        with self._lock:
            segment = self._segment
            descriptor = segment.duplicate() if segment else None
        self._close_retired()
        if segment is None or descriptor is None:
            return
        try:
            with disk_full_is_an_error(self.home.log):
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if self._spare is None and segment.size > self.segment_bytes / 2:
            spare = Segment(self.home.log, self.project, self.stream)
            with self._lock:
                if self._segment is segment:
                    self._spare = spare
                else:
                    self._retired.append(spare)  # too late: closed empty, and swept up with the others


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
