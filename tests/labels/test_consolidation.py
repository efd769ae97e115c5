"""Several answers become one label: votes, the people's error rates, numbers."""

import numpy as np
import pytest

from tidemill.errors import InvalidInput
from tidemill.labels.consolidation import Opinion, Verdict, consolidate, dawid_skene

CONFUSION = {
    "careful": [[0.95, 0.03, 0.02], [0.03, 0.94, 0.03], [0.02, 0.03, 0.95]],
    "hasty": [[0.7, 0.2, 0.1], [0.15, 0.7, 0.15], [0.1, 0.2, 0.7]],
    "mixes a and b": [[0.3, 0.65, 0.05], [0.6, 0.35, 0.05], [0.05, 0.05, 0.9]],
    "guesses": [[0.34, 0.33, 0.33]] * 3,
    "says c": [[0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.05, 0.05, 0.9]],
}
CLASSES = ["a", "b", "c"]


def simulated(rows: int, seed: int) -> tuple[dict[str, str], list[Opinion]]:
    """Rows with a true class, and what each person says of them."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, size=rows, p=[0.5, 0.3, 0.2])
    opinions = [
        Opinion(f"r{row}", who, CLASSES[rng.choice(3, p=chances[kind])])
        for row, kind in enumerate(truth)
        for who, chances in CONFUSION.items()
    ]
    return {f"r{row}": CLASSES[kind] for row, kind in enumerate(truth)}, opinions


def right(verdicts: dict[str, Verdict], truth: dict[str, str]) -> float:
    return float(np.mean([verdicts[row].label == label for row, label in truth.items()]))


def given(**answers: str) -> list[Opinion]:
    """`r1="aab"`: three people, a letter each."""
    return [
        Opinion(row, f"p{index}", label)
        for row, labels in answers.items()
        for index, label in enumerate(labels)
    ]


def test_the_most_frequent_answer_wins_and_a_tie_is_left_open():
    found = consolidate(given(r1="aab", r2="ab", r3="c", r4="aabbc"), "majority")
    assert found["r1"] == Verdict("a", pytest.approx(2 / 3), 3)
    assert found["r2"] == Verdict(None, 0.5, 2)
    assert found["r3"] == Verdict("c", 1.0, 1)
    assert found["r4"].label is None


def test_a_persons_last_answer_counts():
    assert consolidate([Opinion("r1", "ada", "a"), Opinion("r1", "ada", "b")], "majority")["r1"] == Verdict(
        "b", 1.0, 1
    )


@pytest.mark.parametrize(("how", "value"), [("median", 2.0), ("mean", 4.0)])
def test_numbers_have_a_middle_and_a_spread(how, value):
    opinions = [Opinion("r1", who, number) for who, number in (("a", 1.0), ("b", 2.0), ("c", 9.0))]
    found = consolidate([*opinions, Opinion("r2", "a", 5.0)], how)
    assert found["r1"] == Verdict(value, None, 3, pytest.approx(np.std([1, 2, 9])))
    assert found["r2"] == Verdict(5.0, None, 1, None)


def test_error_rates_are_recovered_and_beat_the_vote():
    truth, opinions = simulated(1500, seed=1)
    found = dawid_skene(opinions)
    assert found.converged
    for who, chances in CONFUSION.items():
        assert np.abs(found.confusion[who] - np.array(chances)).max() < 0.1, who
    assert np.abs(found.priors - [0.5, 0.3, 0.2]).max() < 0.05
    assert right(found.verdicts, truth) > right(consolidate(opinions, "majority"), truth) + 0.05


def test_a_confidence_is_as_often_right_as_it_says():
    truth, opinions = simulated(1500, seed=2)
    verdicts = dawid_skene(opinions).verdicts
    confidence = np.array([verdicts[row].confidence for row in truth])
    hits = np.array([verdicts[row].label == label for row, label in truth.items()])
    assert abs(confidence.mean() - hits.mean()) < 0.03
    unsure = confidence < 0.9
    assert unsure.sum() > 50
    assert abs(confidence[unsure].mean() - hits[unsure].mean()) < 0.12


@pytest.mark.parametrize("priors", [(1.0, 0.1), (0.0, 0.0), (5.0, 1.0)])
def test_the_objective_never_falls(priors):
    _, opinions = simulated(200, seed=3)
    found = dawid_skene(opinions, prior_right=priors[0], prior_wrong=priors[1])
    steps = np.diff(found.objective)
    assert steps.min() > -1e-6
    assert found.converged


def test_one_answer_a_row_is_believed():
    found = consolidate(given(r1="a", r2="b", r3="a"), "dawid-skene")
    assert [found[row].label for row in ("r1", "r2", "r3")] == ["a", "b", "a"]


def test_two_equal_people_who_disagree_leave_it_open():
    opinions = [*given(r1="ab", r2="ba"), *given(r3="aa", r4="bb", r5="aa", r6="bb")]
    found = dawid_skene(opinions).verdicts
    assert found["r1"].label is None
    assert found["r3"].label == "a"


def test_known_rows_teach_whom_to_believe():
    """Two who always contradict a third: only rows with a known label tell who is right."""
    rows = {f"r{index}": "ab"[index % 2] for index in range(40)}
    wrong = {"a": "b", "b": "a"}
    opinions = [
        Opinion(row, who, label if who == "knows" else wrong[label])
        for row, label in rows.items()
        for who in ("knows", "errs", "errs too")
    ]
    blind = dawid_skene(opinions).verdicts
    taught = consolidate(opinions, "dawid-skene", {f"r{index}": rows[f"r{index}"] for index in range(10)})
    assert right(blind, rows) == 0.0
    assert right(taught, rows) == 1.0


def test_extreme_numbers_of_answers_do_not_underflow():
    opinions = [Opinion("r1", f"p{index}", "a" if index % 3 else "b") for index in range(3000)]
    found = dawid_skene(opinions).verdicts["r1"]
    assert found.label == "a"
    assert np.isfinite(found.confidence)


def test_no_answers_are_said():
    with pytest.raises(InvalidInput, match="no answers"):
        dawid_skene([])
    assert consolidate([], "majority") == {}
