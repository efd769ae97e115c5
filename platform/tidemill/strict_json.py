"""JSON as RFC 8259 has it and as every program reads it alike.

Python's reader takes NaN, 1e999, a key that comes twice and half of a surrogate pair. Each has turned into a wrong
number or an error far away somewhere: all are refused. Who sent it and what to do is the callers' business.
"""

from __future__ import annotations

import json
import math
from typing import Any


def loads(text: str, *, exact_numbers: bool = False) -> Any:
    """The document in `text`. With `exact_numbers` a number is the text that it is written with.

    Raises ValueError saying what is wrong (of a syntax error with its place: json.JSONDecodeError).
    """
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    try:
        document = (_EXACT if exact_numbers else _AS_FLOATS).decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if "\\u" in text and _has_surrogate(document):
        raise ValueError("a text holds half of a surrogate pair, which is no character")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {ascii(double)[:60]} is there twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number; send null when it is not known")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:30]} is too large")
    return number


def _finite_text(text: str) -> str:
    _finite(text)
    return text


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return any(_has_surrogate(name) or _has_surrogate(one) for name, one in value.items())
    return isinstance(value, list) and any(_has_surrogate(one) for one in value)


# Made once: making a reader costs as much as reading a short document.
_AS_FLOATS = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
_EXACT = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite_text, parse_int=str
)
