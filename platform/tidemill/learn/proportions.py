"""Shares with intervals that hold on few rows: Wilson's for one, Newcombe's for a difference of two."""

from __future__ import annotations

import math

from tidemill.learn.metrics import Interval

_Z = 1.959963984540054


def wilson(hits: int, rows: int) -> Interval:
    """The share `hits` / `rows` with Wilson's 95 % score interval (1927). Without a row it is unknown: 0 to 1."""
    if rows == 0:
        return Interval(math.nan, 0.0, 1.0)
    share = hits / rows
    middle = share + _Z**2 / (2 * rows)
    half = _Z * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    scale = 1 + _Z**2 / rows
    # The ends of a share of 0 or 1 are exactly these, but for rounding.
    low = 0.0 if hits == 0 else (middle - half) / scale
    high = 1.0 if hits == rows else (middle + half) / scale
    return Interval(share, low, high)


def difference(first: Interval, second: Interval) -> Interval:
    """`first` less `second`, two shares of separate rows by `wilson`: Newcombe's interval (1998, method 10)."""
    gap = first.value - second.value
    low = gap - math.hypot(first.value - first.low, second.high - second.value)
    high = gap + math.hypot(first.high - first.value, second.value - second.low)
    return Interval(gap, low, high)
