"""Opening a source file: CSV, a workbook or Parquet becomes one stream of (line, cells as text).

Here belong the choice of reader by suffix and the checks of the header. How a CSV is taken apart is
`data/delimited.py`, a workbook `data/workbook.py`, Parquet `data/columnar.py`, JSON lines `data/json_rows.py`, an
archive around one of them `data/packed.py`; what all give is `data/source.py`, what a cell means
`data/casting.py`. Every row of a file appears in the stream once: as cells, or as a fault with its reason.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

from tidemill.data.header import settled
from tidemill.data.packed import PACKED, unpack
from tidemill.data.source import Place, SourceFile, empty_file
from tidemill.data.staging import InPieces
from tidemill.errors import InvalidInput
from tidemill.project import Reading

DELIMITED = frozenset({".csv", ".tsv", ".txt", ".tab"})
WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"})
COLUMNAR = frozenset({".parquet"})
JSON_ROWS = frozenset({".ndjson", ".jsonl"})
MAX_COLUMNS = 5_000
MAX_NAME = 200
AS_FOUND = Reading()


def open_source(
    path: Path,
    *,
    reading: Reading = AS_FOUND,
    name: str | None = None,
    scratch: Path | None = None,
) -> SourceFile:
    """Open a CSV (`.csv .tsv .txt .tab`), a workbook (`.xlsx .xlsm .xls .xlsb .ods`), Parquet or JSON lines.

    Any of them may be packed as `.gz` or alone in a `.zip`; it is then unpacked under `scratch`, by default the
    system's folder for temporary files, and removed with the stream of its rows. What `reading` leaves open is
    found in the file. `name` is used in messages, when the file's own is not what its sender knows.

    Raises InvalidInput for what is no such file: missing, empty, binary, a folder, another suffix, or a header
    with blank, doubled or impossible names; TooLarge for an archive that unpacks to more than allowed. The file
    stays open until its rows were read or dropped.
    """
    return named(open_as_it_stands(path, reading=reading, name=name, scratch=scratch), reading)


def named(source: SourceFile, reading: Reading) -> SourceFile:
    """`source`, opened as it stands, with the names that count. Raises InvalidInput when they will not do."""
    source = settled(source, reading)
    _check_header(source)
    return source


def open_as_it_stands(
    path: Path, *, reading: Reading = AS_FOUND, name: str | None = None, scratch: Path | None = None
) -> SourceFile:
    """`open_source` with the header as it is in the file, whatever it holds."""
    place = Place(path, name or path.name)
    _check_readable(place)
    return _open_packed(place, reading, scratch) if _suffix(place) in PACKED else _open(place, reading)


def _suffix(place: Place) -> str:
    return place.path.suffix.lower()


def _open_packed(place: Place, reading: Reading, scratch: Path | None) -> SourceFile:
    folder = Path(tempfile.mkdtemp(prefix="tidemill-", dir=scratch))
    try:
        inner = unpack(place, folder)
        _check_readable(inner)
        source = _open(inner, reading)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # A generator of rows can be watched, some iterators cannot.
    rows = source.rows if isinstance(source.rows, InPieces) else (row for row in source.rows)
    weakref.finalize(rows, shutil.rmtree, folder, ignore_errors=True)
    return replace(source, rows=rows)


def _open(place: Place, reading: Reading) -> SourceFile:
    suffix = _suffix(place)
    if suffix in DELIMITED:
        from tidemill.data.delimited import open_delimited

        return open_delimited(place, reading)
    if suffix in WORKBOOKS:
        from tidemill.data.workbook import open_workbook

        return open_workbook(place, reading)
    if suffix in COLUMNAR:
        from tidemill.data.columnar import open_columnar

        return open_columnar(place)
    if suffix in JSON_ROWS:
        from tidemill.data.json_rows import open_json_rows

        return open_json_rows(place)
    raise InvalidInput(
        "Tidemill cannot read that kind of file",
        detail=f"{place.name} has {f'the suffix {suffix}' if suffix else 'no suffix'}",
        remedy=f"Send one of {', '.join(sorted(DELIMITED | COLUMNAR | JSON_ROWS))} or "
        f"{', '.join(sorted(WORKBOOKS))}, as it is or packed as {' or '.join(sorted(PACKED))}.",
    )


def _check_readable(place: Place) -> None:
    if place.path.is_dir():
        raise InvalidInput(
            "That is a folder, not a file", detail=place.name, remedy="Name one CSV or Excel file in it."
        )
    try:
        with place.path.open("rb") as handle:
            empty = not handle.read(1)
    except OSError as error:
        raise InvalidInput(
            "The file cannot be read",
            detail=f"{place.name}: {error.strerror or error}",
            remedy="Check that the file exists and that this user may read it.",
        ) from error
    if empty:
        raise empty_file(place.name)


def _check_header(source: SourceFile) -> None:
    """Raise InvalidInput unless the columns' names can be names."""
    name = source.name
    if len(source.columns) > MAX_COLUMNS:
        raise InvalidInput(
            "The file has too many columns",
            detail=f"{name}: {len(source.columns)}, at most {MAX_COLUMNS} are read",
            remedy="Send the columns that the project needs.",
        )
    blank = [number for number, column in enumerate(source.columns, start=1) if not column]
    if blank:
        raise InvalidInput(
            "A column has no name",
            detail=f"{name}: the header is blank in column {', '.join(map(str, blank[:10]))}"
            f" of {len(source.columns)}",
            remedy="Name every column in the first line, or delete the column (a table saved with its row "
            "numbers begins with a nameless one; of merged cells only the first holds the text). If the names "
            "stand further down, say so with reading.header_row in project.yaml; reading.names is used in place "
            "of a header.",
        )
    odd = [
        column
        for column in source.columns
        if len(column) > MAX_NAME or column.startswith(("_", '"')) or not column.isprintable()
    ]
    if odd:
        raise InvalidInput(
            "A column's name cannot be used",
            detail=f"{name}: {', '.join(repr(column[:60]) for column in odd[:5])}",
            remedy=f"Names have at most {MAX_NAME} printable characters on one line and begin neither with a "
            "quote nor with an underscore, which marks Tidemill's own columns.",
        )
    _check_doubles(source)
    if all(_is_number(column) for column in source.columns):
        raise InvalidInput(
            "The file seems to have no header",
            detail=f"{name}: the first line holds only numbers ({', '.join(source.columns[:5])})",
            remedy="Write the columns' names into the first line, or say reading: {header: false} in project.yaml.",
        )


def _check_doubles(source: SourceFile) -> None:
    # SQL does not tell Age from age: names must differ in more than their case.
    seen: dict[str, str] = {}
    for column in source.columns:
        other = seen.get(column.casefold())
        if other is not None:
            same = "is there twice" if other == column else f"and {other!r} differ only in case"
            raise InvalidInput(
                "Two columns have the same name",
                detail=f"{source.name}: column {column!r} {same}",
                remedy="Rename one of them in the file, or name its columns in reading.names of project.yaml.",
            )
        seen[column.casefold()] = column


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
