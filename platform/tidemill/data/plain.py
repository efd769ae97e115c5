"""Cells written plainly: SQL that types them at a fraction of the cost of `data/casting.py`, and tells the others.

A cell that a `Form` holds for has, by it, the very value that casting gives, and breaks no rule of its column. Of
other cells it says nothing: casting decides. So a form may be as narrow as it likes, and never wider.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidemill.data.casting import MISSING, SPACES, SQL_TYPES, broken, cleaned, literal, rules, typed
from tidemill.data.cell_texts import EXACT_INTEGERS
from tidemill.data.stretches import Stretch
from tidemill.project import CATEGORICAL, NUMERIC, TEMPORAL, Column

# A cell longer than the reader of records takes; its bytes are counted, so that it errs to the safe side.
LONGEST = 131_072


@dataclass(frozen=True)
class Form:
    """SQL of a cell's typed value, and of whether it holds; the value may stand under a name when that is asked."""

    value: str
    holds: str


@dataclass(frozen=True)
class Marks:
    """What the text at hand may hold; what it does not hold no row needs to be asked about."""

    underscores: bool = True
    double_signs: bool = True
    odd_spaces: bool = True

    @classmethod
    def of(cls, stretch: Stretch) -> Marks:
        signs = stretch.holds(b"+") and stretch.holds(b"+-", b"-+", b"++")
        return cls(stretch.holds(b"_"), signs, stretch.has_odd_spaces)


def native(column: Column, cell: str, value: str, kind: str) -> Form | None:
    """The form of cells that are no texts but of the SQL type `kind`; None where casting has to see their text.

    What holds is what casting makes of the text that says the same (`data/cell_texts.py`).
    """
    found: tuple[str, str] | None = None
    there = f"{cell} IS NOT NULL"
    match column.type, kind:
        case "integer", "BIGINT":
            found = cell, there
        case "integer", "DOUBLE":
            found = (
                f"TRY_CAST({cell} AS BIGINT)",
                f"{cell} = trunc({cell}) AND abs({cell}) < {EXACT_INTEGERS}",
            )
        case "float", "DOUBLE":
            found = cell, f"isfinite({cell})"
        case "float", "BIGINT":
            found = f"CAST({cell} AS DOUBLE)", f"abs({cell}) < {EXACT_INTEGERS}"
        case "boolean", "BOOLEAN":
            found = cell, there
        case "date", "DATE" if column.format is None:
            found = cell, there
        case "datetime", "TIMESTAMP" if column.format is None:
            found = cell, there
        case "datetime", "DATE" if column.format is None:
            found = f"CAST({cell} AS TIMESTAMP)", there
        case "date", "TIMESTAMP" if column.format is None:
            found = f"CAST({cell} AS DATE)", f"{cell} = date_trunc('day', {cell})"
    return found and _held(column, cell, value, *found)


def thorough(column: Column, cell: str, value: str, decimal: str) -> Form:
    """The form of every cell that is right, at the full cost: for columns that are not written plainly."""
    text = cleaned(column, cell)
    typed_value = typed(column, text, decimal)
    return Form(
        typed_value, f"({broken(column, text, value)}) = 0 AND coalesce(strlen({cell}), 0) < {LONGEST}"
    )


def plain(column: Column, cell: str, value: str, decimal: str, marks: Marks) -> Form:
    """The form of plain cells, where the column has one; `value` is the name that the value will have.

    `cell` is the name of the text, NULL where it is empty.
    """
    found = _written(column, cell, value, decimal, marks)
    if found is None:
        return thorough(column, cell, value, decimal)
    return _held(column, cell, value, *found)


def _held(column: Column, cell: str, value: str, typed_value: str, condition: str) -> Form:
    required = column.role == "id" or not column.nulls
    kept = [condition, *(f"NOT ({rule})" for rule in rules(column, value).values())]
    if column.values is not None and column.type in CATEGORICAL:
        # As an enumeration each value costs the same, however many there are; an IN would be run as a join.
        kept = [f"TRY_CAST({cell} AS ENUM ({', '.join(map(literal, column.values))})) IS NOT NULL"]
    holds = " AND ".join(kept)
    empty = "" if required else f" OR {cell} IS NULL"
    return Form(typed_value, f"coalesce({holds}, false){empty}")


def _written(column: Column, cell: str, value: str, decimal: str, marks: Marks) -> tuple[str, str] | None:
    """The value of a plain cell and the condition that it is one; None where nothing is plain."""
    cast = f"TRY_CAST({cell} AS {SQL_TYPES[column.type]})"
    same = f"CAST({value} AS VARCHAR) = {cell}"
    if column.type == "text":
        return cell, f"strlen({cell}) < {LONGEST}"
    if column.type in CATEGORICAL:
        return _words(column, cell, marks)
    if column.format is not None and column.type in TEMPORAL:
        return None
    if column.type == "integer":
        return cast, same
    if column.type in NUMERIC and decimal == ".":
        grouped = f" AND NOT contains({cell}, '_')" if marks.underscores else ""
        signed = f" AND NOT regexp_matches({cell}, '[+-][+-]')" if marks.double_signs else ""
        return cast, f"isfinite({value}){grouped}{signed}"
    if column.type == "date":
        return cast, f"strlen({cell}) = 10 AND {same}"
    if column.type == "datetime":
        return cast, f"strlen({cell}) BETWEEN 19 AND 26 AND {same}"
    if column.type == "boolean":
        return cast, f"{value} IS NOT NULL"
    return None


def _words(column: Column, cell: str, marks: Marks) -> tuple[str, str] | None:
    if column.values is not None:
        clean = all(text and text == text.strip(SPACES) for text in column.values)
        return (cell, "true") if clean else None
    # An exclamation mark is the first character behind the space: what is not below it begins with none.
    trimmed = f"trim({cell}, {literal(SPACES)}) = {cell}"
    if not marks.odd_spaces:
        trimmed = f"{cell} >= '!' AND NOT ends_with({cell}, ' ')"
    # An IN of so many words would be run as a join, and each OR on every row.
    missing = literal("|".join(map(re.escape, MISSING)))
    is_value = f"(CASE WHEN strlen({cell}) > {max(map(len, MISSING))} THEN true "
    is_value += f"ELSE NOT regexp_full_match({cell}, {missing}) END)"
    return cell, f"strlen({cell}) < {LONGEST} AND {trimmed} AND {is_value}"
