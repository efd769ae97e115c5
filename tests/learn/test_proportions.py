"""Intervals of shares: scipy's Wilson, and Newcombe's own example."""

import pytest
from scipy.stats import binomtest

from tidemill.learn.proportions import difference, wilson


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (10, 10), (1, 1), (56, 70), (48, 80), (3, 1000)])
def test_wilson_is_scipys(hits, rows):
    found, expected = wilson(hits, rows), binomtest(hits, rows).proportion_ci(method="wilson")
    assert found.value == hits / rows
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_difference_is_newcombes_example():
    # Newcombe (1998), table II, example (a), method 10: 56/70 less 48/80.
    found = difference(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    # Example (h): 10/10 less 0/10.
    found = difference(wilson(10, 10), wilson(0, 10))
    assert (found.low, found.high) == pytest.approx((0.6075, 1.0), abs=1e-4)


def test_no_row_tells_nothing():
    found = wilson(0, 0)
    assert (found.low, found.high) == (0.0, 1.0)
