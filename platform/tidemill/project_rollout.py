"""`rollout` in project.yaml: how a new model comes to answer, and when a canary is taken back by itself.

What belongs here: the shape and words of that part. Judging by it is `serve/policy.py`, the states are
`serve/deployment.py`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidemill.project_part import Part


class Rollout(Part):
    """How a model that passed its gate begins, and what its canary must keep to."""

    start: Literal["live", "shadow", "canary"] = Field(
        "live",
        description="What the pipeline makes of a model that passed its gate: live: it answers everyone; shadow: "
        "it is asked beside the live model and answers nobody; canary: it answers a share of the entities.",
    )
    percent: float = Field(
        10.0, gt=0.0, le=100.0, description="Share of the entities that a canary answers, in percent."
    )
    window_seconds: float = Field(
        300.0,
        ge=5.0,
        le=86_400.0,
        description="The canary is judged by its answers of the last so many seconds.",
    )
    minimum_answers: int = Field(
        50,
        ge=10,
        le=100_000,
        description="Fewer answers of the canary than this, and neither latency nor drift is judged.",
    )
    max_error_share: float = Field(
        0.02,
        ge=0.0,
        lt=1.0,
        description="Share of the canary's requests that it may fail to answer (the live model then answers them). "
        "Breached when the 95 % interval lies above it, from three failures on.",
    )
    timeout_ms: float = Field(
        1_000.0, ge=10.0, le=60_000.0, description="A canary that takes longer has failed that request."
    )
    max_latency_ratio: float = Field(
        3.0,
        gt=1.0,
        description="The canary's 95th percentile of latency may be so many times the live model's; under 50 ms "
        "it never counts.",
    )
    max_latency_ms: float | None = Field(
        None, gt=0.0, description="Largest 95th percentile of the canary's latency; null: any."
    )
    max_drift: float = Field(
        0.25,
        gt=0.0,
        description="Largest PSI between what the canary and the live model say about the same records; raised to "
        "what chance alone gives when there are few.",
    )
    max_quality_loss: float = Field(
        0.05,
        ge=0.0,
        description="How much worse the canary may do where truth has come: in share of wrong labels, or for a "
        "regression as part of the live model's mean absolute error. Breached when the 95 % interval is above it.",
    )
    minimum_truths: int = Field(
        30, ge=10, description="Fewer known truths than this on either side, and quality is not judged."
    )
