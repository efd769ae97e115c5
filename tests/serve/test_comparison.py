"""Counting pairs of answers: agreement, differences, and latencies in bounded space."""

import json
import random
from typing import Any

import numpy as np
import pytest

from tidemill.serve.comparison import MOST_LABEL_PAIRS, Comparison, Latencies, difference


def said(score: float) -> dict[str, Any]:
    label = "yes" if score >= 0.5 else "no"
    return {"label": label, "score": score, "probabilities": {"no": 1 - score, "yes": score}}


def number(value: float) -> dict[str, Any]:
    return {"label": value, "score": None, "probabilities": None}


def test_agreement_and_differences() -> None:
    found = Comparison()
    for one, other in ((0.9, 0.8), (0.6, 0.4), (0.1, 0.1), (0.2, 0.7)):
        found.add(said(one), said(other))
    shown = found.to_json()
    assert (shown["compared"], shown["agreement"]) == (4, 0.5)
    assert {(one["champion"], one["challenger"]) for one in shown["disagreements"]} == {
        ("yes", "no"),
        ("no", "yes"),
    }
    assert shown["difference"] == pytest.approx({"mean": 0.05, "mean_absolute": 0.2, "largest": 0.5})


def test_a_regression_has_differences_and_no_agreement() -> None:
    found = Comparison()
    found.add(number(10.0), number(12.0))
    found.add(number(10.0), number(9.0))
    shown = found.to_json()
    assert shown["agreement"] is None
    assert shown["difference"] == {"mean": 0.5, "mean_absolute": 1.5, "largest": 2.0}


def test_several_classes_are_apart_by_total_variation() -> None:
    one = {"label": "a", "score": 0.5, "probabilities": {"a": 0.5, "b": 0.3, "c": 0.2}}
    other = {"label": "a", "score": 0.6, "probabilities": {"a": 0.6, "b": 0.1, "d": 0.3}}
    assert difference(one, other) == pytest.approx((0.1, 0.4))
    assert difference({"label": "a"}, {"label": "b"}) is None


def test_nothing_compared_yet() -> None:
    shown = Comparison().to_json()
    assert (shown["compared"], shown["agreement"], shown["difference"]) == (0, None, None)
    assert shown["latency"]["champion"] == {"count": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None}


def test_another_process_goes_on_with_the_counts() -> None:
    whole, first = Comparison(), Comparison()
    pairs = [(said(place / 40), said(1 - place / 40)) for place in range(40)]
    for place, (one, other) in enumerate(pairs):
        whole.add(one, other)
        whole.champion.add(place + 1)
        if place < 20:
            first.add(one, other)
            first.champion.add(place + 1)
    second = Comparison(json.loads(json.dumps(first.kept)))
    for place, (one, other) in enumerate(pairs[20:], start=20):
        second.add(one, other)
        second.champion.add(place + 1)
    assert second.to_json() == whole.to_json()


def test_quantiles_are_within_a_twentieth() -> None:
    source = random.Random(2)
    values = [source.lognormvariate(0, 1.5) for _ in range(5000)]
    found = Latencies()
    for value in values:
        found.add(value)
    for share in (0.5, 0.95, 0.99):
        expected = float(np.quantile(values, share, method="inverted_cdf"))
        assert found.quantile(share) == pytest.approx(expected, rel=0.05)


def test_many_labels_take_no_more_space() -> None:
    found = Comparison()
    for place in range(MOST_LABEL_PAIRS * 3):
        found.add({"label": f"a{place}"}, {"label": f"b{place}"})
    assert len(found.kept["labels"]) <= MOST_LABEL_PAIRS + 1
    assert found.to_json()["agreement"] == 0
