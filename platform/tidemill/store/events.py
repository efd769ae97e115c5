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
            segment = self._current()
            try:
                segment.append(lines)
            finally:
                if segment.torn:
                    self._let_go()
            if segment.size >= self.segment_bytes or time.monotonic() - segment.opened > SEGMENT_SECONDS:
                self._let_go()
        if not self._dirty.is_set():
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
