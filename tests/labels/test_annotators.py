"""The report on people who label."""

import pytest

from tidemill.labels.annotators import report, wilson
from tidemill.labels.ledger import Answer


def answer(who: str, row: str, label: str | float | None, seconds: float | None = None, **fields) -> Answer:
    base = {"created_at": "", "updated_at": "", "origin": "manual", "deleted_at": None, "problem": None}
    return Answer(
        "built-in",
        f"{who}|{row}",
        row,
        label,
        who,
        lead_seconds=seconds,
        revision=1,
        change=1,
        **base | fields,
    )


GIVEN = [
    answer("ada", "r1", "yes", 2.0),
    answer("ada", "r2", "no", 4.0),
    answer("ada", "r3", None, 30.0),
    answer("ada", "r4", "yes", deleted_at="2026-01-01"),
    answer("bob", "r1", "yes"),
    answer("bob", "r2", "yes"),
    answer("cyd", "r2", "no", 1.0),
    answer("cyd", "r5", "no", problem="two choices"),
]


def test_each_person_is_compared_with_the_others_and_with_what_is_known():
    ada, bob, cyd = report(GIVEN, {"r1": "yes", "r2": "no"})
    assert (ada.answers, ada.skipped, ada.skip_share, ada.median_seconds) == (2, 1, 1 / 3, 4.0)
    assert (ada.pairs, ada.agreement) == (3, 2 / 3)
    assert (bob.pairs, bob.agreement, bob.median_seconds) == (3, 1 / 3, None)
    assert (cyd.answers, cyd.pairs, cyd.agreement) == (1, 2, 0.5)
    assert (ada.gold, ada.gold_right, bob.gold_right) == (2, 2, 1)
    assert ada.gold_low < 0.5 < 1.0 == ada.gold_high
    assert ada.distance is None


def test_numbers_are_told_by_their_distance():
    given = [answer("ada", "r1", 3.0), answer("bob", "r1", 5.0), answer("ada", "r2", 1.0)]
    ada, _ = report(given, {"r2": 2.0}, numeric=True)
    assert (ada.agreement, ada.distance, ada.gold_error, ada.gold_right) == (None, 2.0, 1.0, None)


def test_nobody_has_no_report():
    assert report([], {}) == []


def test_wilsons_interval_is_that_of_the_literature():
    """Newcombe (1998), table I: 81 of 263, and 0 of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
