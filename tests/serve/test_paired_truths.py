"""Truths joined to pairs of answers, in whatever order they come."""

import json
from typing import Any

from tidemill.serve.paired_truths import MOST_PAIRS, PairedTruths


def truth(label: Any, prediction: str | None = None, entity: str | None = None) -> bytes:
    return json.dumps({"label": label, "prediction_id": prediction, "entity_id": entity}).encode()


def test_before_and_after_the_pair() -> None:
    found = PairedTruths(is_classification=True)
    found.take([truth("yes", "a")])
    found.add_pair("a", None, "yes", "no")
    found.add_pair("b", "p1", "no", "no")
    assert found.truths is None
    found.take([truth("yes", entity="p1"), truth(None, "a")])
    assert found.truths is not None
    assert (found.truths.count, found.truths.champion, found.truths.challenger) == (2, 0.5, 1.0)
    found.take([truth("no", "b")])  # it was corrected
    assert (found.truths.champion, found.truths.challenger) == (0.0, 0.5)


def test_labels_that_are_no_texts() -> None:
    found = PairedTruths(is_classification=True)
    for place, said in enumerate((True, 1)):
        found.add_pair(str(place), None, "true" if said is True else "1", "x")
        found.take([truth(said, str(place))])
    assert found.truths is not None
    assert (found.truths.champion, found.truths.challenger) == (0.0, 1.0)


def test_numbers_have_absolute_errors() -> None:
    found = PairedTruths(is_classification=False)
    for place in range(3):
        found.add_pair(str(place), None, 10.0, 13.0)
    found.take([truth(11, "0"), truth(9.0, "1"), truth("no number", "2")])
    assert found.truths is not None
    assert (found.truths.count, found.truths.champion, found.truths.challenger) == (2, 1.0, 3.0)


def test_what_is_not_at_hand_is_noticed_and_can_be_filled_in() -> None:
    found = PairedTruths(is_classification=True)
    found.add_pair("a", None, "yes", "yes")
    found.take([truth("yes", "a")])
    assert not found.missed
    found.take([truth("yes", "of an earlier process")])
    assert found.missed
    found.fill({"a": (1.0, 1.0), "of an earlier process": (0.0, 1.0)})
    assert found.truths is not None
    assert (found.truths.count, found.truths.champion, found.truths.challenger) == (2, 0.0, 0.5)


def test_it_keeps_the_newest_only() -> None:
    found = PairedTruths(is_classification=True)
    for place in range(MOST_PAIRS + 5):
        found.add_pair(str(place), "one entity", "yes", "yes")
    found.take([truth("yes", "0")])
    assert found.missed
    assert found.truths is None
