"""Counters and histograms that cost a prediction next to nothing, collected in Prometheus' form when it asks.

Here belongs counting; which metrics there are is in `api/metrics.py`. The client library's own counters took as
long for one request as a linear model takes for one record.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Count:
    """A number that only grows. Thread-safe."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def inc(self, by: int = 1) -> None:
        with self._lock:
            self.value += by


class Spread:
    """How many durations (in seconds) fell between each two of `bounds`, and their sum. Thread-safe."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def observe(self, seconds: float) -> None:
        place = bisect_left(self._bounds, seconds)
        with self._lock:
            self._counts[place] += 1
            self._total += seconds

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """Buckets as Prometheus wants them, each with all that is shorter, and the sum of all durations."""
        with self._lock:
            counts, total = list(self._counts), self._total
        found, so_far = [], 0
        for bound, count in zip([*map(str, self._bounds), "+Inf"], counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found, total


Child = TypeVar("Child", Count, Spread)


class _Family(ABC, Collector, Generic[Child]):
    """One metric: a child for each combination of its labels' values."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._children: dict[tuple[str, ...], Child] = {}
        self._lock = threading.Lock()

    def labels(self, *values: str) -> Child:
        """The child of these values, made when there is none; keep it where it is needed often."""
        child = self._children.get(values)
        if child is None:
            with self._lock:
                child = self._children.setdefault(values, self._make())
        return child

    @abstractmethod
    def _make(self) -> Child: ...

    def _each(self) -> list[tuple[tuple[str, ...], Child]]:
        with self._lock:
            return list(self._children.items())


class Counts(_Family[Count]):
    """A counter of Prometheus, with labels."""

    def _make(self) -> Count:
        return Count()

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, child in self._each():
            family.add_metric(values, child.value)
        yield family


class Durations(_Family[Spread]):
    """A histogram of Prometheus over seconds, with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, documentation, labels)
        self._bounds = bounds

    def _make(self) -> Spread:
        return Spread(self._bounds)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, child in self._each():
            buckets, total = child.cumulated()
            family.add_metric(values, buckets, total)
        yield family
