"""An answer as it goes out, and as it is logged.

Here belong their fields, and what becomes of records of which some are wrong. `serve/plain.py` writes the same two
out as text, for the short way.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidemill.errors import InvalidInput
from tidemill.serve.record import CheckedRecord, Flag, RecordFault
from tidemill.serve.scorer import Score, Scorer

if TYPE_CHECKING:
    from tidemill.serve.explain import Explanation


@dataclass(frozen=True)
class Asked:
    """A request, whose clock runs from here."""

    request_id: str
    explain: bool = False
    canary_has_room: bool = True
    started: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Prediction:
    """One answer, as it was logged."""

    id: str
    label: str | float
    score: float | None
    probabilities: dict[str, float] | None
    model_version: int
    role: str
    flags: list[Flag]
    at: str
    explanation: Explanation | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The answer as JSON; `explanation` only where one was asked for."""
        own = dict(self.__dict__)
        explanation = own.pop("explanation")
        return own if explanation is None else own | {"explanation": explanation.__dict__}


@dataclass(frozen=True)
class Made:
    """A record with what a model said of it; `seconds` is what checking and scoring its request took."""

    role: str
    scorer: Scorer
    record: CheckedRecord
    score: Score
    seconds: float

    def answer(self, at: str, explanation: Explanation | None = None) -> Prediction:
        return Prediction(
            id=str(uuid.uuid4()),
            label=self.score.label,
            score=self.score.score,
            probabilities=self.score.probabilities,
            model_version=self.scorer.version,
            role=self.role,
            flags=self.record.flags,
            at=at,
            explanation=explanation,
        )

    def event(self, answer: Prediction, project: str, request_id: str) -> dict[str, Any]:
        """What the log holds of `answer`."""
        return {
            "id": answer.id,
            "at": answer.at,
            "project": project,
            "model_version": answer.model_version,
            "role": answer.role,
            "request_id": request_id,
            "entity_id": self.record.entity_id,
            "input": self.record.input,
            "label": answer.label,
            "score": answer.score,
            "probabilities": answer.probabilities,
            "flags": answer.flags,
            "latency_ms": round(self.seconds * 1000, 3),
        }


Found = CheckedRecord | list[RecordFault]


def right_of(records: Sequence[Any], found: Sequence[Found]) -> tuple[list[Any], list[CheckedRecord]]:
    """The records that the contract allows, as they were sent and as they were checked."""
    right = [(sent, one) for sent, one in zip(records, found, strict=True) if isinstance(one, CheckedRecord)]
    return [sent for sent, _ in right], [one for _, one in right]


def answerable(scorer: Scorer, found: Sequence[Found]) -> list[Found]:
    """`found`, in which a record that the model has no answer for becomes its fault."""
    kept: list[Found] = []
    for one in found:
        try:
            if isinstance(one, CheckedRecord):
                scorer.score([one.values])
            kept.append(one)
        except InvalidInput as error:
            kept.append([RecordFault("", "", f"{error.title}: {error.detail}")])
    return kept


def reasons_of(made: Sequence[Made]) -> list[Explanation]:
    """Why each was answered so, by the model that did. Raises NotExplainable or TooLarge."""
    found: dict[int, Explanation] = {}
    for scorer in {id(one.scorer): one.scorer for one in made}.values():
        own = [place for place, one in enumerate(made) if one.scorer is scorer]
        values, scores = [made[place].record.values for place in own], [made[place].score for place in own]
        found |= zip(own, scorer.explain(values, scores), strict=True)
    return [found[place] for place in range(len(made))]
