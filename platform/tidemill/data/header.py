"""Which names the columns of an opened file go by: its header's, the project's, or those of a repair file of ours.

Here belong `reading.names` and `reading.header` of project.yaml, names made up for a header that has none, and the
columns that `data/repair.py` puts before a file's own. Whether names will do is checked in `data/read.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from tidemill.data.formula import unguarded
from tidemill.data.source import BLANK_ROW, Row, SourceFile
from tidemill.errors import InvalidInput
from tidemill.project import Reading

# What a repair file says of each row. A file that has the two latter is one, and they are no columns of the data.
REPAIR_COLUMNS = ("_file", "_line", "_reason")
REPAIRS = re.compile(r"'?([0-9a-f]{16})-")
LONGEST = 60
NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
FRACTION = re.compile(r"[+-]?[0-9]*[.,][0-9]+([eE][+-]?[0-9]+)?")


def settled(source: SourceFile, reading: Reading) -> SourceFile:
    """`source` with the names that count.

    Raises InvalidInput when `reading.names` are more or fewer than its columns. A repair file goes by its
    own header, whatever the project says of others: we wrote the names there.
    """
    if {"_line", "_reason"} <= set(source.columns):
        return _repaired(source)
    if source.format == "ndjson":
        return source  # each value comes with its column's name
    if not reading.header and source.format != "parquet":
        source = _headless(source)
    return source if reading.names is None else _named(source, reading.names)


def _named(source: SourceFile, names: Sequence[str]) -> SourceFile:
    if len(names) != len(source.columns):
        raise InvalidInput(
            "The file has another number of columns than reading.names",
            detail=f"{source.name}: {len(source.columns)} in the file, {len(names)} in project.yaml",
            remedy="Send a file with those columns in that order, or mend reading.names.",
        )
    return replace(source, columns=list(names))


def _headless(source: SourceFile) -> SourceFile:
    """The first row is data like the others; columns go by their place."""
    cells = [cell or None for cell in source.head or source.columns]
    first = Row(source.header_row, cells)
    names = [f"column_{number}" for number in range(1, len(cells) + 1)]
    return replace(source, columns=names, rows=chain([first], source.rows), as_it_stands=False)


def _repaired(source: SourceFile) -> SourceFile:
    keep = [index for index, name in enumerate(source.columns) if name not in REPAIR_COLUMNS]
    place = source.columns.index("_file") if "_file" in source.columns else None
    first = next(source.rows, None)
    rows = source.rows if first is None else chain([first], source.rows)
    told = first.cells[place] if first and first.cells and place is not None else None
    found = REPAIRS.match(told or "")
    return replace(
        source,
        columns=[unguarded(source.columns[index]) for index in keep],
        rows=_without_ours(rows, keep),
        repairs=found[1] if found else None,
        as_it_stands=False,
    )


def _without_ours(rows: Iterator[Row], keep: list[int]) -> Iterator[Row]:
    for row in rows:
        if row.fault is not None:
            yield row
            continue
        cells = [row.cells[index] for index in keep]
        if any(cells):
            yield Row(row.line, [cell and unguarded(cell) for cell in cells])
        else:
            yield Row(row.line, [], BLANK_ROW)


def proposed(source: SourceFile) -> tuple[Reading, list[str]]:
    """How to read a file as it stands so that each column has a name of its own, and what was made up for that.

    Blank names become `column_3`, doubled ones `age_2`, impossible ones lose what makes them so; a first line that
    holds numbers is no header.
    """
    columns = source.columns
    if {"_line", "_reason"} <= set(columns):
        return Reading(), []
    if source.format != "parquet" and (
        all(NUMBER.fullmatch(name) for name in columns) or any(map(FRACTION.fullmatch, columns))
    ):
        names = [f"column_{number}" for number in range(1, len(columns) + 1)]
        said = (
            f"the first line holds values ({', '.join(columns[:4])}), so it was read as a row and the columns were "
            f"called column_1 to column_{len(columns)}: write better names into reading.names"
        )
        return Reading(header=False, names=names), [said]
    names, made = [], []
    # Names that stand in the file alone come first: what is made up must not take them.
    taken = {name.casefold() for name in columns}
    for number, name in enumerate(columns, start=1):
        good = _possible(name) or f"column_{number}"
        free = good == name and good.casefold() not in {each.casefold() for each in names}
        chosen = good if free else _free(good, taken)
        taken.add(chosen.casefold())
        names.append(chosen)
        if chosen != name:
            made.append(f"{chosen!r} for {name[:LONGEST]!r} in column {number}" if name else f"{chosen!r}")
    if not made:
        return Reading(), []
    return Reading(names=names), [
        f"names were made up where the header is blank, doubled or impossible: {', '.join(made[:10])}"
        + (f" and {len(made) - 10} more" if len(made) > 10 else "")
        + "; change them in reading.names and columns alike"
    ]


def _possible(name: str) -> str:
    """`name` without what no name may hold."""
    spaced = " ".join("".join(each if each.isprintable() else " " for each in name).split())
    return spaced.lstrip('_" ')[:LONGEST].strip() if spaced != name or name[:1] in ('"', "_") else name[:200]


def _free(name: str, taken: set[str]) -> str:
    if name.casefold() not in taken:
        return name
    return next(
        each for number in range(2, len(taken) + 3) if (each := f"{name}_{number}").casefold() not in taken
    )
