"""The search over settings of one candidate, by Optuna, and how much of it there is time for.

Here belongs what is tried next, what is given up, and when to stop. What a setting is worth is measured in
`learn/training.py`, through the function given to `CandidateSearch.step`. Optuna is imported when a search begins:
neither the services nor a worker that only waits pay for it.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tidemill.learn.candidates import Range, Recipe, Space
from tidemill.project import SMALLER_IS_BETTER, Project

if TYPE_CHECKING:
    import optuna

State = Literal["complete", "pruned", "failed", "out of time"]
# Settings that are gone through to the end before the median of the others can end one early.
BEFORE_PRUNING = 4
# A candidate none of whose first settings works is left alone.
HOPELESS = 3
# Balancing is tried where the rarest class has less than this share of what it would have among even ones.
UNEVEN = 0.5
# The candidates' shares of a time budget, by their place; the others get as much as the last.
SHARES = (6.0, 2.0, 1.0)
MOST_ERROR_TEXT = 300
# With fewer rows, or fewer of a class, what is held out of a fit is too small to say when it should end.
ENDING_ROWS = 3_000
ENDING_OF_CLASS = 50
# Kinds whose first setting alone can use up a small time budget, so that better ones were never tried.
SLOW = ("random_forest", "nearest_neighbours")


@dataclass(frozen=True)
class Trial:
    """One setting that the search tried: its metric on each fold it went through, seconds, and how it ended.

    `error` is the reason of a failure.
    """

    params: dict[str, Any]
    scores: list[float]
    seconds: float
    state: State = "complete"
    error: str | None = None

    @property
    def mean(self) -> float:
        """Over the folds gone through; NaN when there is none."""
        return float(np.mean(self.scores)) if self.scores else math.nan


class NotANumber(ArithmeticError):
    """A metric or an answer that is not a finite number."""


class Budget:
    """When a search ends: after so many settings of each candidate, or when its seconds are over.

    `replay` says how many settings of each candidate were tried by the search that is to be repeated; time then
    does not count.
    """

    def __init__(
        self,
        project: Project,
        replay: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._replay = replay
        self._each = project.training.trials_each
        self.seconds = project.training.seconds if replay is None else None
        self._clock = clock
        self._started = clock()

    def trials(self, name: str) -> int:
        """Settings of the candidate `name` at most."""
        return self._each if self._replay is None else self._replay.get(name, 0)

    @property
    def share(self) -> float:
        """How much of the seconds is used up: 0 without a limit, 1 and more when they are over."""
        return 0.0 if self.seconds is None else (self._clock() - self._started) / self.seconds

    def has_time_for(self, seconds: float) -> bool:
        """Whether half of a trial that takes `seconds` would still be in time."""
        return self.seconds is None or (1.0 - self.share) * self.seconds >= seconds / 2


# Fits and scores one setting on fold after fold, giving the metric of each as it is known.
Folds = Callable[[dict[str, Any]], Iterator[float]]


@dataclass
class CandidateSearch:
    """The settings of one candidate, tried one after another; equal seeds and results give equal settings.

    `first` are settings of an earlier version, tried before the candidate's own; what the space does not allow of
    them is as in those.
    With `ends_itself` a recipe that can find its iterations in each fit does so.
    """

    recipe: Recipe
    project: Project
    budget: Budget
    uneven: bool
    folds: int
    first: dict[str, Any] | None = None
    ends_itself: bool = False
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sign = -1.0 if self.project.metric in SMALLER_IS_BETTER else 1.0
        self._study = _study(self.project)
        ending = self.recipe.ending if self.ends_itself else None
        space, default = ending or (self.recipe.space, self.recipe.default)
        self._space = _space(self.recipe, space, self.project, self.uneven)
        default = dict(default)
        if default and self.recipe.weights is not None and self.recipe.weights[0] in self._space:
            default[self.recipe.weights[0]] = self._space[self.recipe.weights[0]][0]  # type: ignore[index]
        first = {**default, **self._allowed(self.first or {})}
        if first != default:
            self._study.enqueue_trial(first)
        if default:
            self._study.enqueue_trial(default)
        self.best: Trial | None = None
        self.asked = 0

    def _allowed(self, params: dict[str, Any]) -> dict[str, Any]:
        """What of `params` lies in the space."""
        return {
            name: value
            for name, value in params.items()
            if name in self._space and _lies_in(self._space[name], value)
        }

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def spent(self) -> float:
        """Seconds of all trials."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to try: budget, time, or no setting that works."""
        if self.asked >= self.budget.trials(self.name):
            return True
        if self.best is None:
            return len(self.trials) >= HOPELESS or (bool(self.trials) and self.budget.share >= 1.0)
        whole = [trial.seconds for trial in self.trials if trial.state == "complete"]
        return not self.budget.has_time_for(float(np.median(whole)))

    def step(self, run: Folds, must_finish: bool) -> Trial:
        """Try the next setting. With `must_finish` it is gone through even when time is over.

        A setting that was tried before gets the same verdict without work. A failure is kept with its reason and
        does not go further, unless it is a KeyboardInterrupt or the like.
        """
        import optuna

        asked = self._study.ask()
        params = {name: _suggest(asked, name, choice) for name, choice in self._space.items()}
        before = next((trial for trial in self.trials if trial.params == params), None)
        trial = before or self._run(run, asked, params, must_finish)
        if trial.state == "out of time":
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
            self.trials.append(trial)
            return trial
        self.asked += 1
        if trial.state == "complete":
            self._study.tell(asked, trial.mean)
        else:
            is_pruned = trial.state == "pruned"
            state = optuna.trial.TrialState.PRUNED if is_pruned else optuna.trial.TrialState.FAIL
            self._study.tell(asked, state=state)
        if before is None:
            self.trials.append(trial)
            if trial.state == "complete" and (self.best is None or self._is_better(trial, self.best)):
                self.best = trial
        return trial

    def _is_better(self, one: Trial, other: Trial) -> bool:
        return self.sign * one.mean > self.sign * other.mean

    def _run(self, run: Folds, asked: optuna.Trial, params: dict[str, Any], must_finish: bool) -> Trial:
        started = time.perf_counter()
        scores: list[float] = []
        state: State = "complete"
        error: str | None = None
        try:
            for score in run(params):
                if not math.isfinite(score):
                    raise NotANumber(f"the metric {self.project.metric} is {score} on fold {len(scores) + 1}")
                scores.append(score)
                if len(scores) == self.folds:
                    break
                if self.budget.share >= 1.0 and not must_finish:
                    state = "out of time"
                    break
                asked.report(float(np.mean(scores)), len(scores))
                if self.project.training.pruning and asked.should_prune():
                    state = "pruned"
                    break
        except Exception as failure:  # noqa: BLE001 - a model may raise anything; it is told, and others go on
            state, error = "failed", reason_of(failure)
            gc.collect()  # after a MemoryError what the fit had built is let go before the next one
        return Trial(params, scores, time.perf_counter() - started, state, error)


def reason_of(failure: Exception) -> str:
    """One line that says what went wrong."""
    text = " ".join(str(failure).split()) or "no more is known"
    if isinstance(failure, MemoryError):
        text = f"out of memory: {text}"
    return f"{type(failure).__name__}: {text}"[:MOST_ERROR_TEXT]


def in_turn(searches: Sequence[CandidateSearch], budget: Budget) -> Iterator[CandidateSearch]:
    """Which candidate tries its next setting: one after another, or by time, most of it to those that do best.

    With a time budget each candidate tries its first setting, the slow kinds last, then always the one that is
    farthest behind its share.
    """
    if budget.seconds is None:
        for search in searches:
            while not search.is_over:
                yield search
        return
    for number, search in enumerate(sorted(searches, key=lambda search: search.name in SLOW)):
        if not search.is_over and (number == 0 or budget.share < 1.0):
            yield search
    while left := [search for search in searches if search.trials and not search.is_over]:
        placed = sorted(searches, key=lambda search: _worth(search), reverse=True)
        shares = {id(search): SHARES[min(place, len(SHARES) - 1)] for place, search in enumerate(placed)}
        yield min(left, key=lambda search: search.spent / shares[id(search)])


def _worth(search: CandidateSearch) -> float:
    return search.sign * search.best.mean if search.best is not None else -math.inf


def _study(project: Project) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = project.training.trials_each
    smaller = project.metric in SMALLER_IS_BETTER
    study = optuna.create_study(
        direction="minimize" if smaller else "maximize",
        sampler=optuna.samplers.TPESampler(
            seed=project.training.seed, n_startup_trials=min(10, max(3, trials // 3))
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=BEFORE_PRUNING),
    )
    return study


def _space(recipe: Recipe, own: Space, project: Project, uneven: bool) -> dict[str, list[Any] | Range]:
    """What is varied: the model's own dials and, in a classification, the weights of the classes."""
    space = dict(own)
    if recipe.weights is None or not project.is_classification:
        return space
    name, balanced = recipe.weights
    wanted = project.training.class_weight
    if wanted == "balanced":
        return {**space, name: [balanced]}
    # Balancing bends probabilities: it cannot help a metric of their values, nor the share of right answers.
    if wanted == "auto" and uneven and project.metric not in ("log_loss", "accuracy"):
        return {**space, name: [None, balanced]}
    return space


def can_end_itself(rows: int, counts: Sequence[int]) -> bool:
    """Whether a tenth of a fold's rows is enough to tell when a fit should end."""
    return rows >= ENDING_ROWS and (not counts or min(counts) >= ENDING_OF_CLASS)


def is_uneven(counts: Sequence[int]) -> bool:
    """Whether the rarest class is so rare that balancing is worth a try."""
    return len(counts) > 1 and min(counts) < UNEVEN * sum(counts) / len(counts)


def _lies_in(choice: list[Any] | Range, value: Any) -> bool:
    if isinstance(choice, list):
        return value in choice
    return isinstance(value, int | float) and choice.low <= value <= choice.high


def _suggest(asked: optuna.Trial, name: str, choice: list[Any] | Range) -> Any:
    if isinstance(choice, Range):
        if choice.whole:
            return asked.suggest_int(name, int(choice.low), int(choice.high), log=choice.log)
        return asked.suggest_float(name, choice.low, choice.high, log=choice.log)
    return asked.suggest_categorical(name, choice)
