"""What people are asked about next: one round of rows, each with the reason why it was chosen.

Here belongs what competes for a place in a round. Measures of uncertainty are in `labels/selection.py`, when to
stop asking in `labels/stopping.py`. Places go, in this order, to

    disagreement     answers that contradict each other: one more person
    suspect          a label that the features speak against: another look
    low-confidence   predictions in production that were less sure than `review_below`
    drift            predictions of a window in which columns drifted
    gold             rows whose label is known, to check the people
    held-out         rows by chance, of those that models are judged by
    uncertain        the rest: uncertain and unlike each other; or `random`

Rows that models are judged by (a random split) are only ever asked about by chance and without a suggestion: chosen
by a model, they would judge it by the rows that it finds hardest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tidemill.errors import Conflict
from tidemill.home import Home
from tidemill.labels import candidates, ledger
from tidemill.labels.backend import LabelTask
from tidemill.labels.candidates import Pool
from tidemill.labels.learner import Learner
from tidemill.labels.selection import choose
from tidemill.labels.sources import open_backend, sync
from tidemill.project import Project
from tidemill.store.state import State

# Shares of a round that each kind of row may take at most.
SECOND_LOOKS = 0.2
PRODUCTION = 0.3
# Fewer labels than this teach a model nothing about where it is unsure.
FEWEST_LABELS = 10
# Candidates beyond this are thinned by chance before a model looks at them.
MOST_CANDIDATES = 20_000


@dataclass(frozen=True)
class Round:
    """What a round asks about, and remarks for a person, such as that there is no model yet.

    `refreshed` are rows of earlier rounds that wait for answers, with what the model of now says of them.
    """

    number: int
    tasks: list[LabelTask]
    remarks: list[str] = field(default_factory=list)
    refreshed: list[LabelTask] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(task.reason for task in self.tasks))


def start_round(
    home: Home, state: State, project: Project, *, budget: int | None = None, strategy: str | None = None
) -> Round:
    """Choose the rows of the next round and ask about them.

    `budget` and `strategy` stand in for those of project.yaml. Raises Conflict where nobody can be asked, NotFound
    when there is no data, and what the back end raises. Killed between asking and noting, the next round may
    choose the same rows, which makes no second task.
    """
    backend = open_backend(home, state, project)
    if backend is None:
        raise Conflict(
            "Nobody can be asked about a column of the data",
            detail=f"project {project.name} takes its labels from the column {project.target} alone",
            remedy="Set labels to built-in or label-studio in project.yaml.",
        )
    try:
        sync(home, state, project)
        planned = plan_round(home, state, project, budget=budget, strategy=strategy)
        every = [*planned.tasks, *planned.refreshed]
        ids = backend.push(every) if every else {}
        ledger.record_tasks(state, project.name, backend.source, planned.tasks, ids, planned.number)
        ledger.record_tasks(state, project.name, backend.source, planned.refreshed, ids)
    finally:
        backend.close()
    return planned


def plan_round(
    home: Home, state: State, project: Project, *, budget: int | None = None, strategy: str | None = None
) -> Round:
    """The rows of the next round; nobody is asked yet. Equal states give equal rounds."""
    pool = candidates.gather(home, state, project)
    number = 1 + max((task.round for task in pool.asked.values()), default=0)
    plan = _Plan(pool, budget or project.labels.budget, project.training.seed + number)
    plan.second_looks()
    plan.production(home)
    plan.gold()
    plan.fresh(strategy or project.labels.strategy)
    asked = candidates.suggested(home, state, pool, plan.tasks)
    waiting = candidates.waiting(pool, {task.row for task in asked})
    refreshed = [task for task in candidates.suggested(home, state, pool, waiting) if _says_else(task, pool)]
    return Round(number, asked, plan.remarks, refreshed)


def _says_else(task: LabelTask, pool: Pool) -> bool:
    """Whether another model than before says something of a row that was asked about."""
    before = pool.asked[task.row].suggestion
    now = task.suggestion
    return now is not None and (before is None or before["model_version"] != now.model_version)


class _Plan:
    """A round while it is put together."""

    def __init__(self, pool: Pool, budget: int, seed: int) -> None:
        self.pool = pool
        self.project = pool.project
        self.budget = budget
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.tasks: list[LabelTask] = []
        self.remarks: list[str] = []

    @property
    def left(self) -> int:
        return self.budget - len(self.tasks)

    def second_looks(self) -> None:
        """Rows with answers, in doubt: votes are equal, or the features speak against the label."""
        most = math.ceil(SECOND_LOOKS * self.budget)
        answered = self.pool.answered
        for row in self.pool.snapshot.undecided[:most]:
            self._ask(row, "disagreement", answered[row] + 1)
        for row in self.pool.suspects()[:most]:
            self._ask(row, "suspect", answered[row] + self.project.labels.annotators)

    def production(self, home: Home) -> None:
        """Predictions that nobody has labelled: the least sure, then some of a window that drifted."""
        most = math.ceil(PRODUCTION * self.budget)
        for reason, found in candidates.predictions(home, self.pool, self.rng):
            for row, fields in found[: min(most, self.left)]:
                self.tasks.append(
                    LabelTask(row, fields, reason=reason, annotators=self.project.labels.annotators)
                )

    def gold(self) -> None:
        many = min(round(self.project.labels.gold * self.budget), self.left)
        known = self.pool.known_rows()
        for row in self.rng.permutation(np.array(known, dtype=object))[:many]:
            self._ask(str(row), "gold", self.project.labels.annotators)

    def fresh(self, strategy: str) -> None:
        """Rows that nobody was asked about."""
        names = self.pool.fresh_rows()
        if len(names) > MOST_CANDIDATES:
            names = [
                str(row) for row in self.rng.permutation(np.array(names, dtype=object))[:MOST_CANDIDATES]
            ]
        split = self.project.training.split
        held_out, others = [], names
        if split.kind == "random":
            held_out = [row for row in names if candidates.judges(row, self.project)]
            others = [row for row in names if not candidates.judges(row, self.project)]
            many = min(round(split.test * self.left), len(held_out))
            self._ask_all(self._by_chance(held_out, many), "held-out")
        if strategy == "random":
            self._ask_all(self._by_chance(others, self.left), "random")
        else:
            self._ask_all(self._uncertain(others), "uncertain")
        if self.left and not others:
            self.remarks.append("Every row of the data has a label or was asked about.")

    def _uncertain(self, names: Sequence[str]) -> list[str]:
        if not names or self.left <= 0:
            return []
        rows = self.pool.features_of(names)
        labelled = self.pool.labelled()
        doubt = None
        teachable = len(labelled) >= FEWEST_LABELS
        if self.project.is_classification:
            teachable = teachable and labelled["_label"].nunique() > 1
        if teachable:
            learner = Learner.fit(self.project, labelled, labelled["_label"].to_numpy(), self.seed)
            doubt = learner.uncertainty(rows)
        else:
            self.remarks.append("There are too few labels to be unsure about: the rows cover the data.")
        space = Learner.space(self.project, rows, self.seed)
        return [names[index] for index in choose(space, doubt, self.left, self.seed)]

    def _by_chance(self, names: Sequence[str], many: int) -> list[str]:
        return [str(row) for row in self.rng.permutation(np.array(names, dtype=object))[: max(many, 0)]]

    def _ask_all(self, rows: Sequence[str], reason: str) -> None:
        for row in rows:
            self._ask(row, reason, self.project.labels.annotators)

    def _ask(self, row: str, reason: str, annotators: int) -> None:
        if self.left > 0 and row not in {task.row for task in self.tasks}:
            self.tasks.append(LabelTask(row, self.pool.fields_of(row), reason=reason, annotators=annotators))
