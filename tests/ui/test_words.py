from datetime import UTC, datetime

import pytest

from ui.components import words

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (1234567, "1,234,567"),
        (0.98765, "0.9877"),
        (True, "True"),
        ("benign", "benign"),
        (2220.0, "2,220"),
    ],
)
def test_number(value: object, said: str) -> None:
    assert words.number(value) == said


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (None, None, "–"),
        ("2026-11-23T11:59:55.800+00:00", None, "4.2 s"),
        ("2026-11-23T10:00:00Z", "2026-11-23T10:02:05Z", "2 min 5 s"),
        ("2026-11-23T08:00:00+00:00", None, "4 h 0 min"),
        ("2026-11-23T10:00:05Z", "2026-11-23T10:00:00Z", "0.0 s"),
    ],
)
def test_duration(start: str | None, end: str | None, said: str) -> None:
    assert words.duration(start, end, NOW) == said


def test_a_moment_without_zone_is_utc() -> None:
    assert words.parse("2026-11-23T10:00:00") == datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize("moment", [None, "", "yesterday"])
def test_what_is_no_moment_is_nothing(moment: str | None) -> None:
    assert words.when(moment) == "–"


def test_when_names_another_year() -> None:
    assert "2025" in words.when("2025-03-01T10:00:00+00:00", NOW)
    assert "2026" not in words.when("2026-03-01T10:00:00+00:00", NOW)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "–"),
        ({"value": 0.5}, "0.5"),
        ({"value": 0.981, "low": 0.962, "high": 0.994}, "0.981 (0.962 to 0.994)"),
    ],
)
def test_interval(found: dict[str, float] | None, said: str) -> None:
    assert words.interval(found) == said


def test_counted() -> None:
    assert words.counted(1, "row was", "rows were") == "1 row was"
    assert words.counted(1200, "row") == "1,200 rows"


def test_literal_text_is_no_markdown() -> None:
    assert words.literal("a_b :red[x] `c`") == r"a\_b \:red\[x\] \`c\`"
    assert words.literal("run `x_y`", keep="`") == r"run `x\_y`"
