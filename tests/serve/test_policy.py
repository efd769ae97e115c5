"""The rules for canaries: what breaks one, and what chance alone must not."""

import random

import pytest
from scipy import stats

from tidemill.project_rollout import Rollout
from tidemill.serve.policy import (
    Truths,
    binned,
    chance,
    judge_drift,
    judge_errors,
    judge_latency,
    judge_quality,
    paired,
    psi,
    wilson,
)

POLICY = Rollout()


@pytest.mark.parametrize(
    ("failed", "asked", "is_broken"),
    [
        (0, 0, False),
        (1, 1, False),
        (2, 2, False),
        (3, 3, True),
        (3, 300, False),
        (20, 300, True),
        (6, 300, False),
    ],
)
def test_errors_count_from_three_on_and_surely_over_the_limit(
    failed: int, asked: int, is_broken: bool
) -> None:
    found = judge_errors(failed, asked, POLICY)
    assert (found is not None) == is_broken
    if found is not None:
        assert (found.kind, found.found, found.limit) == ("errors", failed / asked, 0.02)
        assert f"{failed} of {asked} requests" in found.text


def test_wilsons_interval_is_scipys() -> None:
    for successes, trials in ((0, 5), (3, 10), (10, 10), (70, 1000)):
        expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
        assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_latency_is_judged_beside_the_champion() -> None:
    fast, slow = [20.0] * 50, [70.0] * 50
    found = judge_latency(slow, fast, POLICY)
    assert found is not None
    assert (found.kind, found.found, found.limit) == ("latency", 70, 60)
    assert judge_latency(slow[:49], fast, POLICY) is None
    assert judge_latency(slow, fast[:49], POLICY) is None
    assert judge_latency(slow, slow, POLICY) is None
    assert judge_latency([49.0] * 50, [0.01] * 50, POLICY) is None  # slower, and yet fast
    absolute = Rollout(max_latency_ms=50)
    assert judge_latency(slow, [], absolute) is not None
    assert judge_latency(fast, [], absolute) is None
    # One slow answer in a hundred is not the 95th percentile.
    assert judge_latency([*fast, *fast, 900.0], [*fast, *fast], absolute) is None


def test_drift_of_labels_on_the_same_records() -> None:
    champion = ["no"] * 70 + ["yes"] * 30
    assert judge_drift(champion, champion, POLICY) is None
    found = judge_drift(champion, ["no"] * 20 + ["yes"] * 80, POLICY)
    assert found is not None
    assert found.kind == "drift"
    assert judge_drift(champion[:20], ["yes"] * 20, POLICY) is None  # too few
    assert judge_drift(champion, ["maybe"] * 100, POLICY) is not None


def test_drift_of_numbers_is_seen_by_the_champions_deciles() -> None:
    source = random.Random(3)
    champion = [source.gauss(0, 1) for _ in range(400)]
    near = [value + source.gauss(0, 0.1) for value in champion]
    assert judge_drift(champion, near, POLICY) is None
    assert judge_drift(champion, [value + 2 for value in champion], POLICY) is not None
    assert judge_drift([1.0] * 60, [1.0] * 60, POLICY) is None
    assert judge_drift([1.0] * 60, [2.0] * 60, POLICY) is not None


def test_chance_does_not_drift() -> None:
    """Independent samples of one distribution, which vary more than two models on the same records do."""
    source = random.Random(5)
    for _ in range(300):
        one, other = ([source.random() for _ in range(60)] for _ in range(2))
        assert judge_drift(one, other, POLICY) is None


def test_the_limit_of_chance_is_that_of_chi_square() -> None:
    for bins in (2, 5, 10):
        expected = stats.chi2.ppf(1 - 1e-4, bins - 1) * (1 / 200 + 1 / 300)
        assert chance(bins, 200, 300) == pytest.approx(expected, rel=0.08)


def test_psi_is_its_formula() -> None:
    assert binned(["a", "b"], ["b", "c"]) == ([1, 1, 0], [0, 1, 1])
    assert psi([70, 30], [40, 60]) == pytest.approx(0.3 * 0.6931 - 0.3 * -0.5596, abs=1e-3)


def test_quality_must_surely_be_worse() -> None:
    equal = paired([(0.0, 0.0)] * 20 + [(1.0, 1.0)] * 20)
    assert equal == Truths(40, 0.5, 0.5, 0.0, 0.0)
    assert judge_quality(equal, POLICY, is_regression=False) is None
    worse = paired([(0.0, 1.0)] * 15 + [(0.0, 0.0)] * 25)
    found = judge_quality(worse, POLICY, is_regression=False)
    assert found is not None
    assert (found.kind, found.found) == ("quality", 0.375)
    few = paired([(0.0, 1.0)] * 29)
    assert judge_quality(few, POLICY, is_regression=False) is None
    unsure = paired([(0.0, 1.0)] * 6 + [(1.0, 0.0)] * 3 + [(0.0, 0.0)] * 25)
    assert judge_quality(unsure, POLICY, is_regression=False) is None
    assert paired([(0.0, 1.0)]) is None
    assert judge_quality(None, POLICY, is_regression=False) is None


def test_a_regression_may_lose_a_part_of_the_champions_error() -> None:
    losses = [(10.0 + place % 3, 10.3 + place % 3) for place in range(60)]
    assert judge_quality(paired(losses), POLICY, is_regression=True) is None
    worse = [(one, one + 2) for one, _ in losses]
    assert judge_quality(paired(worse), POLICY, is_regression=True) is not None
