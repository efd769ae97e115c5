"""Labels that are probably wrong: rows whose features speak for another label than the one they have.

Here belongs finding them, by cross-validation of one quick model: each row is judged by a model that did not see
it. For classes this is confident learning (Northcutt, Jiang, Chuang: Confident Learning: Estimating Uncertainty in
Dataset Labels, JAIR 70, 2021), with the threshold of a class the mean probability of the rows labelled so; for
numbers the residual against the spread of residuals of like predictions. What is done about a suspect (a check,
a queue for people) is the caller's.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tidemill.learn.pipeline import make_pipeline
from tidemill.project import Project

# So many rows are judged at most: about two seconds of one core. A check of each training looks at fewer, which
# tell as well whether the labels are noisy, though not which of the other rows are.
MOST_ROWS = 10_000
CHECKED_ROWS = 4_000
FOLDS = 3
FEWEST_ROWS = 30
# A suspect whose given label has less than this probability is plain; others may be rows between two classes.
PLAIN = 0.1
FEWEST_PLAIN = 3
# Where classes merely overlap, plain suspects were at most 3 in 100 rows, and at most 26 in 100 of the rows that
# the model takes for another class than given (2 and 3 normal classes 0 to 5 standard deviations apart, 400 rows,
# and scikit-learn's iris, wine, digits and breast cancer). With 5 in 100 labels changed, classes 5 deviations apart
# and the last three data sets had more; of classes closer than that nothing can be said.
PLAIN_SHARE = 0.04
PLAIN_OF_DISAGREEING = 0.3
# Residuals of more than so many standard deviations: one in 500 million of a normal distribution.
FAR = 6.0
NEIGHBOURS = 50

COLUMNS = ("_row", "given", "likely", "score")


@dataclass(frozen=True)
class Examination:
    """What was found: `suspects` has `_row`, `given`, `likely`, `score`, the most suspicious first.

    `rows` have labels and `looked` of them were judged. `plain` suspects speak of wrong labels each by itself. For
    classes `disagreeing` rows were taken for another class than given; `note` says what was left out and why.
    """

    suspects: pd.DataFrame
    rows: int
    looked: int
    plain: int
    disagreeing: int = 0
    note: str = ""

    @property
    def is_noisy(self) -> bool:
        """Whether the suspects speak of wrong labels, rather than of classes that overlap."""
        share, part = self.plain / max(self.looked, 1), self.plain / max(self.disagreeing, self.plain, 1)
        return self.plain >= FEWEST_PLAIN and (share >= PLAIN_SHARE or part >= PLAIN_OF_DISAGREEING)


def suspects(
    features: pd.DataFrame, labels: pd.Series[Any], project: Project, *, most_rows: int = MOST_ROWS
) -> pd.DataFrame:
    """`examine`, the suspects alone."""
    return examine(features, labels, project, most_rows=most_rows).suspects


def examine(
    features: pd.DataFrame, labels: pd.Series[Any], project: Project, *, most_rows: int = MOST_ROWS
) -> Examination:
    """Judge the labels of rows by their features, in bounded time.

    `features` has `_row` and the project's feature columns, typed as in the features table; `labels` the label of
    each of its rows, missing where there is none. `likely` is the class that the features speak for, or the
    predicted number; `score` is the probability of `likely` less that of `given` (0 to 1), or the residual in
    standard deviations. Of more than `most_rows` labelled rows a sample is judged, the same each time.
    """
    known = labels.notna().to_numpy(dtype=bool)
    rows, given = features[known].reset_index(drop=True), labels[known].reset_index(drop=True)
    total, notes = len(rows), []
    if total > most_rows:
        chosen = np.sort(np.random.default_rng(project.training.seed).choice(total, most_rows, replace=False))
        rows, given = rows.iloc[chosen].reset_index(drop=True), given.iloc[chosen].reset_index(drop=True)
        notes.append(f"a sample of {most_rows} of {total} rows was judged")
    with threadpool_limits(limits=1):
        if project.is_classification:
            return _classes(rows, given.astype(str), project, total, notes)
        return _numbers(rows, given.astype("float64"), project, total, notes)


def off_diagonal(
    probabilities: NDArray[Any], given: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which rows the confident joint counts under another class than given, and the class (else the given one).

    `probabilities` are out of fold, one column a class; `given` the column of each row's label. A row counts for
    the most probable of the classes whose threshold it reaches; one whose given class is the most probable of all
    is no suspect.
    """
    classes = range(probabilities.shape[1])
    own = probabilities[np.arange(len(given)), given]
    thresholds = np.array([own[given == each].mean() if (given == each).any() else 1.0 for each in classes])
    reached = np.where(probabilities >= thresholds - 1e-6, probabilities, -1.0)
    likely = reached.argmax(axis=1)
    found = (reached.max(axis=1) >= 0) & (likely != given) & (probabilities.argmax(axis=1) != given)
    return found, np.where(found, likely, given)


def _classes(
    rows: pd.DataFrame, given: pd.Series[Any], project: Project, total: int, notes: list[str]
) -> Examination:
    counts = given.value_counts()
    rare = sorted(counts.index[counts < FOLDS])
    if rare:
        notes.append(f"labels of fewer than {FOLDS} rows were not judged: {', '.join(rare[:5])}")
        keep = ~given.isin(rare)
        rows, given = rows[keep].reset_index(drop=True), given[keep].reset_index(drop=True)
    if len(rows) < FEWEST_ROWS or given.nunique() < 2:
        return _nothing(
            total, [*notes, f"{FEWEST_ROWS} rows of two classes are the least that can be judged"]
        )
    classes, codes = np.unique(given.to_numpy(dtype=str), return_inverse=True)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=project.training.seed)
    probabilities = np.zeros((len(rows), len(classes)))
    for fit, held in folds.split(rows, codes):
        model = _fitted(rows.iloc[fit], classes[codes[fit]], project)
        columns = np.searchsorted(classes, model.classes_)
        probabilities[np.ix_(held, columns)] = model.predict_proba(rows.iloc[held])
    found, likely = off_diagonal(probabilities, codes)
    places = np.arange(len(rows))
    own = probabilities[places, codes]
    score = probabilities[places, likely] - own
    return Examination(
        _table(rows, found, classes[codes], classes[likely], score),
        total,
        len(rows),
        int((found & (own < PLAIN)).sum()),
        int((probabilities.argmax(axis=1) != codes).sum()),
        "; ".join(notes),
    )


def _numbers(
    rows: pd.DataFrame, given: pd.Series[Any], project: Project, total: int, notes: list[str]
) -> Examination:
    if len(rows) < FEWEST_ROWS:
        return _nothing(total, [*notes, f"{FEWEST_ROWS} rows are the least that can be judged"])
    truth = given.to_numpy(dtype=np.float64)
    predicted = np.zeros(len(rows))
    for fit, held in KFold(FOLDS, shuffle=True, random_state=project.training.seed).split(rows):
        predicted[held] = _fitted(rows.iloc[fit], truth[fit], project).predict(rows.iloc[held])
    score = np.abs(standardized(truth, predicted))
    found = score > FAR
    return Examination(
        _table(rows, found, truth, predicted, score),
        total,
        len(rows),
        int(found.sum()),
        note="; ".join(notes),
    )


def standardized(truth: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.float64]:
    """Residuals in standard deviations of the residuals of rows with about the same prediction.

    The deviation is 1.4826 times the median absolute one, which a few wrong labels do not move. Where predictions
    are larger, residuals often are too; so it is taken of groups of at least 50 rows in the order of predictions.
    """
    residuals = truth - predicted
    groups = np.array_split(np.argsort(predicted, kind="stable"), max(min(len(truth) // NEIGHBOURS, 20), 1))
    scores = np.zeros(len(truth))
    for group in groups:
        centre = np.median(residuals[group])
        spread = 1.4826 * np.median(np.abs(residuals[group] - centre))
        # More than half of a group predicted exactly: nothing to measure the others by but all of them.
        spread = spread or float(np.std(residuals)) or 1.0
        scores[group] = (residuals[group] - centre) / spread
    return scores


def _fitted(rows: pd.DataFrame, truth: NDArray[Any], project: Project) -> Any:
    # A forest's probabilities are those of its neighbours: less sure of themselves than a boosted model's, which
    # finds suspects in clean data. Trees beyond 50 found no more of 5 in 100 planted labels. Absolute errors are
    # not bent by the very labels that are looked for. Words are better told apart by a linear model, and much
    # quicker.
    if any(column.type == "text" for column in project.feature_columns.values()):
        pipeline = make_pipeline(project, "linear", {"C": 10.0} if project.is_classification else {})
    elif project.is_classification:
        pipeline = make_pipeline(project, "random_forest", {"n_estimators": 50, "min_samples_leaf": 5})
    else:
        settings = {"loss": "absolute_error", "max_leaf_nodes": 15}
        pipeline = make_pipeline(project, "hist_gradient_boosting", settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return pipeline.fit(rows[list(project.feature_columns)], truth)


def _table(
    rows: pd.DataFrame,
    found: NDArray[Any],
    given: NDArray[Any],
    likely: NDArray[Any],
    score: NDArray[Any],
) -> pd.DataFrame:
    made = pd.DataFrame(
        {"_row": rows["_row"].astype("string"), "given": given, "likely": likely, "score": score}
    )
    return made[found].sort_values("score", ascending=False, kind="stable").reset_index(drop=True)


def _nothing(total: int, notes: list[str]) -> Examination:
    return Examination(pd.DataFrame(columns=list(COLUMNS)), total, 0, 0, note="; ".join(notes))
