import pytest
from pydantic import BaseModel, ValidationError

from tidemill.project import Monitoring
from tidemill.project_triggers import Cron, Triggers


class Line(BaseModel):
    line: Cron


@pytest.mark.parametrize("line", ["0 3 * * 1", "*/15 * * * *", "0 6-18/2 1,15 * 1-5", "59 23 31 12 7"])
def test_lines_that_a_schedule_may_have(line: str) -> None:
    assert Line(line=line).line == line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "daily",
        "0 3 * *",
        "0 3 * * * *",
        "60 * * * *",
        "0 24 * * *",
        "* * 0 * *",
        "5-1 * * * *",
        "*/0 * * * *",
    ],
)
def test_lines_that_would_take_the_schedules_down(line: str) -> None:
    with pytest.raises(ValidationError, match="five fields"):
        Line(line=line)
    with pytest.raises(ValidationError, match="five fields"):
        Monitoring(schedule=line)


def test_nothing_starts_by_itself_unless_it_is_said() -> None:
    assert not Triggers().is_any
    assert Triggers(drift=True).is_any
