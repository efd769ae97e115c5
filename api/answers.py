"""Answers as JSON that every client can read: no NaN, times in ISO 8601, numbers plain."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from typing import Any

from starlette.responses import Response


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`document` as a JSON answer. Dataclasses, data frames' numbers, dates and sets are taken as they come."""
    try:
        text = _dumped(document)
    except ValueError:
        text = _dumped(_without_nan(document))
    return Response(text.encode("utf-8", "replace"), status, dict(headers or {}), "application/json")


def _dumped(document: Any) -> str:
    return json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, date | datetime):
        return None if value != value else value.isoformat()  # pandas' NaT is unequal to itself
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if hasattr(value, "tolist"):
        return value.tolist()  # numpy's scalars and arrays
    return str(value)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity; a number that is neither known nor finite is null."""
    if isinstance(value, Mapping):
        return {str(name): _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_nan(one) for one in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _without_nan(_plain(value))
