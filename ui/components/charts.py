"""Charts as Altair specifications made from the API's points. Nothing is computed that the API should say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import altair as alt
import pandas as pd

HEIGHT = 280
WIDE_LABELS = 100  # letters in all, beyond which the names of bins stand aslant
MAIN, SECOND, FAINT = "#0f766e", "#d97706", "#94a3b8"


def curves(
    points: Mapping[str, Sequence[Sequence[float]]], x: str, y: str, *, diagonal: bool = False
) -> alt.Chart:
    """One line per class through [x, y] points in the unit square, as of ROC and precision-recall."""
    rows = [
        {"class": str(name), "x": point[0], "y": point[1], "order": index}
        for name, line in points.items()
        for index, point in enumerate(line)
    ]
    legend = alt.Legend(title=None, orient="bottom") if len(points) > 1 else None
    lines = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(interpolate="linear")
        .encode(
            x=_unit(alt.X, "x", x),
            y=_unit(alt.Y, "y", y),
            order="order:Q",
            color=alt.Color("class:N", legend=legend),
            tooltip=[
                alt.Tooltip("class:N", title="Class"),
                alt.Tooltip("x:Q", title=x, format=".3f"),
                alt.Tooltip("y:Q", title=y, format=".3f"),
            ],
        )
    )
    return _sized(_diagonal(x, y) + lines if diagonal else lines)


def calibration(bins: Sequence[Mapping[str, float]]) -> alt.Chart:
    """Observed share against predicted probability, with its 95 % interval; the size of a point tells its rows."""
    x, y = "Predicted probability", "Observed share"
    points = (
        alt.Chart(pd.DataFrame(list(bins)))
        .mark_line(color=MAIN)
        .encode(x=_unit(alt.X, "predicted", x), y=_unit(alt.Y, "observed", y))
    )
    dots = points.mark_circle(color=MAIN, opacity=1).encode(
        size=alt.Size("rows:Q", legend=None, scale=alt.Scale(range=[20, 140])),
        tooltip=[
            alt.Tooltip("predicted:Q", title="Predicted", format=".3f"),
            alt.Tooltip("observed:Q", title="Observed", format=".3f"),
            alt.Tooltip("rows:Q", title="Rows"),
        ],
    )
    # Models made before intervals were kept have none.
    if all("low" in one for one in bins):
        bars = alt.Chart(pd.DataFrame(list(bins))).mark_rule(color=MAIN, strokeWidth=1.5, opacity=0.5)
        dots = bars.encode(x=_unit(alt.X, "predicted", x), y=_unit(alt.Y, "low", y), y2="high:Q") + dots
    return _sized(_diagonal(x, y) + points + dots)


def confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> alt.Chart:
    """Rows per true and predicted class; shaded by the share of the true class."""
    rows = [
        {
            "truth": str(classes[line]),
            "predicted": str(classes[column]),
            "rows": found,
            "share": found / max(sum(counts[line]), 1),
        }
        for line in range(len(classes))
        for column, found in enumerate(counts[line])
    ]
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("predicted:N", title="Predicted", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("truth:N", title="Truth"),
        tooltip=[
            alt.Tooltip("truth:N", title="Truth"),
            alt.Tooltip("predicted:N", title="Predicted"),
            alt.Tooltip("rows:Q", title="Rows"),
            alt.Tooltip("share:Q", title="Share of the true class", format=".1%"),
        ],
    )
    scale = alt.Scale(domain=[0, 1], range=["#f0fdfa", MAIN])
    squares = base.mark_rect(cornerRadius=3, stroke="white", strokeWidth=2).encode(
        color=alt.Color("share:Q", scale=scale, legend=None)
    )
    numbers = base.mark_text(fontSize=13).encode(
        text="rows:Q",
        color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("#134e4a")),
    )
    return _sized(squares + numbers)


def residuals(points: Sequence[Sequence[float]]) -> alt.Chart:
    """Truth against prediction of held-out rows, with the line of perfect answers."""
    frame = pd.DataFrame(list(points), columns=["predicted", "truth"])
    ends = [float(frame.to_numpy().min()), float(frame.to_numpy().max())]
    line = (
        alt.Chart(pd.DataFrame({"predicted": ends, "truth": ends}))
        .mark_line(color=FAINT, strokeDash=[4, 4])
        .encode(x=alt.X("predicted:Q", title="Predicted"), y=alt.Y("truth:Q", title="Truth"))
    )
    scale = alt.Scale(zero=False)
    dots = (
        alt.Chart(frame)
        .mark_circle(color=MAIN, opacity=0.6)
        .encode(
            x=alt.X("predicted:Q", title="Predicted", scale=scale),
            y=alt.Y("truth:Q", title="Truth", scale=scale),
            tooltip=[
                alt.Tooltip("predicted:Q", title="Predicted", format=",.4g"),
                alt.Tooltip("truth:Q", title="Truth", format=",.4g"),
            ],
        )
    )
    return _sized(line + dots)


def intervals(rows: Sequence[Mapping[str, Any]], title: str) -> alt.Chart:
    """One line per model: its metric with the 95 % interval, and the dummy model's value as a tick.

    Each row holds name, value, low, high, baseline and live.
    """
    frame = pd.DataFrame(list(rows))
    order = list(frame["name"])
    y = alt.Y("name:N", title=None, sort=order)
    # Room at both ends, or an interval up to 1 and its label would be cut.
    scale = alt.Scale(zero=False, nice=True, padding=12)
    base = alt.Chart(frame).encode(y=y)
    rules = base.mark_rule(strokeWidth=2, color=MAIN).encode(
        x=alt.X("low:Q", title=title, scale=scale, axis=alt.Axis(tickCount=8)), x2="high:Q"
    )
    dots = base.mark_circle(size=90, opacity=1).encode(
        x="value:Q",
        color=alt.condition("datum.live", alt.value(SECOND), alt.value(MAIN)),
        tooltip=[
            alt.Tooltip("name:N", title="Model"),
            alt.Tooltip("value:Q", title=title, format=".4f"),
            alt.Tooltip("low:Q", title="Low", format=".4f"),
            alt.Tooltip("high:Q", title="High", format=".4f"),
            alt.Tooltip("baseline:Q", title="Dummy model", format=".4f"),
        ],
    )
    ticks = base.mark_tick(color=FAINT, thickness=2, size=14).encode(x="baseline:Q")
    return _sized(ticks + rules + dots, alt.Step(30))


def probabilities(found: Mapping[str, float]) -> alt.Chart:
    """A bar per class, likeliest first."""
    frame = pd.DataFrame([{"class": str(name), "p": share} for name, share in found.items()])
    base = alt.Chart(frame).encode(
        x=alt.X("p:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=5)),
        y=alt.Y("class:N", title=None, sort="-x"),
        tooltip=[
            alt.Tooltip("class:N", title="Class"),
            alt.Tooltip("p:Q", title="Probability", format=".2%"),
        ],
    )
    bars = base.mark_bar(color=MAIN, cornerRadiusEnd=3)
    return _sized(bars, alt.Step(28))


def contributions(found: Mapping[str, float], unit: str, most: int = 12) -> alt.Chart:
    """A bar per field, those that moved the answer most first; the rest of them together."""
    ordered = sorted(found.items(), key=lambda item: -abs(item[1]))
    shown = ordered[:most]
    if rest := ordered[most:]:
        shown.append((f"{len(rest)} other fields", sum(moved for _, moved in rest)))
    base = alt.Chart(pd.DataFrame(shown, columns=["field", "moved"])).encode(
        x=alt.X("moved:Q", title=unit.capitalize()),
        y=alt.Y("field:N", title=None, sort=[name for name, _ in shown]),
        color=alt.condition("datum.moved > 0", alt.value(MAIN), alt.value(SECOND)),
        tooltip=[
            alt.Tooltip("field:N", title="Field"),
            alt.Tooltip("moved:Q", title="Moved by", format="+.4g"),
        ],
    )
    return _sized(base.mark_bar(cornerRadius=2), alt.Step(24))


def two_shares(bins: Sequence[str], reference: Sequence[float], current: Sequence[float]) -> alt.Chart:
    """Share of rows per bin, reference beside current."""
    rows = [
        {"bin": str(name), "rows": kind, "share": share}
        for kind, shares in (("Reference", reference), ("Current", current))
        for name, share in zip(bins, shares, strict=False)
    ]
    angle = 0 if sum(len(str(name)) for name in bins) < WIDE_LABELS else -35
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            x=alt.X(
                "bin:N", title=None, sort=list(dict.fromkeys(map(str, bins))), axis=alt.Axis(labelAngle=angle)
            ),
            xOffset=alt.XOffset("rows:N", sort=["Reference", "Current"]),
            y=alt.Y("share:Q", title="Share of rows", axis=alt.Axis(format="%")),
            color=alt.Color(
                "rows:N",
                sort=["Reference", "Current"],
                scale=alt.Scale(domain=["Reference", "Current"], range=[FAINT, MAIN]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=[
                alt.Tooltip("rows:N", title="Rows"),
                alt.Tooltip("bin:N", title="Bin"),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
            ],
        )
    )
    return _sized(chart)


def _unit(channel: Any, field: str, title: str) -> Any:
    """A channel from 0 to 1."""
    return channel(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, 1]))


def _diagonal(x: str, y: str) -> alt.Chart:
    # The same titles as the layer above it: Vega-Lite would join different ones.
    line = alt.Chart(pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0]})).mark_line(
        color=FAINT, strokeDash=[4, 4]
    )
    return cast(alt.Chart, line.encode(x=_unit(alt.X, "x", x), y=_unit(alt.Y, "y", y)))


def _sized(chart: Any, height: Any = HEIGHT) -> alt.Chart:
    return cast(alt.Chart, chart.properties(height=height))
