"""Counts of one process and of several, as Prometheus reads them."""

import json
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from api.tally import Beside, Counts, Durations


def families() -> tuple[Counts, Durations]:
    return Counts("asked", "Asked", ["who"]), Durations("took", "Took", ["who"], (0.1, 1.0))


def read(*collectors: Counts | Durations) -> set[str]:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return set(generate_latest(registry).decode().splitlines())


def test_counts_and_durations_are_prometheus_own() -> None:
    counts, durations = families()
    counts.labels('a"b').inc()
    counts.labels('a"b').inc(4)
    for seconds in (0.1, 0.5, 7.0):
        durations.labels("x").observe(seconds)
    lines = read(counts, durations)
    assert {"# TYPE asked_total counter", 'asked_total{who="a\\"b"} 5.0'} <= lines
    assert {
        "# TYPE took histogram",
        'took_bucket{le="0.1",who="x"} 1.0',
        'took_bucket{le="1.0",who="x"} 2.0',
        'took_bucket{le="+Inf",who="x"} 3.0',
        'took_count{who="x"} 3.0',
        'took_sum{who="x"} 7.6',
    } <= lines


def test_workers_count_together_also_with_one_that_is_gone(tmp_path: Path) -> None:
    mine, gone = families(), families()
    for number, (counts, durations) in enumerate((mine, gone), start=1):
        counts.labels("both").inc(number)
        durations.labels("both").observe(0.5)
    gone[0].labels("only there").inc()
    Beside(tmp_path / "2.json", gone).write()
    beside = Beside(tmp_path / "1.json", mine)
    beside.write()
    assert {'asked_total{who="both"} 3.0', 'asked_total{who="only there"} 1.0'} <= read(*mine)
    assert {'took_count{who="both"} 2.0', 'took_bucket{le="0.1",who="both"} 0.0'} <= read(*mine)
    assert set(json.loads((tmp_path / "1.json").read_text())) == {"asked", "took"}
