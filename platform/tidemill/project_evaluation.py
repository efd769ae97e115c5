"""`evaluation` in project.yaml: what is asked about a model besides its metrics.

What belongs here: the shape and words of that part. Faults against the columns are in `project_checks.py`;
answering is `learn/evaluation.py` and the studies beside it.
"""

from __future__ import annotations

from pydantic import Field

from tidemill.project_part import Part


class EvaluationSettings(Part):
    """What is asked about a model on the held-out rows, besides its metrics."""

    slices: list[str] = Field(
        default_factory=list,
        max_length=50,
        description="Further columns by which the metric is shown: numbers in four bins of equally many rows. "
        "Categories and missing values of features are looked at unasked; these need not be features.",
    )
    fairness: list[str] = Field(
        default_factory=list,
        max_length=20,
        description="Columns whose groups are compared: selection rate, true and false positive rate, or errors of "
        "a regression. They need not be features.",
    )
    learning_curve: bool | None = Field(
        None,
        description="Whether the model is fitted again on parts of the train rows, to see if more rows would help; "
        "null: where it takes seconds.",
    )
    sample: int = Field(
        2_000,
        ge=100,
        le=1_000_000,
        description="Held-out rows at most for what is costly: permutation importance, slices, learning curve.",
    )

    @property
    def columns(self) -> list[str]:
        """The columns that are named, each once."""
        return list(dict.fromkeys([*self.slices, *self.fairness]))
