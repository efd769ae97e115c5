"""Several answers about a row become one label, with a confidence.

Here belongs what a set of answers says of a row. Which answers count, and what else gives labels, is decided in
`labels/snapshot.py`; how people agree is `labels/agreement.py`.

Where answers do not decide, there is no label: a tie is not broken by chance, one more person is asked.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import InvalidInput
from tidemill.project import Consolidation

Numbers = NDArray[np.float64]

# Dirichlet pseudo-counts of Dawid-Skene: a person is taken to be rather right than wrong until answers say else.
PRIOR_RIGHT = 1.0
PRIOR_WRONG = 0.1
MOST_STEPS = 500
CONVERGED_BELOW = 1e-7


@dataclass(frozen=True)
class Opinion:
    """What one person said of one row."""

    row: str
    annotator: str
    label: str | float


@dataclass(frozen=True)
class Verdict:
    """What the answers about one row come to. `label` is None when they do not decide.

    `confidence` is the share of answers that say so (majority) or the label's posterior probability
    (Dawid-Skene), None for numbers. `spread` is the standard deviation of the answers (population), for numbers
    with two or more.
    """

    label: str | float | None
    confidence: float | None
    answers: int
    spread: float | None = None


@dataclass(frozen=True)
class DawidSkene:
    """What the model found. `confusion[person]` has the true class in rows and the answer in columns."""

    verdicts: dict[str, Verdict]
    classes: list[str]
    priors: Numbers
    confusion: dict[str, Numbers]
    steps: int
    converged: bool
    objective: list[float]


def consolidate(
    opinions: Sequence[Opinion], how: Consolidation, known: Mapping[str, str] | None = None
) -> dict[str, Verdict]:
    """The verdict on every row that someone has an opinion about.

    `known` are labels that are beyond doubt, such as of gold rows: Dawid-Skene learns from them how right people
    are. A person's last opinion of a row counts.
    """
    latest = list({(each.row, each.annotator): each for each in opinions}.values())
    if how == "majority":
        return {row: _majority(given) for row, given in _by_row(latest).items()}
    if how == "dawid-skene":
        return dawid_skene(latest, known or {}).verdicts
    middle = statistics.median if how == "median" else statistics.fmean
    verdicts = {}
    for row, given in _by_row(latest).items():
        values = [float(each) for each in given]
        spread = float(np.std(values)) if len(values) > 1 else None
        verdicts[row] = Verdict(float(middle(values)), None, len(values), spread)
    return verdicts


def dawid_skene(
    opinions: Sequence[Opinion],
    known: Mapping[str, str] | None = None,
    *,
    prior_right: float = PRIOR_RIGHT,
    prior_wrong: float = PRIOR_WRONG,
) -> DawidSkene:
    """True classes and each person's confusion matrix, by expectation-maximisation.

    Dawid & Skene (1979), Maximum likelihood estimation of observer error-rates using the EM algorithm; with
    Dirichlet priors on the rows of each confusion matrix (0 for both gives the original), computed in logarithms.
    It begins with the shares of votes and ends when the objective (log posterior) rises by less than 1e-7 a row,
    or after 500 steps, which `converged` then denies. Raises InvalidInput without opinions.
    """
    if not opinions:
        raise InvalidInput(
            "There are no answers", detail="nobody has labelled a row", remedy="Label some rows first."
        )
    known = known or {}
    rows = {name: index for index, name in enumerate(dict.fromkeys(each.row for each in opinions))}
    people = {name: index for index, name in enumerate(sorted({each.annotator for each in opinions}))}
    named = {str(each.label) for each in opinions} | {known[row] for row in rows if row in known}
    classes = {name: index for index, name in enumerate(sorted(named))}
    at = (
        np.array([rows[each.row] for each in opinions]),
        np.array([people[each.annotator] for each in opinions]),
        np.array([classes[str(each.label)] for each in opinions]),
    )
    fixed = {rows[row]: classes[label] for row, label in known.items() if row in rows}
    model = _Model(at, (len(rows), len(people), len(classes)), fixed, prior_right, prior_wrong)
    model.run()
    answers = np.bincount(at[0], minlength=len(rows))
    names = list(classes)
    return DawidSkene(
        {row: _verdict(model.beliefs[index], names, int(answers[index])) for row, index in rows.items()},
        names,
        model.priors,
        {name: model.confusion[index] for name, index in people.items()},
        len(model.objective),
        model.converged,
        model.objective,
    )


class _Model:
    """The state of the iteration: `beliefs` (rows x classes), `priors`, `confusion` (people x true x said)."""

    def __init__(
        self,
        at: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
        shape: tuple[int, int, int],
        fixed: Mapping[int, int],
        right: float,
        wrong: float,
    ) -> None:
        self.at = at
        self.shape = shape
        rows, people, classes = shape
        self.prior = np.full((classes, classes), wrong) + np.eye(classes) * (right - wrong)
        self.fixed_rows = np.array(list(fixed), dtype=np.int64)
        self.fixed_to = np.array(list(fixed.values()), dtype=np.int64)
        self.beliefs = np.zeros((rows, classes))
        np.add.at(self.beliefs, (at[0], at[2]), 1.0)
        self.beliefs /= self.beliefs.sum(axis=1, keepdims=True)
        self._fix()
        self.priors = np.full(classes, 1 / classes)
        self.confusion = np.zeros((people, classes, classes))
        self.objective: list[float] = []
        self.converged = False

    def run(self) -> None:
        for _ in range(MOST_STEPS):
            self._learn()
            self.objective.append(self._believe())
            if len(self.objective) > 1:
                gain = self.objective[-1] - self.objective[-2]
                if gain < CONVERGED_BELOW * self.shape[0]:
                    self.converged = True
                    return

    def _learn(self) -> None:
        """The M step: class shares and confusion matrices from the beliefs."""
        row, person, said = self.at
        self.priors = self.beliefs.mean(axis=0)
        counts = np.zeros_like(self.confusion)
        np.add.at(counts.transpose(0, 2, 1), (person, said), self.beliefs[row])
        counts += self.prior
        total = counts.sum(axis=2, keepdims=True)
        even = np.full_like(counts, 1 / self.shape[2])
        self.confusion = np.divide(counts, total, out=even, where=total > 0)

    def _believe(self) -> float:
        """The E step: beliefs from shares and matrices. Gives the log posterior of those, up to a constant."""
        row, person, said = self.at
        logs = np.log(np.maximum(self.confusion, 1e-300))
        weights = np.tile(np.log(np.maximum(self.priors, 1e-300)), (self.shape[0], 1))
        np.add.at(weights, row, logs[person, :, said])
        top = weights.max(axis=1, keepdims=True)
        evidence = top[:, 0] + np.log(np.exp(weights - top).sum(axis=1))
        if len(self.fixed_rows):
            evidence[self.fixed_rows] = weights[self.fixed_rows, self.fixed_to]
        self.beliefs = np.exp(weights - top)
        self.beliefs /= self.beliefs.sum(axis=1, keepdims=True)
        self._fix()
        return float(evidence.sum() + (self.prior * logs).sum())

    def _fix(self) -> None:
        if len(self.fixed_rows):
            self.beliefs[self.fixed_rows] = 0.0
            self.beliefs[self.fixed_rows, self.fixed_to] = 1.0


def _majority(given: Sequence[str | float]) -> Verdict:
    votes = Counter(str(each) for each in given).most_common()
    tied = len(votes) > 1 and votes[0][1] == votes[1][1]
    return Verdict(None if tied else votes[0][0], votes[0][1] / len(given), len(given))


def _verdict(beliefs: Numbers, classes: Sequence[str], answers: int) -> Verdict:
    best = int(beliefs.argmax())
    # More probable than all others together; a tie of two is exactly a half.
    decided = beliefs[best] > 0.5 + 1e-9
    return Verdict(classes[best] if decided else None, float(beliefs[best]), answers)


def _by_row(opinions: Sequence[Opinion]) -> dict[str, list[str | float]]:
    found: dict[str, list[str | float]] = {}
    for each in opinions:
        found.setdefault(each.row, []).append(each.label)
    return found
