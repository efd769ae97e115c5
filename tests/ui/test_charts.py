"""Each chart is a valid Vega-Lite specification (Altair checks it) that holds the points it was given."""

import json
from typing import Any

import pytest

from ui.components import charts

ROW = {"name": "Version 1", "value": 0.9, "low": 0.8, "high": 0.95, "baseline": 0.5, "live": True}


@pytest.mark.parametrize(
    ("chart", "holds"),
    [
        (charts.curves({"a": [[0, 0], [0.25, 1]]}, "x", "y", diagonal=True), 0.25),
        (charts.curves({"a": [[0, 0]], "b": [[1, 0.125]]}, "x", "y"), 0.125),
        (charts.calibration([{"predicted": 0.15, "observed": 0.1234, "rows": 9}]), 0.1234),
        (
            charts.calibration([{"predicted": 0.15, "observed": 0.2, "low": 0.1234, "high": 0.3, "rows": 9}]),
            0.1234,
        ),
        (charts.confusion(["a", "b"], [[57, 1], [0, 0]]), 57),
        (charts.residuals([[1.5, 2.5], [3, 4]]), 2.5),
        (charts.intervals([ROW, {**ROW, "baseline": None, "live": False}], "ROC AUC"), 0.95),
        (charts.probabilities({"a": 0.75, "b": 0.25}), 0.75),
        (charts.two_shares(["low", "high"], [0.5, 0.5], [0.125, 0.875]), 0.875),
    ],
)
def test_chart_is_valid_and_holds_its_points(chart: Any, holds: float) -> None:
    assert str(holds) in json.dumps(chart.to_dict()["datasets"])
