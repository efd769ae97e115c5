"""Training: a small random search over the candidates, by cross-validation on the train rows alone.

Here belongs what is fitted on which rows and what is chosen. The held-out rows are not looked at here; they are
the business of `learn/evaluation.py`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ParameterSampler,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tidemill.errors import InvalidInput
from tidemill.learn import metrics
from tidemill.learn.features import TRAIN
from tidemill.learn.pipeline import default_params, make_pipeline, search_space
from tidemill.learn.scoring import Outputs, outputs, positive_class
from tidemill.project import SMALLER_IS_BETTER, Project

FEWEST_ROWS = 20
# One thread: OpenMP waits by spinning, and beside the services on two cores two threads took longer than one.
THREADS = 1

Fold = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Trial:
    """One setting that the search tried: its metric on each fold, and seconds of fitting and scoring."""

    params: dict[str, Any]
    scores: list[float]
    seconds: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))


@dataclass(frozen=True)
class Candidate:
    """The best setting of one estimator, fitted on all train rows. `cv_std` is over the folds (population)."""

    name: str
    estimator: str
    params: dict[str, Any]
    pipeline: Pipeline
    cv_mean: float
    cv_std: float
    cv_scores: list[float]
    seconds: float
    metric: str
    trials: list[Trial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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

    They are out-of-fold: each row was scored by a model that had not seen it, so they are comparable with scores
    of new rows. Rows that no fold held out (the oldest of a split by time) have none.
    """

    candidates: list[Candidate]
    best: Candidate
    baseline: Baseline
    metric: str
    oof: pd.DataFrame
    classes: list[str]
    positive: str | None
    rows: int
    seconds: float
    notes: list[str] = field(default_factory=list)


def train(
    features: pd.DataFrame,
    project: Project,
    on_candidate: Callable[[Candidate], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Training:
    """Search, choose and fit on the rows of `features` whose `_split` is train.

    Equal rows, project and seed give equal models. Raises InvalidInput when there are too few labelled rows, one
    class only, or no fold on which the metric is defined.
    """
    started = time.perf_counter()
    rows = features[features["_split"] == TRAIN].reset_index(drop=True)
    work = _Work(rows, _truth(rows, project, features), project, on_progress)
    with threadpool_limits(limits=THREADS):
        baseline = work.baseline()
        found = []
        for estimator in dict.fromkeys(project.training.candidates):
            candidate, scored = work.search(estimator)
            found.append((candidate, scored))
            if on_candidate is not None:
                on_candidate(candidate)
    sign = work.sign
    best, scored = max(found, key=lambda pair: sign * pair[0].cv_mean)
    return Training(
        candidates=[candidate for candidate, _ in found],
        best=best,
        baseline=baseline,
        metric=project.metric,
        oof=_out_of_fold(rows, work.folds, scored),
        classes=work.classes,
        positive=positive_class(work.classes, project),
        rows=len(rows),
        seconds=time.perf_counter() - started,
        notes=work.notes,
    )


def _truth(rows: pd.DataFrame, project: Project, features: pd.DataFrame) -> NDArray[Any]:
    """Labels of the train rows; raises InvalidInput when nothing can be learnt from them."""
    labelled = len(features)
    if labelled < FEWEST_ROWS or len(rows) < FEWEST_ROWS // 2:
        raise InvalidInput(
            "There are too few labelled rows to train on",
            detail=f"project {project.name}: {labelled} labelled rows, {len(rows)} of them for training; "
            f"{FEWEST_ROWS} and {FEWEST_ROWS // 2} are the least",
            remedy="Send more rows whose target is filled in.",
        )
    truth = truth_of(rows, project)
    if project.is_classification and len(np.unique(truth)) < 2:
        raise InvalidInput(
            "All rows to train on have the same label",
            detail=f"project {project.name}: each of the {len(rows)} train rows is {str(truth[0])!r}",
            remedy="Send rows of at least one other class, or change training.split in project.yaml.",
        )
    if project.task == "binary":
        _check_binary(sorted(set(truth_of(features, project))), project)
    return truth


def _check_binary(classes: list[str], project: Project) -> None:
    shown = ", ".join(repr(str(name)) for name in classes[:10])
    if len(classes) != 2:
        raise InvalidInput(
            "A binary task has two classes",
            detail=f"project {project.name}: the labels of {project.target!r} are {shown}",
            remedy="Set task to multiclass in project.yaml, or correct the labels.",
        )
    positive = project.labels.positive
    if positive is not None and positive not in classes:
        raise InvalidInput(
            "The positive class does not occur",
            detail=f"project {project.name}: labels.positive is {positive!r}, the labels are {shown}",
            remedy="Name one of them under labels.positive in project.yaml.",
        )


def dummy_of(project: Project) -> Any:
    """An unfitted model that ignores the features: class shares, or the mean (median where the metric is mae)."""
    if project.is_classification:
        return DummyClassifier(strategy="prior")
    return DummyRegressor(strategy="median" if project.metric == "mae" else "mean")


def truth_of(rows: pd.DataFrame, project: Project) -> NDArray[Any]:
    """`_label` as an array of str, or of float64 for a regression."""
    if project.is_classification:
        return np.array(rows["_label"].astype(str).tolist(), dtype=str)
    return rows["_label"].to_numpy(dtype=np.float64)


class _Work:
    """One training under way: the rows, the folds, and the count of fits."""

    def __init__(
        self,
        rows: pd.DataFrame,
        truth: NDArray[Any],
        project: Project,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.project = project
        self.truth = truth
        self.rows = rows[list(project.feature_columns)]
        self.classes = [str(name) for name in np.unique(truth)] if project.is_classification else []
        self.sign = -1.0 if project.metric in SMALLER_IS_BETTER else 1.0
        self.notes: list[str] = []
        self.folds = self._usable(_folds(rows, truth, project, self.notes))
        self.on_progress = on_progress
        self.best: float | None = None
        self.done = 0
        estimators = len(dict.fromkeys(project.training.candidates))
        self.total = estimators * (project.training.trials * len(self.folds) + 1)

    def _usable(self, folds: list[Fold]) -> list[Fold]:
        """The folds that have two classes on both sides."""
        if self.project.is_classification:
            usable = [fold for fold in folds if all(len(np.unique(self.truth[side])) > 1 for side in fold)]
        else:
            usable = [fold for fold in folds if all(len(side) > 1 for side in fold)]
        if len(usable) < len(folds):
            self.notes.append(
                f"{len(folds) - len(usable)} of {len(folds)} folds had one class only: left out"
            )
        if not usable:
            raise InvalidInput(
                "Cross-validation is not possible on these rows",
                detail=f"project {self.project.name}: no fold has at least two classes on both sides",
                remedy="Send more labelled rows, or lower training.folds or change training.split in project.yaml.",
            )
        return usable

    def baseline(self) -> Baseline:
        """The dummy model on the same folds."""
        folds = []
        for fit, held in self.folds:
            model = dummy_of(self.project).fit(self.rows.iloc[fit], self.truth[fit])
            folds.append(metrics.values(self.truth[held], self._outputs(model, held)))
        means = {name: float(np.mean([fold[name] for fold in folds])) for name in folds[0]}
        model = dummy_of(self.project).fit(self.rows, self.truth)
        return Baseline(str(model.strategy), means, model)

    def search(self, estimator: str) -> tuple[Candidate, list[Outputs]]:
        """The best of `trials` settings, fitted on all rows, and its out-of-fold outputs."""
        started = time.perf_counter()
        trials: list[Trial] = []
        kept: list[Outputs] = []
        chosen = 0
        with _notes_of_warnings() as notes:
            for index, params in enumerate(_settings(estimator, self.project)):
                trial, scored = self._try(estimator, params)
                trials.append(trial)
                if index == 0 or self.sign * trial.mean > self.sign * trials[chosen].mean:
                    chosen, kept = index, scored
            params = trials[chosen].params
            pipeline = make_pipeline(self.project, estimator, params).fit(self.rows, self.truth)
        self._step(estimator, trials[chosen].scores)
        best = trials[chosen]
        candidate = Candidate(
            name=estimator,
            estimator=estimator,
            params=params,
            pipeline=pipeline,
            cv_mean=best.mean,
            cv_std=float(np.std(best.scores)),
            cv_scores=best.scores,
            seconds=time.perf_counter() - started,
            metric=self.project.metric,
            trials=trials,
            notes=notes,
        )
        return candidate, kept

    def _try(self, estimator: str, params: dict[str, Any]) -> tuple[Trial, list[Outputs]]:
        started = time.perf_counter()
        scores, scored = [], []
        for fit, held in self.folds:
            pipeline = make_pipeline(self.project, estimator, params)
            pipeline.fit(self.rows.iloc[fit], self.truth[fit])
            found = self._outputs(pipeline, held)
            scores.append(metrics.values(self.truth[held], found)[self.project.metric])
            scored.append(found)
            self._step(estimator, scores)
        trial = Trial(params, scores, time.perf_counter() - started)
        if self.best is None or self.sign * trial.mean > self.sign * self.best:
            self.best = trial.mean
        return trial, scored

    def _outputs(self, model: Any, held: NDArray[Any]) -> Outputs:
        return outputs(model, self.rows.iloc[held], self.project, self.classes or None)

    def _step(self, estimator: str, scores: list[float]) -> None:
        self.done += 1
        if self.on_progress is not None:
            best = self.best if self.best is not None else float(np.mean(scores))
            self.on_progress(Progress(self.done, self.total, best, estimator))


def _settings(estimator: str, project: Project) -> Iterator[dict[str, Any]]:
    """The default setting first, then random ones; plain Python values, as they end up in JSON."""
    yield default_params(estimator, project.task)
    space = search_space(estimator, project.task)
    sampled = _sample(space, project.training.trials - 1, project.training.seed)
    for params in sampled:
        yield {
            name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()
        }


def _sample(space: dict[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    # ParameterSampler warns when a space of lists is smaller than the count: there is nothing to draw twice.
    if all(isinstance(choice, list) for choice in space.values()):
        count = min(count, int(np.prod([len(choice) for choice in space.values()])))
    return list(ParameterSampler(space, count, random_state=seed)) if count > 0 else []


def _folds(rows: pd.DataFrame, truth: NDArray[Any], project: Project, notes: list[str]) -> list[Fold]:
    """Folds in keeping with the split: by group, by time (past predicts future), else stratified or shuffled."""
    seed, wanted = project.training.seed, project.training.folds
    kind = project.training.split.kind
    if kind == "time":
        return list(TimeSeriesSplit(n_splits=min(wanted, len(rows) - 1)).split(rows))
    if kind == "group":
        groups = rows["_group"].astype("string").fillna("").to_numpy(dtype=object)
        count = min(wanted, len(set(groups)))
        if count < 2:
            raise InvalidInput(
                "Cross-validation by group needs two groups",
                detail=f"project {project.name}: all {len(rows)} train rows are of one group",
                remedy="Send rows of more groups, or set training.split.kind to random in project.yaml.",
            )
        if project.is_classification:
            with warnings.catch_warnings():
                # A class rarer than the folds is noted through the folds that it leaves unusable.
                warnings.filterwarnings("ignore", "The least populated class", UserWarning)
                grouped = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
                return list(grouped.split(rows, truth, groups))
        return list(GroupKFold(n_splits=count).split(rows, truth, groups))
    if not project.is_classification:
        return list(KFold(min(wanted, len(rows)), shuffle=True, random_state=seed).split(rows))
    rarest = int(np.unique(truth, return_counts=True)[1].min())
    if rarest < wanted:
        notes.append(f"the rarest class has {rarest} train rows, fewer than the {wanted} folds")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        commonest = int(np.unique(truth, return_counts=True)[1].max())
        stratified = StratifiedKFold(min(wanted, commonest), shuffle=True, random_state=seed)
        return list(stratified.split(rows, truth))


@contextmanager
def _notes_of_warnings() -> Iterator[list[str]]:
    """Turn scikit-learn's warning of an unfinished fit into a note on the candidate."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield notes
    unfinished = 0
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            unfinished += 1
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if unfinished:
        notes.append(f"{unfinished} fits stopped before they converged")


def _out_of_fold(rows: pd.DataFrame, folds: list[Fold], scored: list[Outputs]) -> pd.DataFrame:
    held = np.concatenate([fold[1] for fold in folds])
    frame = pd.DataFrame(
        {
            "_row": rows["_row"].to_numpy(dtype=object)[held],
            "_score": np.concatenate([found.scores for found in scored]),
            "_prediction": np.concatenate([found.labels for found in scored]),
        }
    )
    return frame.iloc[np.argsort(held, kind="stable")].reset_index(drop=True)
