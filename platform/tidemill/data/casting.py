"""What a cell's text means: SQL that turns text into a column's type and tells which rule a value breaks.

Here belong the spellings of numbers, dates, booleans and missing values, for ingestion and inference alike, and
the rules of one column. Rules over several rows (uniqueness) are applied by those who see the rows. All SQL is
DuckDB's, run with `SET TimeZone='UTC'`.

- Empty is always missing. NA, N/A, NaN, NULL and None are missing in every type but `text`, unless the contract
  lists them among a column's values. Spaces around a value count in `text` only.
- integer: digits with a sign; `3.0` counts as 3. float: also a fraction and an exponent; never inf.
- boolean: true/false, yes/no, t/f, y/n, 1/0 in any case.
- integer and float with `thousands` in the contract: also digits in groups of three, as in `1,234.5`.
- date, datetime: ISO 8601, or `31.12.2024` with `14:30[:00]`; a time without an offset is UTC. With `format` in
  the contract ISO 8601 or that format, in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum

from tidemill.project import NUMERIC, Column

MISSING = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "NULL", "null", "None")
TRUE = ("true", "yes", "t", "y", "1")
FALSE = ("false", "no", "f", "n", "0")
THOUSANDS_SPACES = " \u00a0\u202f"
SPACES = " \t\r\n\f\v\u00a0\ufeff"

SQL_TYPES = {
    "integer": "BIGINT",
    "float": "DOUBLE",
    "boolean": "BOOLEAN",
    "string": "VARCHAR",
    "category": "VARCHAR",
    "text": "VARCHAR",
    "date": "DATE",
    "datetime": "TIMESTAMP",
}
ARROW_TYPES = {
    "integer": "int64",
    "float": "double",
    "boolean": "bool",
    "string": "string",
    "category": "string",
    "text": "string",
    "date": "date32[day]",
    "datetime": "timestamp[us]",
}
KINDS = {
    "integer": "an integer",
    "float": "a number",
    "boolean": "a boolean (true/false, yes/no, 1/0)",
    "date": "a date (2024-12-31 or 31.12.2024)",
    "datetime": "a date and time (2024-12-31T14:30:00Z or 31.12.2024 14:30)",
}

CLOCK = "[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
OFFSET = "( ?(Z|[+-][0-9]{2}(:?[0-9]{2})?))?"
ISO = f"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{CLOCK}{OFFSET})?"
CLOCKS = ("", " %H:%M", " %H:%M:%S")
CLOCK_AFTER = "( [0-9]{1,2}:[0-9]{2}(:[0-9]{2})?)?"
GERMAN_DATE = "%d.%m.%Y"
GERMAN = f"[0-9]{{1,2}}[.][0-9]{{1,2}}[.][0-9]{{4}}{CLOCK_AFTER}"
DIRECTIVES = {"%Y": "[0-9]{4}", "%y": "[0-9]{2}"} | {f"%{each}": "[0-9]{1,2}" for each in "dmHMS"}


class Broken(IntEnum):
    """Which rule a value breaks; 0 is none."""

    NOTHING = 0
    NULL = 1
    TYPE = 2
    BELOW = 3
    ABOVE = 4
    VALUES = 5
    TWICE = 6
    KNOWN = 7


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def cleaned(column: Column, cell: str) -> str:
    """SQL of a cell without the spaces around it, NULL when it counts as missing."""
    if column.type == "text":
        return f"nullif({cell}, '')"
    marks = [mark for mark in MISSING if mark not in (column.values or ())]
    trimmed = f"trim({cell}, {literal(SPACES)})"
    return f"CASE WHEN {trimmed} IN ({_listed(['', *marks])}) THEN NULL ELSE {trimmed} END"


def typed(column: Column, text: str, decimal: str = ".") -> str:
    """SQL of cleaned `text` in the column's type, NULL when it is not of that type."""
    match column.type:
        case "integer":
            text = _ungrouped(column, text, decimal)
            whole = f"regexp_full_match({text}, '[+-]?[0-9]+([.]0*)?')"
            if decimal == ",":
                whole = f"regexp_full_match({text}, '[+-]?[0-9]+(,0*)?')"
            digits = f"split_part({text}, '{decimal}', 1)"
            return f"CASE WHEN {whole} THEN TRY_CAST({digits} AS BIGINT) END"
        case "float":
            return _number(_ungrouped(column, text, decimal), decimal)
        case "boolean":
            yes, no = (f"lower({text}) IN ({_listed(words)})" for words in (TRUE, FALSE))
            return f"CASE WHEN {yes} THEN true WHEN {no} THEN false END"
        case "date":
            moment = _moment(text, column.format)
            return f"CASE WHEN {moment} = date_trunc('day', {moment}) THEN CAST({moment} AS DATE) END"
        case "datetime":
            return _moment(text, column.format)
        case _:
            return text


def _ungrouped(column: Column, text: str, decimal: str) -> str:
    """SQL of a number's text without the marks between its thousands; any other text stays."""
    mark = column.thousands
    # A workbook's numbers have a decimal point whatever the contract says of text: 1.234 is no thousand there.
    if mark is None or mark == decimal:
        return text
    group = f"[{THOUSANDS_SPACES if mark == ' ' else mark}]"
    shape = literal(f"[+-]?[0-9]{{1,3}}({group}[0-9]{{3}})+([{decimal}][0-9]*)?")
    without = f"regexp_replace({text}, {literal(group)}, '', 'g')"
    return f"(CASE WHEN regexp_full_match({text}, {shape}) THEN {without} ELSE {text} END)"


def _number(text: str, decimal: str) -> str:
    mark = "[.]" if decimal == "." else ","
    shape = f"[+-]?([0-9]+({mark}[0-9]*)?|{mark}[0-9]+)([eE][+-]?[0-9]+)?"
    digits = text if decimal == "." else f"replace({text}, ',', '.')"
    number = f"TRY_CAST({digits} AS DOUBLE)"
    return f"CASE WHEN regexp_full_match({text}, '{shape}') AND isfinite({number}) THEN {number} END"


def _moment(text: str, form: str | None) -> str:
    """SQL of the UTC timestamp in `text`, a date counting as its midnight."""
    # DuckDB wants the minutes of an offset apart from its hours: +0200 becomes +02:00. A bare date is left
    # alone, as -12-31 would look like an offset.
    offset = f"regexp_replace(replace({text}, ' Z', 'Z'), '([+-][0-9]{{2}})([0-9]{{2}})$', '\\1:\\2')"
    written = f"CASE WHEN length({text}) = 10 THEN {text} ELSE {offset} END"
    shape, formats = _formats(form) if form else (GERMAN, [GERMAN_DATE + clock for clock in CLOCKS])
    return (
        f"CASE WHEN regexp_full_match({text}, {literal(shape)}) THEN try_strptime({text}, [{_listed(formats)}]) "
        # Year 0 is 1 BC to DuckDB and nothing at all to Python.
        f"WHEN regexp_full_match({text}, '{ISO}') AND {text} NOT LIKE '0000%' "
        f"THEN TRY_CAST({written} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' END"
    )


def _formats(form: str) -> tuple[str, list[str]]:
    """The regular expression of what is written like `form`, and the formats that read it.

    A time may follow where the format has none.
    """
    parts = re.split(r"(%.)", form)
    shape = "".join(
        DIRECTIVES.get(part) or "".join(f"[{c}]" if c not in "^\\" else f"\\{c}" for c in part)
        for part in parts
    )
    if any(directive in form for directive in ("%H", "%M", "%S")):
        return shape, [form]
    return shape + CLOCK_AFTER, [form + clock for clock in CLOCKS]


def broken(column: Column, text: str, value: str) -> str:
    """SQL of the `Broken` code of a cell, from its cleaned `text` and its typed `value`."""
    required = column.role == "id" or not column.nulls
    cases = [f"WHEN {text} IS NULL THEN {int(Broken.NULL) if required else 0}"]
    cases.append(f"WHEN {value} IS NULL THEN {int(Broken.TYPE)}")
    cases += [f"WHEN {rule} THEN {int(code)}" for code, rule in rules(column, value).items()]
    return f"CASE {' '.join(cases)} ELSE 0 END"


def rules(column: Column, value: str) -> dict[Broken, str]:
    """SQL of what a typed value must not be: below the range, above it, or none of the allowed values."""
    found = {}
    if column.type in NUMERIC and column.min is not None:
        found[Broken.BELOW] = f"{value} < {column.min!r}"
    if column.type in NUMERIC and column.max is not None:
        found[Broken.ABOVE] = f"{value} > {column.max!r}"
    if column.values is not None:
        found[Broken.VALUES] = f"CAST({value} AS VARCHAR) NOT IN ({_listed(column.values)})"
    return found


def explain(column: Column, code: Broken) -> str:
    """Why a value was rejected, for people."""
    match code:
        case Broken.NULL:
            return "empty, and the contract allows no empty cell here"
        case Broken.TYPE:
            if column.format is not None:
                return f"not a {column.type} written like {column.format} or 2024-12-31"
            return f"not {KINDS.get(column.type, 'text')}"
        case Broken.BELOW:
            return f"below the least allowed value {column.min:.15g}"
        case Broken.ABOVE:
            return f"above the greatest allowed value {column.max:.15g}"
        case Broken.VALUES:
            shown = ", ".join((column.values or [])[:8])
            return f"not one of the allowed values ({shown}{', ...' if len(column.values or []) > 8 else ''})"
        case Broken.TWICE:
            return "a value that stands in an earlier row of this file; each may occur once"
        case Broken.KNOWN:
            return "a value that the table holds already; each may occur once"
        case _:
            return ""


def _listed(values: Sequence[str]) -> str:
    return ", ".join(literal(value) for value in values)
