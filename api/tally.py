"""Counters and histograms that cost a prediction next to nothing, collected in Prometheus' form when it asks.

Here belongs counting, also together with other workers of the API; which metrics there are is in `api/metrics.py`.
The client library's own counters took as long for one request as a linear model takes for one record.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

WRITE_SECONDS = 1.0

logger = logging.getLogger("tidemill.api")


class Count:
    """A number that only grows. Thread-safe."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def inc(self, by: int = 1) -> None:
        with self._lock:
            self.value += by

    def numbers(self) -> list[float]:
        return [self.value]


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

    def numbers(self) -> list[float]:
        """How many fell into each bucket, and the sum of all durations."""
        with self._lock:
            return [*self._counts, self._total]


Child = TypeVar("Child", Count, Spread)


class _Family(ABC, Collector, Generic[Child]):
    """One metric: a child for each combination of its labels' values."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self.name, self._documentation, self._labels = name, documentation, tuple(labels)
        self.beside: Callable[[str], list[list[Any]]] = lambda _: []
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

    def state(self) -> list[list[Any]]:
        """What was counted in this process: [labels, numbers] of each child."""
        with self._lock:
            children = list(self._children.items())
        return [[list(values), child.numbers()] for values, child in children]

    def _each(self) -> list[tuple[list[str], list[float]]]:
        """The numbers of all workers, put together by labels."""
        found: dict[tuple[str, ...], list[float]] = {}
        for values, numbers in (*self.state(), *self.beside(self.name)):
            known = found.get(tuple(values))
            found[tuple(values)] = (
                numbers if known is None else [one + other for one, other in zip(known, numbers, strict=True)]
            )
        return [(list(values), numbers) for values, numbers in found.items()]


class Counts(_Family[Count]):
    """A counter of Prometheus, with labels."""

    def _make(self) -> Count:
        return Count()

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self.name, self._documentation, labels=self._labels)
        for values, numbers in self._each():
            family.add_metric(values, numbers[0])
        yield family


class Durations(_Family[Spread]):
    """A histogram of Prometheus over seconds, with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, documentation, labels)
        self._bounds = bounds

    def _make(self) -> Spread:
        return Spread(self._bounds)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self.name, self._documentation, labels=self._labels)
        for values, numbers in self._each():
            *counts, total = numbers
            bounds = [*map(str, self._bounds), "+Inf"]
            family.add_metric(values, list(zip(bounds, accumulate(counts), strict=True)), total)
        yield family


class Beside:
    """What the other workers counted, by the files they leave beside ours."""

    def __init__(self, file: Path, families: Sequence[Counts | Durations]) -> None:
        self._file = file
        self._families = families
        for family in families:
            family.beside = self.of

    def write_forever(self) -> None:
        while True:
            self.write()
            time.sleep(WRITE_SECONDS)

    def write(self) -> None:
        document = {family.name: family.state() for family in self._families}
        aside = self._file.with_suffix(".aside")
        try:
            aside.write_text(json.dumps(document))
            aside.replace(self._file)
        except OSError as error:
            logger.warning("the counts of this worker could not be shared: %s", error)

    def of(self, name: str) -> list[list[Any]]:
        """The states of the family `name` in the other workers."""
        found: list[list[Any]] = []
        for file in self._file.parent.glob("*.json"):
            if file.name != self._file.name:
                found += json.loads(file.read_text()).get(name, [])
        return found
