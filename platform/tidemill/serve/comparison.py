"""Champion and challenger on the same records: how often they agree, how far they are apart, how long each takes.

Here belong the counts, bounded in size however many records there are, and what is read from them. Which records
are compared is up to `serve/challenger.py`, what follows from it to `serve/policy.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import ceil, exp, floor, isfinite, log
from typing import Any

# Latencies are counted in bins that grow by a twentieth, so a quantile is within 5 % of the true one.
_STEP = log(1.05)
_SMALLEST_MS = 0.001
MOST_LABEL_PAIRS = 200
OTHER = "…"


class Latencies:
    """Quantiles of times in milliseconds, from counts in bins of logarithmic width."""

    def __init__(self, bins: Mapping[str, int] | None = None) -> None:
        self._bins: Counter[int] = Counter({int(place): count for place, count in (bins or {}).items()})
        self.count = sum(self._bins.values())

    def add(self, milliseconds: float) -> None:
        self._bins[floor(log(max(milliseconds, _SMALLEST_MS) / _SMALLEST_MS) / _STEP)] += 1
        self.count += 1

    def quantile(self, share: float) -> float | None:
        """The time that `share` of them do not exceed, within 5 %; None without any."""
        wanted = ceil(share * self.count)
        seen = 0
        for place in sorted(self._bins):
            seen += self._bins[place]
            if seen >= wanted:
                return float(f"{_SMALLEST_MS * exp((place + 0.5) * _STEP):.4g}")
        return None

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "p50_ms": self.quantile(0.50),
            "p95_ms": self.quantile(0.95),
            "p99_ms": self.quantile(0.99),
        }

    @property
    def bins(self) -> dict[str, int]:
        """The counts, to go on from."""
        return {str(place): count for place, count in self._bins.items()}


class Comparison:
    """What is counted of pairs of answers to one record each."""

    def __init__(self, kept: Mapping[str, Any] | None = None) -> None:
        kept = kept or {}
        self.pairs: int = kept.get("pairs", 0)
        self._agreeing: int = kept.get("agreeing", 0)
        self._labelled: int = kept.get("labelled", 0)
        self._labels: Counter[tuple[str, str]] = Counter(
            {(one, other): count for one, other, count in kept.get("labels", [])}
        )
        self._signed: float = kept.get("signed", 0.0)
        self._absolute: float = kept.get("absolute", 0.0)
        self._largest: float = kept.get("largest", 0.0)
        self._measured: int = kept.get("measured", 0)
        self.champion = Latencies(kept.get("champion_ms"))
        self.challenger = Latencies(kept.get("challenger_ms"))

    def add(self, champion: Mapping[str, Any], challenger: Mapping[str, Any]) -> None:
        """Count one pair: `label`, `score` and `probabilities` of each, as a log row has them."""
        self.pairs += 1
        one, other = champion["label"], challenger["label"]
        if isinstance(one, str) and isinstance(other, str):
            self._labelled += 1
            self._agreeing += one == other
            self._count(one, other)
        apart = difference(champion, challenger)
        if apart is not None and isfinite(apart[0]):
            self._measured += 1
            self._signed += apart[0]
            self._absolute += apart[1]
            self._largest = max(self._largest, apart[1])

    def to_json(self) -> dict[str, Any]:
        """For people: agreement (null for a regression), label pairs that differ, differences, latencies."""
        differing = [
            {"champion": one, "challenger": other, "count": count}
            for (one, other), count in self._labels.most_common()
            if one != other or one == OTHER
        ]
        measured = self._measured
        return {
            "compared": self.pairs,
            "agreement": self._agreeing / self._labelled if self._labelled else None,
            "disagreements": differing[:20],
            "difference": {
                "mean": self._signed / measured,
                "mean_absolute": self._absolute / measured,
                "largest": self._largest,
            }
            if measured
            else None,
            "latency": {"champion": self.champion.to_json(), "challenger": self.challenger.to_json()},
        }

    @property
    def kept(self) -> dict[str, Any]:
        """Everything, to go on from in another process."""
        return {
            "pairs": self.pairs,
            "agreeing": self._agreeing,
            "labelled": self._labelled,
            "labels": [[one, other, count] for (one, other), count in self._labels.items()],
            "signed": self._signed,
            "absolute": self._absolute,
            "largest": self._largest,
            "measured": self._measured,
            "champion_ms": self.champion.bins,
            "challenger_ms": self.challenger.bins,
        }

    def _count(self, one: str, other: str) -> None:
        pair = (one, other)
        if pair not in self._labels and len(self._labels) >= MOST_LABEL_PAIRS:
            pair = (OTHER, OTHER)
        self._labels[pair] += 1


def difference(champion: Mapping[str, Any], challenger: Mapping[str, Any]) -> tuple[float, float] | None:
    """How far two answers are apart: (signed, absolute), challenger less champion; None where that says nothing.

    Numbers of a regression as they are; probabilities by their total variation, half the sum of the differences,
    which for two classes is the difference of the score. Signed is that of the score, where both have the same
    classes.
    """
    one, other = champion.get("probabilities"), challenger.get("probabilities")
    if one and other:
        absolute = sum(abs(other.get(name, 0.0) - one.get(name, 0.0)) for name in {*one, *other}) / 2
        return (challenger["score"] or 0.0) - (champion["score"] or 0.0), absolute
    one, other = champion["label"], challenger["label"]
    if isinstance(one, int | float) and isinstance(other, int | float):
        return other - one, abs(other - one)
    return None
