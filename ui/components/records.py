"""Records for prediction: a form from the contract.

Whether a record is right is for the API to say; here fields become numbers, truth values and blanks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import streamlit as st

from tidemill.client_types import ColumnInfo, ColumnProfile
from ui.components import words

ACROSS = 4
LONGEST_LIST = 50
TRUE_WORDS, FALSE_WORDS = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


def form_columns(columns: Sequence[ColumnInfo]) -> list[ColumnInfo]:
    """The columns that a record has: the id first, then the features."""
    ids = [column for column in columns if column["role"] == "id"]
    return ids + [column for column in columns if column["role"] == "feature"]


def form_fields(columns: Sequence[ColumnInfo], profile: Sequence[ColumnProfile]) -> dict[str, Any]:
    """Draw one field per column, filled with a usual value, and return the record they hold."""
    usual = {found["column"]: found for found in profile}
    shown = form_columns(columns)
    record: dict[str, Any] = {}
    for start in range(0, len(shown), ACROSS):
        for place, column in zip(st.columns(ACROSS), shown[start : start + ACROSS], strict=False):
            with place:
                record[column["name"]] = _field(column, usual.get(column["name"], {}))
    return {name: value for name, value in record.items() if value is not None}


def _field(column: ColumnInfo, usual: ColumnProfile) -> Any:
    key, label, hint = f"field_{column['name']}", words.plain(column["name"]), _hint(column)
    if column["role"] == "id":
        return st.text_input(label, key=key, help=hint, placeholder="optional") or None
    if column["type"] == "boolean":
        return _choice(label, key, hint, [True, False], default_value(column, usual))
    options = column["values"] or _frequent(column, usual)
    if options and column["type"] in ("category", "string"):
        return _choice(label, key, hint, options, default_value(column, usual))
    if column["type"] in ("integer", "float"):
        return _number(column, label, key, hint, default_value(column, usual))
    if column["type"] == "date":
        chosen = st.date_input(
            label, value=default_value(column, usual), key=key, help=hint, format="YYYY-MM-DD"
        )
        return chosen.isoformat() if isinstance(chosen, date) else None
    if column["type"] == "text":
        return st.text_area(label, key=key, help=hint, height=80) or None
    return st.text_input(label, value=default_value(column, usual) or "", key=key, help=hint) or None


def _choice(label: str, key: str, hint: str | None, options: Sequence[Any], usual: Any) -> Any:
    index = list(options).index(usual) if usual in options else None
    return st.selectbox(
        label,
        options,
        index=index,
        key=key,
        help=hint,
        placeholder="empty",
        format_func=lambda value: (
            {True: "Yes", False: "No"}[value] if isinstance(value, bool) else str(value)
        ),
    )


def _number(column: ColumnInfo, label: str, key: str, hint: str | None, usual: Any) -> int | float | None:
    if column["type"] == "integer":
        whole: int | None = st.number_input(
            label, value=usual, step=1, key=key, help=hint, placeholder="empty"
        )
        return whole
    found: float | None = st.number_input(
        label, value=usual, step=step_for(usual), format="%.6g", key=key, help=hint, placeholder="empty"
    )
    return found


def step_for(usual: float | None) -> float:
    """A power of ten, a hundredth to a tenth of the usual value."""
    order = int(f"{abs(usual):e}".rpartition("e")[2]) if usual else 0
    return float(10.0 ** (order - 1))


def _hint(column: ColumnInfo) -> str | None:
    parts = [column.get("description") or ""]
    if column["min"] is not None or column["max"] is not None:
        parts.append(f"Seen from {words.number(column['min'])} to {words.number(column['max'])}.")
    if column["role"] == "feature" and not column["nulls"]:
        parts.append("Must be given.")
    return " ".join(part for part in parts if part) or None


def _frequent(column: ColumnInfo, usual: ColumnProfile) -> list[str]:
    """Values to choose from where the contract lists none: those of the data, if they are few."""
    top = usual.get("top") or []
    few = usual.get("distinct", LONGEST_LIST + 1) <= min(len(top), LONGEST_LIST)
    return (
        [str(value) for value, _ in top if value is not None] if column["type"] == "category" and few else []
    )


def default_value(column: ColumnInfo, usual: ColumnProfile) -> Any:
    """The median of a number, the most frequent value of anything else; None when nothing is known."""
    middle = usual.get("p50")
    if column["type"] == "integer":
        return round(float(middle)) if middle is not None else None
    if column["type"] == "float":
        return float(f"{float(middle):.4g}") if middle is not None else None
    top = next((value for value, _ in usual.get("top") or [] if value is not None), None)
    if column["type"] == "boolean":
        return _truth_value(str(top)) if top is not None else None
    if column["type"] == "date":
        return _day(top)
    if column["type"] == "category" or column["values"]:
        return None if top is None else str(top)
    return None


def _day(value: Any) -> date | None:
    try:
        return datetime.fromisoformat(str(value)).date() if value is not None else None
    except ValueError:
        return None


def _truth_value(text: str) -> bool | None:
    lowered = text.lower()
    return True if lowered in TRUE_WORDS else False if lowered in FALSE_WORDS else None
