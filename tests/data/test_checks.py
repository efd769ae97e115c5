"""The contract as checks of a table, and the table's profile."""

from pathlib import Path

import pandas as pd
import pytest

from tidemill.data.checks import Violation, check_table
from tidemill.data.profile import Histogram, markdown, profile
from tidemill.project import Column, Project
from tidemill.store.tables import TableStore, TableVersion


@pytest.fixture
def version(tmp_path: Path) -> TableVersion:
    rows = pd.DataFrame(
        {
            "_row": ["a", "b", "c", "c"],
            "id": ["a", "b", "c", "c"],
            "n": pd.array([1, 2, None, 40], dtype="Int64"),
            "k": ["x", "y", "y", None],
        }
    )
    return TableStore(tmp_path).publish_frame("raw", rows)


def project(**columns: Column) -> Project:
    target = {"k": Column(type="category", role="target"), "n": Column(type="integer")}
    return Project(name="p", task="multiclass", columns={**target, **columns})


def test_a_table_that_keeps_the_contract(version: TableVersion) -> None:
    assert check_table(version, project(id=Column(type="string"))) == []


def test_each_broken_rule_is_counted(version: TableVersion) -> None:
    broken = project(
        id=Column(type="string", role="id"),
        n=Column(type="integer", nulls=False, min=2, max=10),
        k=Column(type="category", role="target", values=["y", "z"]),
    )
    assert sorted(check_table(version, broken), key=str) == [
        Violation("id", "unique", 2, ["c"]),
        Violation("k", "values", 1, ["x"]),
        Violation("n", "max", 1, ["40"]),
        Violation("n", "min", 1, ["1"]),
        Violation("n", "nulls", 1, []),
    ]


def test_columns_and_types_that_changed(version: TableVersion) -> None:
    changed = project(n=Column(type="float"), more=Column(type="integer"))
    assert [(found.column, found.rule) for found in check_table(version, changed)] == [
        ("n", "type"),
        ("more", "column"),
        ("id", "column"),
    ]


def test_profile(version: TableVersion) -> None:
    found = {column.column: column for column in profile(version)}
    number = found["n"]
    assert (number.rows, number.nulls, number.distinct) == (4, 1, 3)
    assert (number.min, number.max, number.p50) == (1, 40, 2.0)
    assert number.mean == pytest.approx(43 / 3)
    assert found["k"].top == [("y", 2), ("x", 1)]
    assert (found["k"].min, found["k"].mean) == (None, None)


def test_a_histogram_counts_every_finite_number_once(tmp_path: Path) -> None:
    values = [*range(100), 99.5, float("inf"), float("nan"), None]
    rows = pd.DataFrame({"n": values, "one": [7] * len(values), "text": ["a", "b"] * (len(values) // 2)})
    number, one, text = profile(TableStore(tmp_path).publish_frame("raw", rows))
    assert number.histogram is not None
    assert (len(number.histogram.edges), len(number.histogram.counts)) == (21, 20)
    assert (number.histogram.edges[0], number.histogram.edges[-1]) == (0.0, 99.5)
    assert (sum(number.histogram.counts), number.histogram.counts[0]) == (101, 5)
    assert one.histogram == Histogram([7.0, 7.0], [len(values)])
    assert (text.histogram, text.examples) == (None, ["a", "b"])
    assert number.examples[:3] == ["0.0", "1.0", "2.0"]


def test_a_large_table_is_profiled_from_a_sample_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.data.profile.EXACT_ROWS", 10_000)
    monkeypatch.setattr("tidemill.data.profile.SAMPLED_ROWS", 5_000)
    rows = pd.DataFrame({"n": range(50_000), "k": ["a", "b", "b", "b", None] * 10_000})
    version = TableStore(tmp_path).publish_frame("raw", rows)
    number, text = profile(version)
    assert (number.rows, number.min, number.max, number.mean) == (50_000, 0, 49_999, 24_999.5)
    assert number.distinct == pytest.approx(50_000, rel=0.1)
    assert number.p50 == pytest.approx(25_000, rel=0.1)
    assert number.sampled == pytest.approx(5_000, rel=0.2)
    assert number.histogram is not None
    assert sum(number.histogram.counts) == number.sampled
    assert (text.nulls, [value for value, _ in text.top]) == (10_000, ["b", "a"])
    assert profile(version) == [number, text]


def test_profile_of_dates_and_of_no_rows(tmp_path: Path) -> None:
    days = pd.to_datetime(pd.Series(["2024-01-02", "2024-01-01"])).dt.date
    dated = TableStore(tmp_path).publish_frame("raw", pd.DataFrame({"day": days}))
    assert [(column.min, column.max) for column in profile(dated)] == [("2024-01-01", "2024-01-02")]
    empty = TableStore(tmp_path).publish_frame("none", pd.DataFrame({"n": pd.Series([], dtype="int64")}))
    assert [(column.rows, column.min, column.top) for column in profile(empty)] == [(0, None, [])]


def test_a_profile_is_a_markdown_table_whatever_the_data_says(tmp_path: Path) -> None:
    rows = pd.DataFrame({"n": [1.0, 1.0, 2.0], "a|b": ["<b>x</b>|y", "line\nbreak", None]})
    head, _, number, text = markdown(profile(TableStore(tmp_path).publish_frame("raw", rows))).splitlines()
    assert head.count("|") == number.count("|") == 10
    assert "█" + " " * 18 + "▄" in number
    assert "a\\|b" in text
    assert "\\<b\\>x\\</b\\>\\|y, line break" in text
    assert "33.3%" in text
