"""Reading JSON lines: one object a line, its values as cells of text.

Here belongs what a row in JSON may be, for a file as for rows sent to the API, and how the latter are written: all
of the contract's columns in its order, every value a text or null, so that the same rows always make the same
bytes. A number keeps the text that it is written with: through a float a long key would end in other digits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import count
from typing import Any, BinaryIO

from tidemill.data.source import BLANK_ROW, Fault, Place, Row, SourceFile, empty_file
from tidemill.errors import InvalidInput
from tidemill.strict_json import loads

MAX_LINE = 1 << 24
SHOWN = 200
WORDS = {True: "true", False: "false"}
NO_CELLS = frozenset({dict, list})
# Made once: making one costs as much as writing a short row.
ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def open_json_rows(place: Place) -> SourceFile:
    """Open a file of JSON lines; its columns are the keys of all rows. Raises InvalidInput when it has no row."""
    columns: dict[str, None] = {}
    first_fault = ""
    with place.path.open("rb") as handle:
        for number, line in _lines(handle, place):
            try:
                columns.update(dict.fromkeys(cells_of(line)))
            except ValueError as error:
                first_fault = first_fault or f"line {number}: {error}"
    if not columns and first_fault:
        raise InvalidInput(
            "The file holds no JSON rows",
            detail=f"{place.name}, {first_fault}",
            remedy='Write one JSON object a line, such as {"age": 42, "plan": "plus"}, in UTF-8.',
        )
    if not columns:
        raise empty_file(place.name)
    return SourceFile(place.name, list(columns), "ndjson", _rows(place, list(columns)), encoding="utf-8")


def cells_of(line: bytes) -> dict[str, str | None]:
    """The cells of one line. Raises ValueError saying why it is no row."""
    try:
        text = line.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from None
    return cells(loads(text, exact_numbers=True))


def cells(row: Any) -> dict[str, str | None]:
    """The cells of one row that was read with exact numbers. Raises ValueError when it is none."""
    if not isinstance(row, dict):
        raise ValueError('a row is an object with the columns\' names, such as {"age": 42}')
    kinds = set(map(type, row.values()))
    if not kinds.isdisjoint(NO_CELLS):
        name = next(name for name, value in row.items() if type(value) in NO_CELLS)
        raise ValueError(f"the value of {ascii(name)[:60]} is a list or an object, which no cell can hold")
    if bool not in kinds:
        return {name: value or None for name, value in row.items()}
    return {name: WORDS[value] if type(value) is bool else value or None for name, value in row.items()}


def written(rows: Iterable[Mapping[str, str | None]], columns: Iterable[str]) -> bytes:
    """The lines of `rows`, as a file that `open_json_rows` reads."""
    names = list(columns)
    lines = [ENCODE(row if list(row) == names else {name: row.get(name) for name in names}) for row in rows]
    return "".join(f"{line}\n" for line in lines).encode()


def _rows(place: Place, columns: list[str]) -> Iterator[Row]:
    with closing(place.path.open("rb")) as handle:
        for number, line in _lines(handle, place):
            yield _row(number, line, columns)


def _row(number: int, line: bytes, columns: list[str]) -> Row:
    try:
        found = cells_of(line)
    except ValueError as error:
        shown = line[:SHOWN].decode("utf-8", "replace").strip()
        return Row(number, [], Fault("", shown, f"the line is no JSON row: {error}"))
    row = [found.get(name) for name in columns]
    if any(cell is not None and "\0" in cell for cell in row):
        return Row(number, [], Fault("", "", "the row holds a NUL byte", row))
    return Row(number, row) if any(row) else Row(number, [], BLANK_ROW)


def _lines(handle: BinaryIO, place: Place) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers. Raises InvalidInput for one without an end."""
    for number in count(1):
        line = handle.readline(MAX_LINE)
        if not line:
            return
        if len(line) == MAX_LINE:
            raise InvalidInput(
                "A line of the file has no end",
                detail=f"{place.name}, line {number}: more than {MAX_LINE} bytes",
                remedy="Write one JSON object a line.",
            )
        if line.strip():
            yield number, line
