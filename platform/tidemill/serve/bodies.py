"""Records from the bytes of a request: NDJSON, CSV and Arrow. JSON is read by `strict_json`.

Here belongs turning each form into the records that JSON would have sent, a record or the faults that keep a row
from being one. What a record may hold is `serve/record.py`; files as people have them, with decimal commas and
headers in odd places, are batch work (`serve/batch.py`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from tidemill.errors import InvalidInput, TooLarge
from tidemill.project import Column
from tidemill.serve.arrow_messages import NotPlainArrow, check_messages
from tidemill.serve.record import RecordFault
from tidemill.strict_json import loads

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?")
# Longer numbers are texts: reading thousands of digits takes Python long, and no column holds them.
_MOST_DIGITS = 400

Rows = list[Any]


def read_ndjson(data: bytes, most: int) -> Rows:
    """One JSON document a line (https://github.com/ndjson/ndjson-spec); empty lines are passed over.

    A line that is no JSON is its faults. Raises InvalidInput for bytes that are not UTF-8, and for no line at all;
    TooLarge for more than `most`.
    """
    lines = [line for line in _text(data).split("\n") if line.strip()]
    _check_count(len(lines), most)
    return [_line(line) for line in lines]


def _line(line: str) -> Any:
    try:
        return loads(line)
    except json.JSONDecodeError as error:
        return [RecordFault("", _shown(line), f"the line is not JSON: {error.msg} at column {error.colno}")]
    except ValueError as error:
        said = str(error) if "digits" not in str(error) else "a number is too long"
        return [RecordFault("", _shown(line), f"the line is not JSON: {said}")]


def read_csv(data: bytes, columns: Mapping[str, Column], most: int) -> Rows:
    """CSV after RFC 4180, with commas and a header; an empty cell is null.

    Cells are typed as `columns` say: numbers with a point, true and false, dates in ISO 8601. A cell that is of
    another kind stays text, which the contract refuses. A row with more or fewer cells is its faults. Raises
    InvalidInput for bytes that are not UTF-8, broken quotes, a name twice in the header, and no row at all;
    TooLarge for more than `most`.
    """
    reader = csv.reader(io.StringIO(_text(data), newline=""), strict=True)
    rows: Rows = []
    try:
        header = next(reader, [])
        if len(set(header)) != len(header):
            double = next(name for name in header if header.count(name) > 1)
            raise _broken("CSV", f"the column {double[:60]!r} is there twice")
        kinds = [columns[name].type if name in columns else "string" for name in header]
        for cells in reader:
            if not cells:
                continue
            if len(rows) >= most:
                raise _too_many(most)
            if len(cells) != len(header):
                fault = f"line {reader.line_num} has {len(cells)} cells, the header {len(header)}"
                rows.append([RecordFault("", _shown(",".join(cells)), fault)])
            else:
                rows.append(
                    {name: _cell(cell, kind) for name, cell, kind in zip(header, cells, kinds, strict=True)}
                )
    except csv.Error as error:
        raise _broken("CSV", f"line {reader.line_num}: {error}") from None
    _check_count(len(rows), most)
    return rows


def _cell(cell: str, kind: str) -> Any:
    if cell == "":
        return None
    if kind == "integer" and len(cell) <= _MOST_DIGITS and _INTEGER.fullmatch(cell):
        return int(cell)
    if kind in ("integer", "float") and len(cell) <= _MOST_DIGITS and _NUMBER.fullmatch(cell):
        return float(cell)
    if kind == "boolean" and cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    return cell


def read_arrow(data: bytes, most: int) -> Rows:
    """An Arrow IPC stream, uncompressed (https://arrow.apache.org/docs/format/Columnar.html).

    Values become those of JSON: dates and times ISO 8601 (without a zone: UTC), dictionaries their values. Raises
    InvalidInput for a stream that is broken, compressed or of nested types, and for no row; TooLarge for more rows
    than `most`.
    """
    import pyarrow as pa

    try:
        check_messages(data)
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            _check_schema(reader.schema)
            names = reader.schema.names
            rows: Rows = []
            for batch in reader:
                if len(rows) + batch.num_rows > most:
                    raise _too_many(most)
                batch.validate(full=True)
                values = [[_as_json(value) for value in column.to_pylist()] for column in batch.columns]
                rows += [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    except NotPlainArrow as error:
        raise _broken("plain Arrow IPC stream", str(error)) from None
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:
        raise _broken(
            "plain Arrow IPC stream", str(error).splitlines()[0][:200] if str(error) else "broken"
        ) from None
    _check_count(len(rows), most)
    return rows


def _check_schema(schema: Any) -> None:
    import pyarrow as pa

    if len(set(schema.names)) != len(schema.names):
        double = next(name for name in schema.names if schema.names.count(name) > 1)
        raise NotPlainArrow(f"the column {double[:60]!r} is there twice")
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        plain = (
            pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string,
            pa.types.is_large_string, pa.types.is_string_view, pa.types.is_date, pa.types.is_timestamp,
            pa.types.is_null,
        )  # fmt: skip
        if not any(is_kind(kind) for is_kind in plain):
            raise NotPlainArrow(f"the column {field.name[:60]!r} is of the type {str(field.type)[:60]}")


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return f"{value.isoformat()}Z"
        return value.isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(
            "text in UTF-8", f"byte {error.start} is none of it; is it UTF-16, or compressed?"
        ) from None


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise _too_many(most)
    if not count:
        raise InvalidInput(
            "There are no records", detail="the body has none", remedy="Send at least one record."
        )


def _too_many(most: int) -> TooLarge:
    return TooLarge(
        "Too many records at once",
        detail=f"the limit is {most} records",
        remedy="Send them in several requests, or raise TIDEMILL_MAX_RECORDS.",
        limit=most,
    )


def _broken(what: str, detail: str) -> InvalidInput:
    return InvalidInput(
        f"The body is no {what}",
        detail=detail,
        remedy="Send what the header Content-Type says, or say what you send.",
    )


def _shown(text: str) -> str:
    shown = ascii(text[:61])
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
