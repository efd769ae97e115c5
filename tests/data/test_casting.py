"""What a cell's text means, type by type."""

import datetime
from typing import Any

import duckdb
import pytest

from tidemill.data.casting import Broken, broken, cleaned, explain, typed
from tidemill.project import Column


def cast(column: Column, cell: str | None, decimal: str = ".") -> tuple[Any, Broken]:
    """The typed value of one cell and the rule it breaks."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        text, value = cleaned(column, "c"), typed(column, "r", decimal)
        found = connection.execute(
            f"SELECT t, {broken(column, 'r', 't')} FROM (SELECT r, {value} AS t FROM "
            f"(SELECT {text} AS r FROM (SELECT CAST(? AS VARCHAR) AS c)))",
            [cell],
        ).fetchone()
    assert found is not None
    return found[0], Broken(found[1])


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("integer", " 7 ", 7),
        ("integer", "-3", -3),
        ("integer", "+3.0", 3),
        ("float", "1.5e-3", 0.0015),
        ("float", ".5", 0.5),
        ("boolean", "Yes", True),
        ("boolean", "F", False),
        ("boolean", "0", False),
        ("category", " a b ", "a b"),
        ("string", "00123", "00123"),
        ("text", " a ", " a "),
        ("text", "NA", "NA"),
        ("date", "2024-02-29", datetime.date(2024, 2, 29)),
        ("date", "31.12.2024", datetime.date(2024, 12, 31)),
        ("date", "2024-02-29 00:00:00", datetime.date(2024, 2, 29)),
        ("datetime", "2024-02-29", datetime.datetime(2024, 2, 29)),
        ("datetime", "2024-02-29T10:00:00+0200", datetime.datetime(2024, 2, 29, 8)),
        ("datetime", "2024-02-29T10:00-05:30", datetime.datetime(2024, 2, 29, 15, 30)),
        ("datetime", "2024-02-29 10:00:00.123456Z", datetime.datetime(2024, 2, 29, 10, 0, 0, 123456)),
        ("datetime", "1.2.2024 14:30", datetime.datetime(2024, 2, 1, 14, 30)),
    ],
)
def test_good_cells(kind: Any, cell: str, value: object) -> None:
    assert cast(Column(type=kind), cell) == (value, Broken.NOTHING)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("integer", "3.5"),
        ("integer", "1e3"),
        ("integer", "0x1f"),
        ("integer", "99999999999999999999"),
        ("float", "1,5"),
        ("float", "inf"),
        ("float", "1e999"),
        ("float", "-"),
        ("boolean", "2"),
        ("boolean", "maybe"),
        ("date", "2023-02-29"),
        ("date", "2024-01-01T10:00"),
        ("date", "1/2/2024"),
        ("date", "0000-01-01"),
        ("datetime", "2024-01-01T25:00"),
    ],
)
def test_cells_of_another_type(kind: Any, cell: str) -> None:
    assert cast(Column(type=kind), cell) == (None, Broken.TYPE)


@pytest.mark.parametrize("cell", [None, "", "  ", "NA", "N/A", "null", "NaN", "None"])
@pytest.mark.parametrize("kind", ["integer", "float", "boolean", "category", "string", "date", "datetime"])
def test_missing_cells(kind: Any, cell: str | None) -> None:
    assert cast(Column(type=kind), cell) == (None, Broken.NOTHING)
    assert cast(Column(type=kind, nulls=False), cell) == (None, Broken.NULL)


def test_a_listed_value_is_no_missing_mark() -> None:
    assert cast(Column(type="category", values=["None", "some"]), "None") == ("None", Broken.NOTHING)


def test_rules() -> None:
    ranged = Column(type="float", min=0, max=10)
    assert cast(ranged, "-1")[1] == Broken.BELOW
    assert cast(ranged, "10.5")[1] == Broken.ABOVE
    assert cast(ranged, "10")[1] == Broken.NOTHING
    assert cast(Column(type="category", values=["it's"]), "its")[1] == Broken.VALUES
    assert cast(Column(type="category", values=["it's"]), "it's")[1] == Broken.NOTHING
    assert explain(ranged, Broken.BELOW) == "below the least allowed value 0"


def test_decimal_comma() -> None:
    assert cast(Column(type="float"), "1,5", ",") == (1.5, Broken.NOTHING)
    # 1.234 may be one and a bit or a thousand: nobody guesses.
    assert cast(Column(type="float"), "1.234", ",")[1] == Broken.TYPE
    assert cast(Column(type="integer"), "3,0", ",") == (3, Broken.NOTHING)
