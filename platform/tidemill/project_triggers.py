"""When a training starts by itself: the parts `schedule` and `triggers` of `training:` in project.yaml.

What belongs here: their shape and words. Whether a trigger is due is decided in `learn/triggers.py`.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tidemill.project_part import Part

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_PART = re.compile(r"(\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?")


def _is_cron(line: str) -> str:
    """`line` when it is five fields of numbers, `*`, ranges, lists and steps. Raises otherwise."""
    fields = line.split()
    if len(fields) != 5 or not all(map(_fits, fields, _RANGES)):
        raise PydanticCustomError(
            "cron", "it has five fields of numbers (minute, hour, day, month, weekday), such as 0 3 * * 1"
        )
    return line


def _fits(field: str, allowed: tuple[int, int]) -> bool:
    for part in field.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            return False
        first, last, step = found[2], found[3], found[4]
        numbers = [int(each) for each in (first, last) if each is not None]
        if not all(allowed[0] <= number <= allowed[1] for number in numbers):
            return False
        if numbers != sorted(numbers) or (step is not None and int(step) == 0):
            return False
    return True


Cron = Annotated[str, AfterValidator(_is_cron)]


class Triggers(Part):
    """What starts a training by itself. At most one starts in `cooldown_hours`, whatever started the one before."""

    new_rows: int | None = Field(
        None, ge=1, description="So many rows more than the newest model was made from; null: never."
    )
    new_labels: int | None = Field(
        None, ge=1, description="So many labels more than the newest model was made from; null: never."
    )
    drift: bool = Field(
        False, description="When a drift alert is opened that is newer than the newest model."
    )
    cooldown_hours: float = Field(
        24.0,
        ge=0.25,
        le=8760.0,
        description="Hours after the start of any training in which no trigger counts.",
    )

    @property
    def is_any(self) -> bool:
        return self.new_rows is not None or self.new_labels is not None or self.drift
