"""What every part of a project.yaml is: a model that knows its fields and does not change after reading."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of the file: unknown fields are faults, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
