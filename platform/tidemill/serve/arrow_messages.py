"""A look at the messages of an Arrow IPC stream before Arrow reads it.

A few bytes may claim to unpack to terabytes, and how much compressed buffers really hold is known only afterwards.
So streams with compressed buffers, and buffers that reach beyond their message, are refused here by their headers
alone. The layout is that of Message.fbs and RecordBatch in the Arrow specification, encoded as FlatBuffers
(https://flatbuffers.dev/internals). Whether the data is sound is for Arrow to say (`validate(full=True)`).
"""

from __future__ import annotations

import struct

_CONTINUES = 0xFFFFFFFF
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
# Fields of the tables, by their place in the schema of the specification.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_BATCH_OF_DICTIONARY, _COMPRESSION = 1, 3


class NotPlainArrow(ValueError):
    """The stream is broken or compressed; the message says where."""


def check_messages(data: bytes) -> None:
    """Raises NotPlainArrow for a message that is cut off, broken, or holds compressed buffers."""
    at = 0
    while at < len(data):
        try:
            at = _after_message(data, at)
        except (struct.error, IndexError) as error:
            raise NotPlainArrow(f"the message at byte {at} is broken") from error


def _after_message(data: bytes, at: int) -> int:
    """Where the next message begins; the end of the data after the mark of the end."""
    (size,) = struct.unpack_from("<I", data, at)
    start = at + 4
    if size == _CONTINUES:
        (size,) = struct.unpack_from("<I", data, start)
        start += 4
    if size == 0:
        return len(data)
    if size > len(data) - start:
        raise NotPlainArrow(f"the message at byte {at} is cut off")
    message = _Table(data[start : start + size])
    body = message.number(_BODY_LENGTH, "<q")
    if not 0 <= body <= len(data) - start - size:
        raise NotPlainArrow(f"the message at byte {at} is cut off")
    kind = message.number(_HEADER_TYPE, "<B")
    batch = message.table(_HEADER) if kind in (_DICTIONARY_BATCH, _RECORD_BATCH) else None
    if batch is not None and kind == _DICTIONARY_BATCH:
        batch = batch.table(_BATCH_OF_DICTIONARY)
    if batch is not None and batch.place(_COMPRESSION):
        raise NotPlainArrow("its buffers are compressed; send them as they are, with Content-Encoding: gzip")
    return int(start + size + body)


class _Table:
    """A table of a FlatBuffer: `data` begins with the place of its root."""

    def __init__(self, data: bytes, at: int | None = None) -> None:
        self._data = data
        self._at = struct.unpack_from("<I", data, 0)[0] if at is None else at
        (back,) = struct.unpack_from("<i", data, self._at)
        self._index = self._at - back
        if self._index < 0:
            raise IndexError(self._index)
        (self._length,) = struct.unpack_from("<H", data, self._index)

    def place(self, field: int) -> int:
        """Where a field stands in the data; 0 when it has none."""
        slot = 4 + 2 * field
        if slot + 2 > self._length:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._index + slot)
        return self._at + int(offset) if offset else 0

    def number(self, field: int, kind: str) -> int:
        place = self.place(field)
        return int(struct.unpack_from(kind, self._data, place)[0]) if place else 0

    def table(self, field: int) -> _Table | None:
        place = self.place(field)
        if not place:
            return None
        return _Table(self._data, place + int(struct.unpack_from("<I", self._data, place)[0]))
