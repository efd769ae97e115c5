"""A delimited file cut into stretches of whole lines, as UTF-8 whatever the file's own encoding is.

Here belong cutting, numbering lines, and what can be told of a stretch from its bytes alone: it decides which
lines are taken apart in bulk (`data/bulk.py`) and which record by record (`data/delimited.py`).
"""

from __future__ import annotations

import codecs
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import FileIO

import numpy as np
import numpy.typing as npt

from tidemill.data.source import Place
from tidemill.errors import InvalidInput

STRETCH = 16 << 20
PIECE = 1 << 20
MAX_LINE = 1 << 24
ASCII = 127
Mask = npt.NDArray[np.bool_]
NEWLINE, RETURN, QUOTE = b"\n", b"\r", b'"'
# A line of so many bytes may hold a cell longer than the reader of records takes.
LONG_LINE = 131_072


@dataclass(frozen=True)
class Stretch:
    """Whole lines of a file: `first_line` is the number of the first, from 1, `lines` how many there are.

    They are the first `size` bytes of `buffer`, which is used again for the next stretch of the file.
    """

    buffer: bytes | bytearray
    size: int
    first_line: int
    lines: int

    @property
    def content(self) -> memoryview:
        return memoryview(self.buffer)[: self.size]

    @property
    def text(self) -> str:
        return str(self.content, "utf-8")

    def holds(self, *marks: bytes) -> bool:
        """Whether any of `marks` stands in it."""
        return any(self.buffer.find(mark, 0, self.size) >= 0 for mark in marks)

    @cached_property
    def codes(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self.buffer, np.uint8, self.size)

    @cached_property
    def is_uniform(self) -> bool:
        """Whether all lines end alike, in a line feed with or without a carriage return, and none holds a NUL."""
        if self.holds(b"\0"):
            return False
        if not self.holds(RETURN):
            return True
        pairs = self.buffer.count(b"\r\n", 0, self.size)
        return _count(self.codes, RETURN) == pairs == _count(self.codes, NEWLINE)

    @cached_property
    def blank_lines(self) -> Mask:
        """Which lines hold no character, in a stretch that is uniform."""
        starts = np.append(0, self._ends[:-1])
        last_is_open = self.codes[-1] != ord(NEWLINE)
        found: Mask = self._ends - starts == 1 + self.holds(RETURN)
        if last_is_open:
            found[-1] = False
        return found

    def doubtful_lines(self, delimiter: str | None) -> list[int]:
        """The lines of which readers of CSV may make different things, where `delimiter` stands between cells that
        quotes may enclose, or None where they are characters like others.

        Each other line is one record: its quotes enclose whole cells, or stand there in twos.
        """
        found = np.diff(self._ends, prepend=0) >= LONG_LINE
        # A reader may take it for the mark of the file's encoding.
        found[0] |= bytes(self.buffer[:3]) == codecs.BOM_UTF8
        if delimiter is not None and len(self._quotes):
            found |= self._quoted_oddly(delimiter)
        return [int(index) + self.first_line for index in np.flatnonzero(found)]

    def _quoted_oddly(self, delimiter: str) -> Mask:
        """Which lines have an odd number of quotes, or one that neither opens nor closes a cell, nor is doubled.

        Of an even number the first opens a cell and the second closes it, or is the first of two that stand for
        one; and so on with each pair.
        """
        quotes = self._quotes
        # How many quotes stand before the end of each line; looked up by lines, of which there are fewer.
        counts = np.diff(np.searchsorted(quotes, self._ends), prepend=0)
        found = (counts & 1).astype(bool)
        if found.any():
            quotes = quotes[~np.repeat(found, counts)]
        bounds = np.zeros(256, dtype=bool)
        bounds[[ord(delimiter), *NEWLINE, *RETURN, *QUOTE]] = True
        opens, closes = quotes[::2], quotes[1::2]
        right = bounds[self.codes.take(opens - 1, mode="clip")] | (opens == 0)
        right &= bounds[self.codes.take(closes + 1, mode="clip")] | (closes == self.size - 1)
        wrong = np.searchsorted(self._ends, opens[~right], side="right")
        found[wrong] = True
        return found

    @cached_property
    def _quotes(self) -> npt.NDArray[np.int64]:
        return _places(self.codes, QUOTE) if self.holds(QUOTE) else np.zeros(0, dtype=np.int64)

    def start(self, number: int) -> int:
        """Before which byte line `number` of the file begins; of the line behind the last one, where all end."""
        return int(self._ends[number - self.first_line - 1]) if number > self.first_line else 0

    @contextmanager
    def blanked(self, lines: Sequence[tuple[int, int]]) -> Iterator[None]:
        """For a while the lines from each number to before another hold line feeds and nothing else."""
        kept = [(self.start(begin), self.start(end)) for begin, end in lines]
        texts = [bytes(self.buffer[start:end]) for start, end in kept]
        content = self.content
        for start, end in kept:
            content[start:end] = NEWLINE * (end - start)
        try:
            yield
        finally:
            for (start, end), text in zip(kept, texts, strict=True):
                content[start:end] = text

    def until(self, number: int) -> Stretch:
        """The lines before line `number`."""
        return Stretch(self.buffer, self.start(number), self.first_line, number - self.first_line)

    def line(self, number: int) -> bytes:
        """The bytes of line `number` of the file, its end among them."""
        return bytes(self.buffer[self.start(number) : self.start(number + 1)])

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        """Behind which byte each line ends, in a stretch that is uniform."""
        ends = _places(self.codes, NEWLINE) + 1
        return ends if len(ends) == self.lines else np.append(ends, self.size)


class Stretches(Iterator[Stretch]):
    """The lines of a file behind its first `skipped` ones, in order. A stretch is gone once the next is asked for.

    Raises InvalidInput for a line of more than 16 million characters.
    """

    def __init__(self, place: Place, encoding: str, skipped: int) -> None:
        self.name = place.name
        self._buffer = bytearray(STRETCH)
        self._filled = 0
        self._taken = 0
        self._handle = place.path.open("rb", buffering=0)
        weakref.finalize(self, self._handle.close)
        self._read = _reader(self._handle, encoding)
        self._number = skipped + 1
        self._skip(skipped)

    def __next__(self) -> Stretch:
        while True:
            ended = not self._fill()
            end = self._buffer.rfind(NEWLINE, 0, self._filled) + 1
            if ended:
                end = self._filled
            if end:
                stretch = Stretch(self._buffer, end, self._number, _lines(self._buffer, end))
                self._taken, self._number = end, self._number + stretch.lines
                return stretch
            if self._filled > MAX_LINE:
                raise too_long(self.name, self._number)
            if ended:
                raise StopIteration

    def give_back(self, stretch: Stretch, number: int) -> Stretch:
        """The lines of the stretch at hand before line `number`; that one and the others come with the next."""
        self._taken, self._number = stretch.start(number), number
        return stretch.until(number)

    @property
    def is_last(self) -> bool:
        """Whether nothing follows the stretch at hand."""
        read = self._handle.tell() == os.fstat(self._handle.fileno()).st_size
        return read and self._taken == self._filled

    def _fill(self) -> bool:
        """Move what was not taken to the front and read on behind it; whether there was more."""
        if self._taken and self._taken < self._filled:
            left = self._buffer[self._taken : self._filled]
            self._buffer[: len(left)] = left
        self._filled, self._taken = self._filled - self._taken, 0
        is_full = self._filled == len(self._buffer)
        size = 0 if is_full else self._read(self._buffer, self._filled)
        self._filled += size
        return size > 0 or is_full

    def _skip(self, lines: int) -> None:
        while lines and self._fill():
            while lines and (end := self._buffer.find(NEWLINE, self._taken, self._filled) + 1):
                self._taken, lines = end, lines - 1
            if lines:
                self._taken = self._filled


def _reader(handle: FileIO, encoding: str) -> Callable[[bytearray, int], int]:
    """A function that fills a buffer from a place on with UTF-8, and says with how many bytes; 0 at the end."""
    if encoding in ("utf-8", "utf-8-sig"):
        if encoding == "utf-8-sig":
            handle.seek(len(codecs.BOM_UTF8))
        return lambda buffer, start: handle.readinto(memoryview(buffer)[start:]) or 0
    decoder = codecs.getincrementaldecoder(encoding)()

    def transcode(buffer: bytearray, start: int) -> int:
        # No character of an encoding takes more than three times the bytes in UTF-8; one may be pending.
        read = handle.read(max((len(buffer) - start) // 3 - 8, 1))
        text = decoder.decode(read or b"", final=not read).encode()
        buffer[start : start + len(text)] = text
        return len(text)

    return transcode


def too_long(name: str, line: int) -> InvalidInput:
    return InvalidInput(
        "A line of the file is too long",
        detail=f"{name}, line {line}: more than {MAX_LINE} characters without an end",
        remedy="Check that this is a CSV file with one row a line.",
    )


def _lines(buffer: bytearray, size: int) -> int:
    """How many lines there are; a carriage return without a line feed ends one, too."""
    codes = np.frombuffer(buffer, np.uint8, size)
    found = _count(codes, NEWLINE)
    if buffer.find(RETURN, 0, size) >= 0:
        found += _count(codes, RETURN) - buffer.count(b"\r\n", 0, size)
    return found + (buffer[size - 1 : size] not in (NEWLINE, RETURN))


def _count(codes: npt.NDArray[np.uint8], mark: bytes) -> int:
    # Piece by piece: fresh memory for a comparison of the whole costs more than comparing.
    return sum(
        int(np.count_nonzero(codes[start : start + PIECE] == ord(mark)))
        for start in range(0, len(codes), PIECE)
    )


def _places(codes: npt.NDArray[np.uint8], mark: bytes) -> npt.NDArray[np.int64]:
    pieces = range(0, len(codes), PIECE)
    found = [np.flatnonzero(codes[start : start + PIECE] == ord(mark)) + start for start in pieces]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
