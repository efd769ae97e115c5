"""Coefficients of agreement against published examples and the packages that others use."""

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from tidemill.errors import InvalidInput
from tidemill.labels import agreement

# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section D: four observers, twelve units.
KRIPPENDORFF = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]
# The worked example of Fleiss' kappa in most textbooks: ten subjects, fourteen raters, five categories.
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def units(observers: list[str]) -> list[dict[str, str | float]]:
    given = [line.split() for line in observers]
    return [
        {str(who): float(values[unit]) for who, values in enumerate(given) if values[unit] != "."}
        for unit in range(len(given[0]))
    ]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("interval", 0.849)])
def test_alpha_is_that_of_krippendorffs_example(level, published):
    found = agreement.krippendorff_alpha(units(KRIPPENDORFF), level)
    assert found.value == pytest.approx(published, abs=5e-4)
    assert found.rows == 11  # one unit has a single value, which pairs with nothing
    assert found.low < found.value < found.high


@pytest.mark.parametrize("level", ["nominal", "interval"])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_the_package_on_random_tables_with_gaps(level, seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 4, size=(4, 30)).astype(float)
    table[1] = np.where(rng.random(30) < 0.8, table[0], table[1])
    table[rng.random(table.shape) < 0.3] = np.nan
    rows = [{str(i): v for i, v in enumerate(unit) if not np.isnan(v)} for unit in table.T]
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
    assert agreement.krippendorff_alpha(rows, level).value == pytest.approx(expected, abs=1e-10)


def test_alpha_of_large_values_far_from_zero_keeps_its_digits():
    rng = np.random.default_rng(1)
    table = 1e9 + rng.normal(size=(3, 20))
    rows = [{str(i): v for i, v in enumerate(unit)} for unit in table.T]
    near = [{who: value - 1e9 for who, value in row.items()} for row in rows]
    far, close = (agreement.krippendorff_alpha(each, "interval").value for each in (rows, near))
    assert far == pytest.approx(close, abs=1e-6)


def test_fleiss_kappa_is_that_of_the_worked_example():
    found = agreement.fleiss_kappa(FLEISS)
    assert found.value == pytest.approx(0.210, abs=5e-4)
    assert found.value == pytest.approx(statsmodels_fleiss(np.array(FLEISS)), abs=1e-12)


def test_cohens_kappa_is_that_of_the_worked_example():
    # 50 grant proposals: both yes 20, both no 15, first alone yes 5, second alone yes 10.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = agreement.cohen_kappa(first, second)
    assert found.value == pytest.approx(0.4, abs=1e-12)
    assert found.value == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_intervals_cover_the_true_agreement_about_as_often_as_they_say():
    """Two people who agree by design in 0.6 + 0.4 / 2 of rows of two equal classes: kappa 0.6."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(120):
        first = rng.integers(0, 2, 150)
        second = np.where(rng.random(150) < 0.6, first, rng.integers(0, 2, 150))
        found = agreement.cohen_kappa(list(map(str, first)), list(map(str, second)))
        covered += found.low <= 0.6 <= found.high
    assert covered / 120 > 0.88


def test_equal_seeds_give_equal_intervals():
    assert agreement.fleiss_kappa(FLEISS, seed=3) == agreement.fleiss_kappa(FLEISS, seed=3)


def test_perfect_agreement_is_one():
    rows = [{"a": label, "b": label} for label in "xyxyx"]
    assert agreement.krippendorff_alpha(rows).value == pytest.approx(1.0)
    assert agreement.fleiss_kappa(agreement.table_of(rows)).value == pytest.approx(1.0)


@pytest.mark.parametrize(
    "found",
    [
        agreement.krippendorff_alpha([{"a": "x", "b": "x"}] * 4),
        agreement.krippendorff_alpha([{"a": "x"}, {"b": "y"}]),
        agreement.krippendorff_alpha([{"a": 2.0, "b": 2.0}] * 3, "interval"),
        agreement.fleiss_kappa([[2, 0], [2, 0]]),
        agreement.cohen_kappa([], []),
        agreement.cohen_kappa(["x", "x"], ["x", "x"]),
    ],
)
def test_where_nobody_could_disagree_there_is_no_value(found):
    assert (found.value, found.low, found.high) == (None, None, None)


def test_a_table_with_unequal_rows_is_refused():
    with pytest.raises(InvalidInput, match="same number"):
        agreement.fleiss_kappa([[2, 0], [1, 0]])
    with pytest.raises(InvalidInput, match="two labels"):
        agreement.cohen_kappa(["x"], [])
    assert agreement.table_of([{"a": "x", "b": "y"}, {"a": "x", "b": "y", "c": "y"}]) is None
