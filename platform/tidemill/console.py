"""How the command line prints: tables, sizes, durations, and colours where a person reads them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}


def colour(text: str, name: str, stream: TextIO | None = None) -> str:
    """`text` in a colour when `stream` (default: stdout) is a terminal and NO_COLOR is unset."""
    stream = sys.stdout if stream is None else stream
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m"


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns under headers; columns of numbers only are flushed right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[index]) for line in [list(headers), *cells]) for index in range(len(headers))]
    right = [
        bool(rows) and all(isinstance(row[index], int | float) or row[index] is None for row in rows)
        for index in range(len(headers))
    ]
    lines = [_line(headers, widths, right), _line(["-" * width for width in widths], widths, right)]
    lines += [_line(line, widths, right) for line in cells]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("\n", " ")


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if flush else cell.ljust(width)
        for cell, width, flush in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(padded).rstrip()


def size(count: float) -> str:
    """Bytes for people: 950 B, 12 KB, 340 MB, 1.2 GB."""
    for unit, floor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= floor:
            scaled = count / floor
            return f"{scaled:.1f} {unit}" if scaled < 10 else f"{scaled:.0f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """A time span in its two largest units: 12 s, 3 min 5 s, 2 h 10 min, 4 d 3 h."""
    whole = max(0, int(seconds))
    for name, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
