"""The search: order of settings, budget, pruning, failures, and that it repeats itself."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tidemill.learn.candidates import recipe_of
from tidemill.learn.search import (
    ENDING_ROWS,
    Budget,
    CandidateSearch,
    Trial,
    can_end_itself,
    in_turn,
    is_uneven,
)
from tidemill.project import Column, Project

FOLDS = 3


def project(**training: object) -> Project:
    columns = {"x": Column(type="float"), "y": Column(type="category", role="target")}
    return Project(name="demo", task="binary", columns=columns, training=training)


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def search(described: Project, budget: Budget | None = None, name: str = "linear") -> CandidateSearch:
    return CandidateSearch(recipe_of(name, True), described, budget or Budget(described), False, FOLDS)


def scored(params: dict[str, float]) -> Iterator[float]:
    """Best at C = 0.1, the same on each fold."""
    for _ in range(FOLDS):
        yield 1.0 / (1.0 + abs(params["C"] - 0.1))


def run(found: CandidateSearch) -> list[Trial]:
    while not found.is_over:
        found.step(scored, must_finish=False)
    return found.trials


def test_the_default_comes_first_and_equal_seeds_give_equal_settings():
    first, second = (run(search(project(trials=12))) for _ in range(2))
    other = run(search(project(trials=12, seed=8)))
    assert first[0].params == recipe_of("linear", True).default
    assert [trial.params for trial in first] == [trial.params for trial in second]
    assert [trial.params for trial in first][1:] != [trial.params for trial in other][1:]


def test_what_is_learnt_from_earlier_settings_leads_to_better_ones():
    found = search(project(trials=40, pruning=False))
    trials = run(found)
    assert found.best is not None
    assert found.best.mean > 0.95 > trials[0].mean


def test_a_setting_that_falls_behind_is_given_up_after_a_fold():
    found = search(project(trials=12))
    values = iter([0.9, 0.9, 0.9, 0.9, 0.9, 0.1])

    def folds(params: dict[str, float]) -> Iterator[float]:  # noqa: ARG001
        value = next(values)
        for _ in range(FOLDS):
            yield value

    for _ in range(6):
        found.step(folds, must_finish=False)
    assert [trial.state for trial in found.trials] == ["complete"] * 5 + ["pruned"]
    assert found.trials[-1].scores == [0.1]


@pytest.mark.parametrize("failure", [MemoryError("no room"), ValueError("odd\nlines"), RuntimeError()])
def test_a_setting_that_fails_is_noted_and_the_next_goes_on(failure):
    found = search(project(trials=3))

    def fails(params: dict[str, float]) -> Iterator[float]:  # noqa: ARG001
        raise failure
        yield 0.0

    trial = found.step(fails, must_finish=True)
    assert trial.state == "failed"
    assert type(failure).__name__ in str(trial.error)
    assert "\n" not in str(trial.error)
    assert ("out of memory" in str(trial.error)) == isinstance(failure, MemoryError)
    assert found.step(scored, must_finish=True).state == "complete"
    assert found.best is not None


def test_a_metric_that_is_no_number_is_a_failure_of_that_setting():
    found = search(project(trials=2))
    trial = found.step(lambda _: iter([0.5, float("nan")]), must_finish=True)
    assert (trial.state, found.best) == ("failed", None)
    assert "roc_auc is nan on fold 2" in str(trial.error)


def test_a_candidate_of_which_nothing_works_is_left_alone():
    found = search(project(trials=500))

    def fails(params: dict[str, float]) -> Iterator[float]:  # noqa: ARG001
        raise ValueError
        yield 0.0

    while not found.is_over:
        found.step(fails, must_finish=True)
    assert len(found.trials) == 3


def test_no_setting_is_tried_twice():
    described = project(trials=150, pruning=False)
    found = search(described, name="random_forest")
    fits = []

    def folds(params: dict[str, object]) -> Iterator[float]:
        fits.append(params)
        for _ in range(FOLDS):
            yield 0.5

    while not found.is_over:
        found.step(folds, must_finish=False)
    assert found.asked == 150
    assert len(fits) == len({str(params) for params in fits}) == len(found.trials) < 150


def test_by_time_the_best_candidate_gets_most_of_it_and_the_end_is_kept():
    described, clock = project(seconds=100), Clock()
    budget = Budget(described, clock=clock)
    good, bad = (search(described, budget, name) for name in ("linear", "text"))
    worth = {"linear": 0.9, "text": 0.6}
    seconds: dict[str, float] = {}
    for turn in in_turn([good, bad], budget):

        def folds(params: dict[str, float], name: str = turn.name) -> Iterator[float]:  # noqa: ARG001
            for _ in range(FOLDS):
                clock.now += 1.0
                yield worth[name]

        before = clock.now
        trial = turn.step(folds, must_finish=False)
        # A trial's seconds are of the real clock; here they are those of this one.
        turn.trials[turn.trials.index(trial)] = Trial(
            trial.params, trial.scores, clock.now - before, trial.state
        )
        seconds[turn.name] = seconds.get(turn.name, 0.0) + clock.now - before
    assert seconds["linear"] > 2 * seconds["text"] > 0
    assert 90 <= clock.now <= 101


def test_by_time_a_slow_kind_does_not_keep_the_others_from_their_first_setting():
    described, clock = project(seconds=10), Clock()
    budget = Budget(described, clock=clock)
    names = ("random_forest", "linear", "hist_gradient_boosting")
    turns = in_turn([search(described, budget, name) for name in names], budget)
    assert next(turns).name == "linear"


def test_when_time_is_over_a_setting_ends_between_folds_and_does_not_count():
    described, clock = project(seconds=1), Clock()
    found = search(described, Budget(described, clock=clock))

    def slow(params: dict[str, float]) -> Iterator[float]:  # noqa: ARG001
        for _ in range(FOLDS):
            clock.now += 0.8
            yield 0.5

    assert found.step(slow, must_finish=True).state == "complete"
    clock.now = 0.5
    assert found.step(slow, must_finish=False).state == "out of time"
    assert found.asked == 1
    assert found.is_over


def test_a_search_that_is_repeated_does_not_look_at_the_time():
    described = project(seconds=1)
    clock = Clock()
    budget = Budget(described, {"linear": 5}, clock)
    clock.now = 1_000.0
    found = search(described, budget)
    assert [each.name for each in [found] if not each.is_over] == ["linear"]
    assert len(run(found)) == 5
    assert search(described, budget, "text").is_over


def test_uneven_classes_are_told():
    assert is_uneven([90, 10])
    assert not is_uneven([60, 40])
    assert not is_uneven([])


def test_optuna_waits_until_a_search_begins():
    code = (
        "import sys, tidemill.learn.training, resources.run_worker, api.app; print('optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=".")
    assert done.stdout.strip().endswith("False")


def test_fits_end_themselves_where_rows_are_many_of_every_class():
    assert can_end_itself(ENDING_ROWS, [])
    assert can_end_itself(ENDING_ROWS, [2_900, 100])
    assert not can_end_itself(ENDING_ROWS - 1, [])
    assert not can_end_itself(ENDING_ROWS, [2_990, 10])


def test_iterations_are_not_varied_where_fits_end_themselves():
    described = project(trials=1)
    recipe = recipe_of("hist_gradient_boosting", True)
    for ends_itself in (False, True):
        found = CandidateSearch(recipe, described, Budget(described), False, FOLDS, ends_itself=ends_itself)
        trial = found.step(lambda _: iter([0.5] * FOLDS), must_finish=True)
        assert ("max_iter" in trial.params) is not ends_itself
