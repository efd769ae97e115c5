"""Reading a drift report of the API for the screen: its columns in order, the bins of one, its verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ui.components import words

PREDICTION = "_prediction"
VERDICTS = {
    "stable": (":material/check_circle:", "green", "No drift"),
    "drift": (":material/warning:", "red", "Drift"),
    "too few rows": (":material/hourglass_empty:", "gray", "Too few rows for a verdict"),
}


def verdict(report: Mapping[str, Any]) -> tuple[str, str, str]:
    """Icon, colour and words."""
    found = str(report.get("verdict", ""))
    return VERDICTS.get(found, (":material/help:", "gray", words.plain(found)))


def columns_of(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The report's columns, the farthest over (or nearest to) its threshold first; the prediction before all."""
    found = report.get("columns") or []
    columns = [dict(column) for column in found]
    return sorted(
        columns,
        key=lambda column: (name_of(column) != PREDICTION, not column.get("drifted"), -_excess(column)),
    )


def name_of(column: Mapping[str, Any]) -> str:
    return str(column.get("column", ""))


def title_of(column: Mapping[str, Any]) -> str:
    name = name_of(column)
    return "The model's answers" if name == PREDICTION else name


def _excess(column: Mapping[str, Any]) -> float:
    value, threshold = column.get("value"), column.get("threshold")
    if value is None or not threshold:
        return 0.0
    return float(value) / float(threshold)


def row(column: Mapping[str, Any]) -> dict[str, Any]:
    """The column as a line of the ranked table."""
    new = column.get("new_categories") or []
    return {
        "Column": title_of(column),
        "Verdict": "Drift" if column.get("drifted") else "Stable",
        "PSI": _rounded(column.get("value")),
        "Threshold": _rounded(column.get("threshold")),
        "Expected without drift": _rounded(column.get("expected_without_drift")),
        "Missing, reference": _share(column.get("missing_reference")),
        "Missing, current": _share(column.get("missing_current")),
        "Out of range": _share(column.get("out_of_range")),
        "New categories": ", ".join(str(name) for name in new),
    }


def bins_of(column: Mapping[str, Any]) -> tuple[list[str], Sequence[float], Sequence[float]]:
    """Names of the bins, and the share of the reference's and of the current rows in each; empty without any."""
    names = [str(name) for name in column.get("bins") or []]
    return names, column.get("reference_share") or [], column.get("current_share") or []


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)


def _share(value: Any) -> str:
    return words.NOTHING if value is None else f"{float(value):.1%}"
