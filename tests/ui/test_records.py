from typing import Any

import pytest

from tidemill.client_types import ColumnInfo
from ui.components import records


def column(name: str, kind: str, **members: Any) -> ColumnInfo:
    usual: dict[str, Any] = {"role": "feature", "nulls": True, "min": None, "max": None, "values": None}
    return {"name": name, "type": kind, "description": "", **usual, **members}  # type: ignore[typeddict-item]


COLUMNS = [column("n", "integer"), column("x", "float"), column("b", "boolean"), column("c", "category")]


@pytest.mark.parametrize(
    ("usual", "step"), [(None, 0.1), (0.0, 0.1), (17.5, 1.0), (2220.0, 100.0), (0.05, 0.001)]
)
def test_step_is_a_small_part_of_the_usual_value(usual: float | None, step: float) -> None:
    assert records.step_for(usual) == pytest.approx(step)


def test_usual_values() -> None:
    middle: Any = {"column": "n", "p50": 7.5}
    top: Any = {"column": "b", "top": [[None, 9], ["true", 5]]}

    assert records.default_value(COLUMNS[0], middle) == 8
    assert records.default_value(COLUMNS[1], middle) == 7.5
    assert records.default_value(COLUMNS[2], top) is True
    assert records.default_value(COLUMNS[3], top) == "true"
    assert records.default_value(COLUMNS[0], {"column": "n"}) is None
