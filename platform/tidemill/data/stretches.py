"""A delimited file cut into stretches of whole lines, as UTF-8 whatever the file's own encoding is.

Here belong cutting, numbering lines, and what can be told of a stretch from its bytes alone: it decides whether
DuckDB may take the stretch apart (`data/bulk.py`) or it is read record by record (`data/delimited.py`).
"""

from __future__ import annotations

import codecs
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import FileIO

import numpy as np
import numpy.typing as npt

from tidemill.data.source import Place
from tidemill.errors import InvalidInput

STRETCH = 32 << 20
PIECE = 1 << 20
MAX_LINE = 1 << 24
ASCII = 127
Mask = npt.NDArray[np.bool_]
NEWLINE, RETURN, QUOTE, SPACE = b"\n", b"\r", b'"', b" "
# Spaces besides the plain one that are no part of a value: see `data/casting.py`.
ODD_SPACES = (b"\t", b"\f", b"\v")
ODD_WIDE_SPACES = ("\u00a0".encode(), "\ufeff".encode())


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
    def newline(self) -> str:
        return "\\r\\n" if self.holds(RETURN) else "\\n"

    @cached_property
    def has_odd_spaces(self) -> bool:
        return self.holds(*ODD_SPACES) or (self.codes.max() > ASCII and self.holds(*ODD_WIDE_SPACES))

    def has_space_before_quote(self, delimiter: str) -> bool:
        """Whether a cell begins with spaces and a quote, which readers of CSV take in different ways."""
        quotes = self._quotes
        spaces = quotes[self.codes.take(quotes - 1, mode="clip") == ord(SPACE)] - 1
        before = self.codes[spaces - 1]
        # Behind more than one space, or at the very start, a cell is only looked at by the careful reader.
        return bool(np.isin(before, [ord(delimiter), *NEWLINE, *RETURN, *SPACE]).any() or 0 in spaces)

    def with_odd_quotes(self) -> list[int]:
        """The lines with an odd number of quotes: where a cell goes over lines, or quoting is broken."""
        if not len(self._quotes):
            return []
        # How many quotes stand before the end of each line; looked up by lines, of which there are fewer.
        before = np.searchsorted(self._quotes, self._ends)
        counts = np.diff(before, prepend=0)
        return [int(index) + self.first_line for index in np.flatnonzero(counts & 1)]

    @cached_property
    def _quotes(self) -> npt.NDArray[np.int64]:
        return _places(self.codes, QUOTE) if self.holds(QUOTE) else np.zeros(0, dtype=np.int64)

    def start(self, number: int) -> int:
        """Before which byte line `number` of the file begins; of the line behind the last one, where all end."""
        return int(self._ends[number - self.first_line - 1]) if number > self.first_line else 0

    def until(self, number: int) -> Stretch:
        """The lines before line `number`."""
        return Stretch(self.buffer, self.start(number), self.first_line, number - self.first_line)

    def line(self, number: int) -> bytes:
        """The bytes of line `number` of the file, its end among them."""
        return bytes(self.buffer[self.start(number) : self.start(number + 1)])

    def closed_by(self, delimiter: str) -> tuple[Mask, Mask]:
        """Which lines end in the delimiter, and which in two of them."""
        mark = ord(delimiter)
        last = self._ends - (2 + self.holds(RETURN))
        if self.codes[-1] != ord(NEWLINE):
            last[-1] = self.size - 1
        once = self.codes.take(last, mode="clip") == mark
        twice = once.copy()
        # Few lines end in it: what stands before is looked at in those alone.
        before = last[once] - 1
        twice[once] = (self.codes.take(before, mode="clip") == mark) & (before >= 0)
        return once, twice

    def count(self, delimiter: str, number: int) -> int:
        """How many delimiters stand in line `number`."""
        return self.buffer.count(delimiter.encode(), self.start(number), self.start(number + 1))

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
