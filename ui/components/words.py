"""How things are said: dates, counts, metrics, names. Pure functions of values; no drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from tidemill.client_types import Flag

NOTHING = "–"
MARKDOWN_SIGNS = frozenset("\\`*_[]#$:~<>|")

TASKS = {
    "binary": "Binary classification",
    "multiclass": "Multiclass classification",
    "regression": "Regression",
    "text_classification": "Text classification",
}
METRICS = {
    "roc_auc": "ROC AUC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "log_loss": "Log loss",
    "average_precision": "Average precision",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "brier": "Brier score",
    "precision": "Precision",
    "recall": "Recall",
}
UNITS = {
    "log-odds": "log-odds",
    "probability": "probability",
    "log-score": "log-odds against the other classes",
    "value": "the answer's own unit",
}
SMALLER_IS_BETTER = frozenset({"log_loss", "mae", "rmse", "brier"})
ESTIMATORS = {
    "linear": "Linear model",
    "random_forest": "Random forest",
    "hist_gradient_boosting": "Gradient boosting",
}
TYPES = {
    "double": "float",
    "int64": "integer",
    "bool": "boolean",
    "date32": "date",
    "timestamp": "datetime",
}
PAGE_OF_ACTION = {
    "upload": ("app_pages/data.py", "Upload data"),
    "label": ("app_pages/label.py", "Label rows"),
    "train": ("app_pages/training.py", "Train a model"),
    "predict": ("app_pages/predict.py", "Make a prediction"),
    "send_truth": ("app_pages/predict.py", "Send the truth"),
    "look_at_alerts": ("app_pages/monitor.py", "Look at the alerts"),
    "all_well": ("app_pages/monitor.py", "Open the monitor"),
}


_PROBLEMS = {
    "unknown_category": "a category that is not in the contract",
    "out_of_range": "outside the contract's range",
    "missing_field": "not sent",
    "extra_field": "no column of the project",
}
_ACTIONS = {"flagged": "", "imputed": "counted as missing", "ignored": "left out"}


def flag(found: Flag) -> str:
    """A flag of an answer as words: scanner: a category that is not in the contract ('C9'), counted as missing."""
    value = f" ({found['found']})" if "found" in found else ""
    action = _ACTIONS[found["action"]]
    said = f"{_PROBLEMS[found['problem']]}{value}"
    return f"{found['field']}: {said}" + (f", {action}" if action else "")


def flags(found: Iterable[Flag]) -> str:
    """All flags of an answer in one cell."""
    return "; ".join(map(flag, found))


def count(value: int | None) -> str:
    """1234 -> 1,234."""
    return NOTHING if value is None else f"{value:,}"


def counted(value: int, one: str, many: str | None = None) -> str:
    """(1, "row") -> 1 row; (1234, "row") -> 1,234 rows."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def number(value: Any) -> str:
    """A measured value with four significant digits."""
    if value is None:
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def metric(name: str) -> str:
    return METRICS.get(name, plain(name))


def estimator(name: str) -> str:
    return ESTIMATORS.get(name, plain(name))


def column_type(name: str) -> str:
    """A stored column's type, as the contract calls it."""
    return TYPES.get(name.partition("[")[0], name)


def task(name: str | None) -> str:
    return TASKS.get(name or "", plain(name or ""))


def plain(name: str) -> str:
    """mean_radius -> Mean radius."""
    spaced = name.replace("_", " ").strip()
    return spaced[:1].upper() + spaced[1:]


def interval(found: Mapping[str, Any] | None) -> str:
    """0.981 (0.962 to 0.994), the 95 % interval in brackets."""
    if not found:
        return NOTHING
    low, high = found.get("low"), found.get("high")
    if low is None or high is None:
        return number(found.get("value"))
    return f"{number(found.get('value'))} ({number(low)} to {number(high)})"


def parse(moment: str | None) -> datetime | None:
    """An ISO 8601 moment; one without a zone is UTC."""
    if not moment:
        return None
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def local(moment: str | None) -> datetime | None:
    """The moment on the reader's clock, for sortable table cells."""
    parsed = parse(moment)
    return parsed.astimezone(_zone()) if parsed else None


def when(moment: str | None, now: datetime | None = None) -> str:
    """23 Nov 14:05, with the year when it is another one."""
    parsed = local(moment)
    if parsed is None:
        return NOTHING
    year = "" if parsed.year == (now or datetime.now(UTC)).year else f" {parsed.year}"
    return f"{parsed.day} {parsed:%b}{year} {parsed:%H:%M}"


def duration(start: str | None, end: str | None = None, now: datetime | None = None) -> str:
    """4.2 s, 2 min 5 s; until now when there is no end."""
    began, ended = parse(start), parse(end) or now or datetime.now(UTC)
    if began is None:
        return NOTHING
    seconds = max((ended - began).total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(found: int | None) -> str:
    """Bytes as kB or MB."""
    if found is None:
        return NOTHING
    if found < 1000:
        return f"{found} B"
    return f"{found / 1000:.1f} kB" if found < 1_000_000 else f"{found / 1_000_000:.1f} MB"


def literal(text: str, keep: str = "") -> str:
    """Text that must not be read as Markdown or as an icon's name, but for the signs to `keep`."""
    return "".join(f"\\{sign}" if sign in MARKDOWN_SIGNS and sign not in keep else sign for sign in text)


def _zone() -> tzinfo | None:
    name = st.context.timezone
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError):
        return None
