"""An answer as it goes out, and as it is logged.

Here belong their fields. `serve/plain.py` writes the same two out as text, for the short way.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from tidemill.serve.record import CheckedRecord, Flag
from tidemill.serve.scorer import Score


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


@dataclass(frozen=True)
class Made:
    """A record with what a model said of it; `seconds` is what checking and scoring its request took."""

    role: str
    version: int
    record: CheckedRecord
    score: Score
    seconds: float

    def answer(self, at: str) -> Prediction:
        return Prediction(
            id=str(uuid.uuid4()),
            label=self.score.label,
            score=self.score.score,
            probabilities=self.score.probabilities,
            model_version=self.version,
            role=self.role,
            flags=self.record.flags,
            at=at,
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
