"""The `training:` section of project.yaml: candidates, the search and its budget, weights, calibration, threshold.

What belongs here: the section's shape and words. What does not: faults between it and other sections
(`project_checks.py`), and training itself (`learn/`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.project_part import Part
from tidemill.project_triggers import Cron, Triggers

Estimator = Literal[
    "linear", "random_forest", "hist_gradient_boosting", "nearest_neighbours", "text",
    "lightgbm", "xgboost", "catboost",
]  # fmt: skip
# A class of model.py beside project.yaml, such as model.Ours.
OWN_PREFIX = "model."
_OWN = r"^model\.[A-Za-z_][A-Za-z0-9_]{0,99}$"


def _known(name: str) -> str:
    if name not in get_args(Estimator) and not re.match(_OWN, name):
        known = ", ".join(get_args(Estimator))
        raise PydanticCustomError("candidate", f"it is one of {known}, or model.NAME for a class of model.py")
    return name


CandidateName = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(get_args(Estimator))},
                {"type": "string", "pattern": _OWN},
            ]
        }
    ),
]

ThresholdAim = Literal["f1", "balanced_accuracy", "accuracy", "cost"]
# What a search tries of each candidate when neither trials nor seconds are said.
DEFAULT_TRIALS = 6
MOST_TRIALS = 500


class Split(Part):
    """How the held-out test rows are chosen. Rows keep their side when data is appended."""

    kind: Literal["random", "time", "group"] = "random"
    test: float = Field(0.25, gt=0.0, lt=0.9, description="Share of rows held out.")


class Threshold(Part):
    """From which probability a binary answer is positive: chosen on out-of-fold scores for what counts.

    `threshold: f1` is short for `threshold: {for: f1}`.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    aim: ThresholdAim = Field(
        alias="for", description="What the threshold is best for: a metric, or the cost of mistakes."
    )
    false_positive: float = Field(
        1.0, gt=0.0, description="Cost of calling a row positive that is not; with `for: cost`."
    )
    false_negative: float = Field(
        1.0, gt=0.0, description="Cost of missing a positive row; with `for: cost`."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"for": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # The model knows nothing of the word that stands for it, so an editor would underline it.
        shape = handler.resolve_ref_schema(handler(core_schema))
        word = {"type": "string", "enum": [aim for aim in get_args(ThresholdAim) if aim != "cost"]}
        return {"anyOf": [word, shape]}


class WarmStart(Part):
    """An earlier version that a training begins with. `warm_start: 3` is short for `warm_start: {version: 3}`."""

    version: int = Field(ge=1, description="A version of this project, trained or imported.")
    boost: bool = Field(
        False,
        description="Go on from the trees of that version (LightGBM, XGBoost or CatBoost, trained here or "
        "imported), on rows it had not learnt from; else its settings are tried first.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"version": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        shape = handler.resolve_ref_schema(handler(core_schema))
        return {"anyOf": [{"type": "integer", "minimum": 1}, shape]}


class Training(Part):
    """What is searched, for how long, and what is done to the best."""

    candidates: list[CandidateName] = Field(
        default=["linear", "random_forest", "hist_gradient_boosting"],
        min_length=1,
        description="Kinds of model to try. lightgbm, xgboost and catboost need the extra `boosters`; model.NAME "
        "is the class NAME of model.py beside project.yaml.",
    )
    schedule: Cron | None = Field(None, description="Cron line, in UTC, at which a training starts.")
    triggers: Triggers = Triggers()
    trials: int | None = Field(
        None,
        ge=1,
        le=MOST_TRIALS,
        description=f"Parameter settings tried per candidate; {DEFAULT_TRIALS} when seconds is not set either.",
    )
    seconds: float | None = Field(
        None,
        gt=0.0,
        le=86_400.0,
        description="Time that the search may take in all; the candidates that do best get most of it.",
    )
    pruning: bool = Field(
        True,
        description="Give a setting up after a fold on which it is worse than the median of the others.",
    )
    search_rows: int = Field(
        100_000,
        ge=1_000,
        description="Train rows that the search looks at, drawn by the seed; the chosen is fitted on all.",
    )
    folds: int = Field(3, ge=2, le=20, description="Cross-validation folds of the search.")
    metric: str | None = Field(
        None, description="What the search maximises or minimises; roc_auc or rmse by default."
    )
    class_weight: Literal["auto", "none", "balanced"] = Field(
        "auto",
        description="balanced: rare classes weigh as much as common ones; auto: the search tries both where they "
        "are uneven.",
    )
    calibration: Literal["auto", "none", "isotonic", "sigmoid"] = Field(
        "auto",
        description="How probabilities are put right, of several classes each against the rest; auto: the one that "
        "helps on out-of-fold scores, if any does.",
    )
    threshold: Threshold | None = Field(
        None, description="How the threshold of a binary task is chosen; unset: it is serving.threshold."
    )
    seed: int = Field(7, ge=0)
    split: Split = Split()
    stack: list[Annotated[int, Field(ge=1)]] = Field(
        default=[],
        max_length=5,
        description="Versions of this project, trained or imported, whose answers are further features.",
    )
    warm_start: WarmStart | None = Field(None, description="A version that the training begins with.")

    @property
    def trials_each(self) -> int:
        """Settings tried per candidate at most."""
        if self.trials is not None:
            return self.trials
        return DEFAULT_TRIALS if self.seconds is None else MOST_TRIALS
