"""Training: a search over the candidates, by cross-validation on the train rows alone, and the fit of the best.

Here belongs what is fitted on which rows and what is chosen. Which settings are tried is in `learn/search.py`, what
cannot be learnt from in `learn/learnable.py`. The held-out rows are not looked at here; they are the business of
`learn/evaluation.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tidemill.errors import InvalidInput
from tidemill.learn import metrics
from tidemill.learn.adjustment import adjust
from tidemill.learn.candidates import recipe_of
from tidemill.learn.earlier import NOTHING, Earlier
from tidemill.learn.features import TRAIN
from tidemill.learn.fit_notes import notes_of_warnings
from tidemill.learn.folds import usable_folds
from tidemill.learn.learnable import checked_truth
from tidemill.learn.outcome import notes_of_failures, params_for_all, reason_of_absence
from tidemill.learn.own_model import OwnModels, load_own_models
from tidemill.learn.pipeline import make_pipeline
from tidemill.learn.scoring import Outputs, outputs, positive_class
from tidemill.learn.search import (
    Budget,
    CandidateSearch,
    NotANumber,
    Trial,
    can_end_itself,
    in_turn,
    is_uneven,
    reason_of,
)
from tidemill.project import SMALLER_IS_BETTER, Project
from tidemill.project_training import OWN_PREFIX

# One thread: OpenMP waits by spinning, and beside the services on two cores two threads took longer than one.
THREADS = 1
# Told the name and the trials of a candidate none of whose settings worked.
OnFailed = Callable[[str, list[Trial]], None] | None


@dataclass(frozen=True)
class Candidate:
    """The best setting of one estimator. `cv_std` is over the folds (population), `seconds` of all its trials."""

    name: str
    estimator: str
    params: dict[str, Any]
    cv_mean: float
    cv_std: float
    cv_scores: list[float]
    seconds: float
    metric: str
    trials: list[Trial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FittedCandidate(Candidate):
    """The candidate that was chosen, fitted on all train rows, calibrated and with its threshold."""

    pipeline: Pipeline


@dataclass(frozen=True)
class Baseline:
    """A model that ignores the features, by the same folds. `model` is fitted on all train rows."""

    strategy: str
    metrics: dict[str, float]
    model: Any


@dataclass(frozen=True)
class Progress:
    """`done` of `total` fits; `best_score` is the best cross-validated metric so far, `name` the estimator at work.

    Until the first setting has been through all folds, `best_score` is its mean over the folds done.
    """

    done: int
    total: int
    best_score: float
    name: str


@dataclass(frozen=True)
class Training:
    """What a training gave. `oof` has `_row`, `_score`, `_prediction` of the best candidate for the train rows.

    They are out-of-fold: each row was scored by a model that had not seen it (nor did its calibration), so they are
    comparable with scores of new rows. Rows that no fold held out (the oldest of a split by time, those beyond
    training.search_rows) have none.

    `trials` says how many settings of each candidate were tried: given to `train` again, the search repeats itself
    whatever the time. `calibration` and `threshold_choice` say what was chosen and what it brought;
    `model_source` is the model.py that the best needs.
    """

    candidates: list[Candidate]
    best: FittedCandidate
    baseline: Baseline
    metric: str
    oof: pd.DataFrame
    classes: list[str]
    positive: str | None
    rows: int
    seconds: float
    notes: list[str] = field(default_factory=list)
    threshold: float | None = None
    threshold_choice: dict[str, Any] | None = None
    calibration: dict[str, Any] = field(default_factory=dict)
    trials: dict[str, int] = field(default_factory=dict)
    model_source: bytes | None = None
    earlier: Earlier = NOTHING


def train(
    features: pd.DataFrame,
    project: Project,
    on_candidate: Callable[[Candidate], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    on_failed: OnFailed = None,
    model_source: bytes | None = None,
    trials: Mapping[str, int] | None = None,
    earlier: Earlier = NOTHING,
) -> Training:
    """Search, choose and fit on the rows of `features` whose `_split` is train.

    Equal rows, project and seed give equal models, unless training.seconds ends the search: then `trials` of the
    earlier Training does. `model_source` is the project's model.py, where it names classes of it; `earlier`
    is what is taken over from earlier versions. Raises InvalidInput when there are too few labelled
    rows, one class or value only, nothing in any feature, no fold on which the metric is defined, or when no
    setting of any candidate worked.
    """
    started = time.perf_counter()
    rows = earlier.rows(features[features["_split"] == TRAIN].reset_index(drop=True))
    truth = checked_truth(rows, project, features)
    own = load_own_models(model_source, project.is_classification) if model_source is not None else None
    work = _Work(rows, truth, project, own, on_progress, earlier)
    budget = Budget(project, trials)
    with threadpool_limits(limits=THREADS):
        baseline = work.baseline()
        found = work.search(budget, on_candidate, on_failed)
        best, scored = work.fitted(found)
    adjusted = adjust(best.pipeline, scored, work.truth, work.folds, project)
    fitted = replace(best, pipeline=adjusted.pipeline)
    return Training(
        candidates=[fitted if candidate.name == best.name else candidate for candidate, _ in found],
        best=fitted,
        baseline=baseline,
        metric=project.metric,
        oof=_out_of_fold(work, adjusted.scored),
        classes=work.classes,
        positive=positive_class(work.classes, project),
        rows=len(rows),
        seconds=time.perf_counter() - started,
        notes=work.notes,
        threshold=adjusted.threshold,
        threshold_choice=adjusted.threshold_choice,
        calibration=adjusted.calibration or {},
        trials=work.asked,
        model_source=model_source if best.estimator.startswith(OWN_PREFIX) else None,
        earlier=earlier,
    )


def dummy_of(project: Project) -> Any:
    """An unfitted model that ignores the features: class shares, or the mean (median where the metric is mae)."""
    if project.is_classification:
        return DummyClassifier(strategy="prior")
    return DummyRegressor(strategy="median" if project.metric == "mae" else "mean")


class _Work:
    """One training under way: the rows, the folds, and the count of fits."""

    def __init__(
        self,
        rows: pd.DataFrame,
        truth: NDArray[Any],
        project: Project,
        own: OwnModels | None,
        on_progress: Callable[[Progress], None] | None,
        earlier: Earlier,
    ) -> None:
        self.project, self.earlier = project, earlier
        self.own = own.recipes if own is not None else None
        self.names = list(dict.fromkeys(project.training.candidates))
        self.recipes = [recipe_of(name, project.is_classification, self.own) for name in self.names]
        self.all_rows, self.all_truth = rows[earlier.columns(project)], truth
        self.classes = [str(name) for name in np.unique(truth)] if project.is_classification else []
        self.sign = -1.0 if project.metric in SMALLER_IS_BETTER else 1.0
        self.notes: list[str] = []
        self.keys, self.truth = self._sample(rows)
        self.rows = self.keys[earlier.columns(project)]
        self.folds = usable_folds(self.keys, self.truth, project, self.notes)
        self.on_progress = on_progress
        self.best: float | None = None
        self.done = 0
        self.asked: dict[str, int] = {}

    def _sample(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[Any]]:
        """The rows that the search looks at, in their order."""
        most = self.project.training.search_rows
        if len(rows) <= most:
            return rows, self.all_truth
        self.notes.append(f"the search looked at {most:,} of {len(rows):,} train rows; the fit, at all")
        drawn = np.random.default_rng(self.project.training.seed).choice(len(rows), most, replace=False)
        drawn.sort()
        return rows.iloc[drawn].reset_index(drop=True), self.all_truth[drawn]

    def baseline(self) -> Baseline:
        """The dummy model on the same folds."""
        folds = []
        for fit, held in self.folds:
            model = dummy_of(self.project).fit(self.rows.iloc[fit], self.truth[fit])
            folds.append(metrics.values(self.truth[held], self._outputs(model, held)))
        means = {name: float(np.mean([fold[name] for fold in folds])) for name in folds[0]}
        model = dummy_of(self.project).fit(self.all_rows, self.all_truth)
        return Baseline(str(model.strategy), means, model)

    def search(
        self, budget: Budget, on_candidate: Callable[[Candidate], None] | None, on_failed: OnFailed
    ) -> list[tuple[Candidate, list[Outputs]]]:
        """Each candidate that worked, with outputs of its best setting. Raises InvalidInput when none did."""
        counts = np.unique(self.truth, return_counts=True)[1].tolist() if self.classes else []
        searches = [
            CandidateSearch(
                recipe,
                self.project,
                budget,
                is_uneven(counts),
                len(self.folds),
                self.earlier.first(recipe.name),
                can_end_itself(len(self.rows), counts),
            )
            for recipe in self.recipes
        ]
        total = sum(budget.trials(name) for name in self.names) * len(self.folds) + 1
        kept: dict[str, list[Outputs]] = {}
        ended: dict[str, list[int]] = {}
        noted: dict[str, list[str]] = {name: [] for name in self.names}
        told: set[str] = set()
        found: list[tuple[Candidate, list[Outputs]]] = []

        def settle(search: CandidateSearch) -> None:
            told.add(search.name)
            if search.best is None:
                self.notes.append(reason_of_absence(search))
                if on_failed is not None:
                    on_failed(search.name, search.trials)
                return
            candidate = _candidate(search, noted[search.name], ended[search.name])
            found.append((candidate, kept[search.name]))
            if on_candidate is not None:
                on_candidate(candidate)

        for search in in_turn(searches, budget):
            scored: list[Outputs] = []
            ends: list[int] = []
            before = self.done
            run = partial(self._folds_of, search.name, scored, ends, budget, total)
            with notes_of_warnings() as notes:
                trial = search.step(run, must_finish=self.best is None)
            noted[search.name] += notes
            # A setting that was tried before comes back without work, and so without outputs.
            if search.best is trial and scored:
                kept[search.name], ended[search.name] = scored, ends
                if self.best is None or self.sign * trial.mean > self.sign * self.best:
                    self.best = trial.mean
            if budget.seconds is None:
                # Folds that a pruned or failed setting did not go through count as done.
                self._step(search.name, trial.scores, total, before + len(self.folds) - self.done)
                if search.is_over:
                    self._step(search.name, trial.scores, total, self._left(search, budget))
                    settle(search)
        for search in searches:
            if search.name not in told:
                settle(search)
        self.asked = {search.name: search.asked for search in searches}
        if not found:
            raise InvalidInput(
                "No candidate could be trained",
                detail=f"project {self.project.name}: " + "; ".join(self.notes),
                remedy="Mend what the reasons name, or try other training.candidates in project.yaml.",
            )
        self.total = max(total, self.done + 1) if budget.seconds is None else self.done + 1
        return found

    def _left(self, search: CandidateSearch, budget: Budget) -> int:
        return (budget.trials(search.name) - search.asked) * len(self.folds)

    def _folds_of(
        self,
        name: str,
        scored: list[Outputs],
        ends: list[int],
        budget: Budget,
        total: int,
        params: dict[str, Any],
    ) -> Iterator[float]:
        """Fit and score one setting on each fold; outputs go to `scored`, iterations of a fit that ended itself to
        `ends`."""
        scores: list[float] = []
        for fit, held in self.folds:
            pipeline = make_pipeline(self.project, name, params, len(fit), self.own, self.earlier)
            pipeline.fit(self.rows.iloc[fit], self.truth[fit])
            found = self._outputs(pipeline, held)
            answers = found.scores if found.probabilities is None else found.probabilities
            if not np.isfinite(answers).all():
                raise NotANumber("the model's answers hold values that are not numbers")
            scores.append(metrics.values(self.truth[held], found)[self.project.metric])
            scored.append(found)
            if getattr(pipeline[-1], "early_stopping", False) is True:
                ends.append(int(pipeline[-1].n_iter_))
            share = budget.share
            self._step(name, scores, total if not share else int(self.done / min(share, 1.0)) + 2)
            yield scores[-1]

    def _outputs(self, model: Any, held: NDArray[Any]) -> Outputs:
        return outputs(model, self.rows.iloc[held], self.project, self.classes or None)

    def _step(self, name: str, scores: list[float], total: int, by: int = 1) -> None:
        if by < 1:
            return
        self.done += by
        best = self.best if self.best is not None else (float(np.mean(scores)) if scores else None)
        if self.on_progress is not None and best is not None and np.isfinite(best):
            self.on_progress(Progress(min(self.done, total), total, best, name))

    def fitted(self, found: list[tuple[Candidate, list[Outputs]]]) -> tuple[FittedCandidate, list[Outputs]]:
        """The best candidate that can be fitted on all train rows. Raises InvalidInput when none can."""
        reasons: list[str] = []
        for candidate, scored in sorted(found, key=lambda pair: -self.sign * pair[0].cv_mean):
            pipeline = make_pipeline(
                self.project, candidate.name, candidate.params, len(self.all_rows), self.own, self.earlier
            )
            try:
                with notes_of_warnings() as notes:
                    pipeline.fit(self.all_rows, self.all_truth)
            except Exception as failure:  # noqa: BLE001 - as in a trial: told, and the next best is taken
                reasons.append(f"{candidate.name} was left out: {reason_of(failure)} when fitted on all rows")
                continue
            self.notes += reasons
            self._step(candidate.name, candidate.cv_scores, self.total)
            known = {name: getattr(candidate, name) for name in Candidate.__dataclass_fields__}
            return FittedCandidate(
                **{**known, "notes": [*candidate.notes, *notes]}, pipeline=pipeline
            ), scored
        raise InvalidInput(
            "No candidate could be fitted on all train rows",
            detail=f"project {self.project.name}: " + "; ".join(reasons),
            remedy="Mend what the reasons name, or try other training.candidates in project.yaml.",
        )


def _candidate(search: CandidateSearch, notes: list[str], ends: list[int]) -> Candidate:
    """The best setting of a search; `ends` are the iterations of its fits, where those ended themselves."""
    best = search.best
    assert best is not None
    return Candidate(
        name=search.name,
        estimator=search.name,
        params=params_for_all(best, ends),
        cv_mean=best.mean,
        cv_std=float(np.std(best.scores)),
        cv_scores=best.scores,
        seconds=search.spent,
        metric=search.project.metric,
        trials=search.trials,
        notes=list(dict.fromkeys([*notes, *notes_of_failures(search)])),
    )


def _out_of_fold(work: _Work, scored: list[Outputs]) -> pd.DataFrame:
    held = np.concatenate([fold[1] for fold in work.folds])
    frame = pd.DataFrame(
        {
            "_row": work.keys["_row"].to_numpy(dtype=object)[held],
            "_score": np.concatenate([found.scores for found in scored]),
            "_prediction": np.concatenate([found.labels for found in scored]),
        }
    )
    return frame.iloc[np.argsort(held, kind="stable")].reset_index(drop=True)
