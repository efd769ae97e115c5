"""The built-in back end: rows asked about on the dashboard's own page, answers kept in the ledger itself.

Here belong which row an annotator gets next and what becomes of an answer. Checking that an answer is one of the
project's labels belongs to `labels/classes.py`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from tidemill.errors import InvalidInput
from tidemill.labels import leases, ledger
from tidemill.labels.backend import Annotation, LabelBackend, LabelTask, Origin, Pull, QueueState
from tidemill.store.state import State, now

SOURCE = "built-in"


class BuiltIn(LabelBackend):
    """The tasks and answers of one project. A task's id is its row; a person answers about a row once.

    Answering again is an edit, so that a request sent twice makes one answer.
    """

    source = SOURCE

    def __init__(self, state: State, project: str) -> None:
        self._state = state
        self._project = project

    def push(self, tasks: Sequence[LabelTask]) -> dict[str, str]:
        ids = {task.row: task.row for task in tasks}
        ledger.record_tasks(self._state, self._project, SOURCE, tasks, ids)
        return ids

    def pull(self, cursor: str = "") -> Pull:
        """The cursor is the number of the last change, which is told once more: two writers may share a number."""
        found = ledger.answers(self._state, self._project, SOURCE, since=int(cursor or 0))
        return Pull(
            [_annotation(each) for each in found if each.deleted_at is None],
            [each.id for each in found if each.deleted_at is not None],
            cursor=str(found[-1].change) if found else cursor,
        )

    def state(self) -> QueueState:
        given = self._labels()
        by_row = Counter(each.row for each in given)
        asked = ledger.needed(self._state, self._project, SOURCE)
        finished = sum(by_row[row] >= need for row, (_, need) in asked.items())
        return QueueState(len(asked), finished, len(given), Counter(each.annotator for each in given))

    def close(self) -> None:
        """There is nothing open: the control state belongs to others too."""

    def next_task(self, annotator: str) -> ledger.Task | None:
        """A row that still needs an answer and that `annotator` has neither answered nor skipped.

        Rounds come in turn. Within a round each person gets the rows in an order of their own; and a row that
        others have before them counts as answered by them, until their lease of it ends.
        """
        row = leases.take(self._state, self._project, annotator, lambda held: self._next(annotator, held))
        return None if row is None else ledger.task(self._state, self._project, SOURCE, row)

    def _next(self, annotator: str, held: Counter[str]) -> str | None:
        live = [each for each in ledger.answers(self._state, self._project, SOURCE) if each.is_live]
        done = {each.row for each in live if each.annotator == annotator}
        by_row = Counter(each.row for each in live if each.is_label)
        waiting = [
            (round_, _order(annotator, row), row)
            for row, (round_, need) in ledger.needed(self._state, self._project, SOURCE).items()
            if by_row[row] + held[row] < need and row not in done
        ]
        return min(waiting)[2] if waiting else None

    def answer(
        self, row: str, label: str | float | None, annotator: str, lead_seconds: float | None = None
    ) -> Annotation:
        """Take an answer; `label` None skips the row. Raises InvalidInput for a row nobody was asked about."""
        if not annotator.strip():
            raise InvalidInput(
                "An answer needs a name",
                detail="the annotator is empty",
                remedy="Say who answers, so that answers of several people can be compared.",
            )
        suggestion = ledger.task(self._state, self._project, SOURCE, row).suggestion
        origin: Origin = "manual"
        if suggestion is not None and label is not None:
            origin = "accepted" if label == suggestion["label"] else "changed"
        moment = now()
        answer_id = f"{annotator}|{row}"
        before = ledger.answer(self._state, self._project, SOURCE, answer_id)
        given = Annotation(
            answer_id,
            row,
            label,
            annotator,
            before.created_at if before else moment,
            moment,
            lead_seconds,
            origin,
        )
        ledger.write(self._state, self._project, SOURCE, [given])
        leases.end(self._state, self._project, annotator)
        return given

    def undo(self, annotator: str) -> Annotation | None:
        """Take back the annotator's last answer or skip, so that the row is asked about again. None without one."""
        live = [each for each in ledger.answers(self._state, self._project, SOURCE) if each.is_live]
        own = [each for each in live if each.annotator == annotator]
        if not own:
            return None
        ledger.delete(self._state, self._project, SOURCE, [own[-1].id])
        return _annotation(own[-1])

    def _labels(self) -> list[ledger.Answer]:
        return [each for each in ledger.answers(self._state, self._project, SOURCE) if each.is_label]


def _order(annotator: str, row: str) -> bytes:
    return hashlib.blake2b(f"{annotator}\0{row}".encode(), digest_size=8).digest()


def _annotation(answer: ledger.Answer) -> Annotation:
    return Annotation(
        answer.id,
        answer.row,
        answer.label,
        answer.annotator,
        answer.created_at,
        answer.updated_at,
        answer.lead_seconds,
        answer.origin,
    )
