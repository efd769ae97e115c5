"""Why a model file is refused.

Here belongs the error and its reasons, shared by the parent and the child process that looks inside a file.
"""

from __future__ import annotations

from typing import Any

from tidemill.errors import InvalidInput

FORMATS = "ONNX (.onnx), skops (.skops), LightGBM (.txt), XGBoost (.json, .ubj) or CatBoost (.cbm)"


class ModelRefused(InvalidInput):
    """A model file that is not taken. `extra["reason"]` is one short word for programs; nothing of it was run."""

    slug = "model-refused"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"title": self.title, "detail": self.detail, "remedy": self.remedy, "extra": self.extra}


def refused(reason: str, detail: str, remedy: str = "") -> ModelRefused:
    """The refusal for `reason`; `detail` says what was found in the file."""
    return ModelRefused(
        "The model file is refused",
        detail=detail,
        remedy=remedy or f"Save the model as {FORMATS} and send that file.",
        reason=reason,
    )


def mismatch(detail: str, remedy: str) -> ModelRefused:
    """The refusal of a sound model that does not fit the project's contract."""
    return ModelRefused(
        "The model does not fit the project", detail=detail, remedy=remedy, reason="contract-mismatch"
    )
