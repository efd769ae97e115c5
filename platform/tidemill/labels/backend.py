"""Where labels come from, as one interface: Label Studio, our own page, or a column of the data.

Here belong the words that all three share. What is kept of them is `labels/ledger.py`, what a set of answers
says of a row `labels/consolidation.py`, which rows are asked about next `labels/queue.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Cell = str | int | float | bool | None
"""A value of one column; dates and times are ISO 8601 text."""

Origin = Literal["manual", "accepted", "changed", "column"]
"""How an answer came about: without a prediction shown, as the prediction said, otherwise than it said, or read
from the data."""


@dataclass(frozen=True)
class Suggestion:
    """What a model says of a row. `score` is the probability of `label`; None where a model gives none."""

    label: str | float
    score: float | None
    model_version: int


@dataclass(frozen=True)
class LabelTask:
    """One row that a person is asked about. `fields` stand in the contract's order, without the target.

    `reason` says why the row was chosen, such as `uncertain`, `random`, `gold`, `disagreement`, `suspect`,
    `low-confidence` or `drift`. `annotators` is how many people are to answer.
    """

    row: str
    fields: Mapping[str, Cell]
    suggestion: Suggestion | None = None
    reason: str = "random"
    annotators: int = 1


@dataclass(frozen=True)
class Annotation:
    """One person's answer about one row. `id` is the back end's and stays through edits.

    `label` is None when the person skipped the row. `lead_seconds` is how long it took; times are ISO 8601 in UTC.
    """

    id: str
    row: str
    label: str | float | None
    annotator: str
    created_at: str
    updated_at: str
    lead_seconds: float | None = None
    origin: Origin = "manual"


@dataclass(frozen=True)
class UnusableAnswer:
    """An answer that is no label: it is kept and shown, never dropped in silence. `problem` says what to do."""

    id: str
    row: str
    annotator: str
    problem: str


@dataclass(frozen=True)
class Pull:
    """What changed since a cursor: answers new or edited, the ids of deleted ones, and where to go on.

    `cursor` is opaque to the caller, and JSON-able text. A back end that tells deletions by absence gives in
    `there` the ids of all answers there are; what the ledger has of ids that begin with `within` and is not there
    is deleted.
    """

    annotations: Sequence[Annotation] = ()
    deleted: Sequence[str] = ()
    unusable: Sequence[UnusableAnswer] = ()
    cursor: str = ""
    there: frozenset[str] | None = None
    within: str = ""


@dataclass(frozen=True)
class QueueState:
    """How far people have come: tasks in the back end, those with enough answers, and answers in all."""

    tasks: int
    finished: int
    annotations: int
    by_annotator: Mapping[str, int] = field(default_factory=dict)


class LabelBackend(ABC):
    """Where people answer. Every method may raise NotReady when the back end cannot be reached."""

    source: str
    """What the ids of tasks and answers belong to, such as `built-in`, or a Label Studio server and its project.

    Two back ends whose ids could collide have different sources: the ledger keeps them apart by it.
    """

    @abstractmethod
    def push(self, tasks: Sequence[LabelTask]) -> dict[str, str]:
        """Ask about rows; the back end's task id of each row key, for rows it was asked about before as well.

        The same rows again make no second task, whatever became of the answer to an earlier call.
        """

    @abstractmethod
    def pull(self, cursor: str = "") -> Pull:
        """What changed since `cursor`, everything for "". The same answer may come twice; none is left out."""

    @abstractmethod
    def state(self) -> QueueState:
        """How far people have come."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open; the back end itself goes on."""
