"""The charts of a model card as SVG text, without a drawing library: their colours are the page's, light or dark.

Here belongs drawing points that the evaluation has. PNG plots for Dagster and MLflow are `learn/plots.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_SIDE, _LEFT, _TOP, _BOTTOM = 250.0, 42.0, 8.0, 36.0
_WIDE, _ROW = 640.0, 22.0
_NAMES = 190.0
MOST_LINES = 4
# Of the range of values on either side, so that no dot and no bar lies on the frame.
_AIR = 0.04


def _svg(width: float, height: float, parts: Sequence[str], about: str) -> str:
    inside = "".join(parts)
    size = f'viewBox="0 0 {width:g} {height:g}" style="max-width:{1.25 * width:.0f}px"'
    label = f'role="img" aria-label="{escape(about)}" xmlns="http://www.w3.org/2000/svg"'
    return f"<svg {size} {label}>{inside}</svg>"


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "", extra: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}" {extra}>{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


class _Square:
    """A square plot with its axes; `at` turns values into places."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], x_title: str, y_title: str) -> None:
        self.x, self.y = _widened(*x), _widened(*y)
        self.legend: list[str] = []
        right, floor = _LEFT + _SIDE, _TOP + _SIDE
        self.parts = [f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" class="axis"/>']
        self.parts += [_text(self.at(tick, 0)[0], floor + 14, _short(tick)) for tick in ticks(*self.x)]
        for tick in ticks(*self.y):
            self.parts.append(_text(_LEFT - 5, self.at(0, tick)[1] + 4, _short(tick), "end"))
        self.parts.append(_text((_LEFT + right) / 2, floor + 30, x_title))
        middle = _TOP + _SIDE / 2
        self.parts.append(_text(9, middle, y_title, extra=f'transform="rotate(-90 9 {middle:.1f})"'))

    def at(self, x: float, y: float) -> tuple[float, float]:
        share_x = (x - self.x[0]) / (self.x[1] - self.x[0])
        share_y = (y - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + share_x * _SIDE, _TOP + _SIDE - share_y * _SIDE

    def path(self, points: Sequence[Sequence[float]], kind: str) -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        self.parts.append(f'<polyline points="{places}" class="{kind}"/>')

    def dot(self, x: float, y: float, size: float = 3.0) -> None:
        at_x, at_y = self.at(x, y)
        self.parts.append(f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="{size:.1f}" class="dot"/>')

    def bar(self, x: float, low: float, high: float) -> None:
        (at_x, first), (_, last) = self.at(x, low), self.at(x, high)
        self.parts.append(_line(at_x, first, at_x, last, "band"))

    def svg(self, about: str) -> str:
        below = _ROW if self.legend else 0.0
        return _svg(_LEFT + _SIDE + 14, _TOP + _SIDE + _BOTTOM + below, [*self.parts, *self.legend], about)


def curves(lines: Mapping[str, Sequence[Sequence[float]]], x: str, y: str, *, diagonal: bool = False) -> str:
    """One line per class through points of the unit square, as of ROC and precision-recall: MOST_LINES of them."""
    plot = _Square((0, 1), (0, 1), x, y)
    if diagonal:
        plot.path([(0, 0), (1, 1)], "faint")
    shown = list(lines.items())[:MOST_LINES]
    each = (_SIDE + 14) / len(shown)
    for place, (name, points) in enumerate(shown):
        plot.path(points, f"line c{place}")
        if len(lines) > 1:
            # Below the plot: inside there is no corner that no curve comes to.
            at_x, at_y = _LEFT + each * place, _TOP + _SIDE + _BOTTOM + 12
            plot.legend.append(_line(at_x, at_y - 4, at_x + 12, at_y - 4, f"line c{place}"))
            plot.legend.append(_text(at_x + 16, at_y, _cut(name, max(4, int((each - 20) / 6))), "start"))
    return plot.svg(f"{y} against {x}")


def calibration(bins: Sequence[Mapping[str, float]]) -> str:
    """Observed share against predicted probability, with the interval of each bin."""
    plot = _Square((0, 1), (0, 1), "Predicted probability", "Observed share")
    plot.path([(0, 0), (1, 1)], "faint")
    for one in bins:
        if "low" in one:
            plot.bar(one["predicted"], one["low"], one["high"])
        plot.dot(one["predicted"], one["observed"], 3.2)
    return plot.svg("Observed share against predicted probability")


def residuals(points: Sequence[Sequence[float]]) -> str:
    """Actual against predicted values of a regression."""
    both = [value for point in points for value in point]
    ends = _aired(min(both), max(both))
    plot = _Square(ends, ends, "Predicted", "Actual")
    plot.path([(ends[0], ends[0]), (ends[1], ends[1])], "faint")
    for predicted, actual in points:
        plot.dot(predicted, actual, 2.0)
    return plot.svg("Actual against predicted values")


def learning_curve(points: Sequence[Sequence[Any]], metric: str) -> str:
    """The metric by the number of train rows, with intervals."""
    values = [end for _, one in points for end in (one["low"], one["high"])]
    most = points[-1][0] * (1 + _AIR)
    plot = _Square((0, most), _aired(min(values), max(values)), "Train rows", metric)
    plot.path([(rows, one["value"]) for rows, one in points], "line")
    for rows, one in points:
        plot.bar(rows, one["low"], one["high"])
        plot.dot(rows, one["value"])
    return plot.svg(f"{metric} by train rows")


def confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Rows per true (down) and predicted (across) class, shaded by the share of the true class."""
    left, size = 84.0, min(60.0, 210.0 / len(classes))
    parts = [_text(left + size * len(classes) / 2, 12, "Predicted")]
    middle = 34 + size * len(classes) / 2
    parts.append(_text(9, middle, "True", extra=f'transform="rotate(-90 9 {middle:.1f})"'))
    for place, name in enumerate(classes):
        parts.append(_text(left + size * (place + 0.5), 28, _cut(name, max(3, int(size / 6)))))
        parts.append(_text(left - 6, 34 + size * (place + 0.5) + 4, _cut(name, 10), "end"))
        total = max(sum(counts[place]), 1)
        for column, count in enumerate(counts[place]):
            x, y = left + size * column, 34 + size * place
            share = count / total
            box = f'x="{x:.1f}" y="{y:.1f}" width="{size - 1.5:.1f}" height="{size - 1.5:.1f}"'
            parts.append(f'<rect {box} rx="3" class="cell" opacity="{0.06 + 0.55 * share:.2f}"/>')
            if size > 22:
                parts.append(_text(x + size / 2, y + size / 2 + 4, str(count), kind="ink"))
    height = 34 + size * len(classes) + 8
    return _svg(_LEFT + _SIDE + 14, height, parts, "Confusion of true and predicted classes")


def intervals(rows: Sequence[tuple[str, Mapping[str, float], bool]], mark: float | None, axis: str) -> str:
    """Named values with their intervals on one scale; `mark` is a line to compare with, True marks weak ones."""
    ends = [row[1][end] for row in rows for end in ("low", "high")] + ([mark] if mark is not None else [])
    low, high = _aired(min(ends), max(ends))
    height = _ROW * len(rows) + 38

    def at(value: float) -> float:
        return _NAMES + (value - low) / (high - low) * (_WIDE - _NAMES - 20)

    floor = _ROW * len(rows) + 6
    parts = [_line(_NAMES, floor, _WIDE - 20, floor, "axis")]
    if mark is not None:
        parts.append(_line(at(mark), 2, at(mark), floor, "faint"))
    for place, (name, one, is_weak) in enumerate(rows):
        y, kind = _ROW * (place + 0.5) + 2, "weak" if is_weak else ""
        parts.append(_text(_NAMES - 10, y + 4, _cut(name, 27), "end", "ink"))
        parts.append(_line(at(one["low"]), y, at(one["high"]), y, f"band {kind}"))
        parts.append(f'<circle cx="{at(one["value"]):.1f}" cy="{y:.1f}" r="3.6" class="dot {kind}"/>')
    parts += [_text(at(tick), floor + 14, _short(tick)) for tick in ticks(low, high)]
    parts.append(_text((_NAMES + _WIDE - 20) / 2, floor + 29, axis))
    return _svg(_WIDE, height, parts, axis)


def ticks(low: float, high: float) -> list[float]:
    """Round values from `low` to `high`, three to six of them, a step being 1, 2 or 5 of some power of ten."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _aired(low: float, high: float) -> tuple[float, float]:
    low, high = _widened(low, high)
    return low - _AIR * (high - low), high + _AIR * (high - low)


def _short(value: float) -> str:
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    # Ticks computed from ends come with the rounding of their sum.
    return f"{round(value, 10) + 0.0:.3g}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
