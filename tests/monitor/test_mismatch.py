"""Differences of form that are planted are found by column; records of the same form raise none, drifted or not."""

import numpy as np
import pandas as pd
import pytest

from tidemill.monitor.mismatch import find_mismatches, shape
from tidemill.project import Column, Project

PROJECT = Project(
    name="demo",
    task="binary",
    columns={
        "height": Column(type="float"),
        "count": Column(type="integer"),
        "gap": Column(type="float"),
        "site": Column(type="category"),
        "code": Column(type="string"),
        "note": Column(type="text"),
        "member": Column(type="boolean"),
        "seen": Column(type="datetime"),
        "y": Column(type="category", role="target"),
    },
)


def rows(count: int = 400, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    words = np.array(["warm", "cold", "room", "Bed", "12", "fine,", "was"])
    return pd.DataFrame(
        {
            "height": rng.normal(1.7, 0.1, count),
            "count": rng.poisson(4, count),
            "gap": np.where(rng.random(count) < 0.3, np.nan, rng.normal(size=count)),
            "site": rng.choice(["north", "south", "east"], count),
            "code": [f"AB-{rng.integers(1, 99_999)}" for _ in range(count)],
            "note": [" ".join(rng.choice(words, rng.integers(3, 30))) for _ in range(count)],
            "member": rng.random(count) < 0.5,
            "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**7, count), unit="s"),
        }
    )


def found(current: pd.DataFrame) -> list[tuple[str, str]]:
    return [(each.column, each.kind) for each in find_mismatches(rows(), current, PROJECT)]


@pytest.mark.parametrize("seed", range(2, 7))
def test_rows_of_the_same_form_raise_nothing(seed: int) -> None:
    assert found(rows(200, seed)) == []


def test_drift_is_no_mismatch() -> None:
    current = rows(200, 2)
    current["height"] += 0.2
    current["site"] = "north"
    current["count"] += 3
    current["seen"] += pd.Timedelta(days=400)
    assert found(current) == []


def test_a_field_that_is_not_sent() -> None:
    current = rows(200, 2)
    current["count"] = None
    assert found(current) == [("count", "missing")]
    assert found(current.drop(columns="count")) == [("count", "missing")]
    (only,) = find_mismatches(rows(), current, PROJECT)
    assert only.detail == "'count' is empty in 100% of the predictions, in training in 0%"
    assert "under this name" in only.advice


def test_gaps_that_the_callers_fill() -> None:
    current = rows(200, 2)
    current["gap"] = current["gap"].fillna(0.0)
    assert found(current) == [("gap", "never_missing")]


def test_categories_in_another_spelling_and_others() -> None:
    current = rows(200, 2)
    current["site"] = current["site"].str.upper()
    (only,) = find_mismatches(rows(), current, PROJECT)
    assert (only.column, only.kind, only.share) == ("site", "unknown_categories", 1.0)
    assert "differs in case or spaces only" in only.advice
    current["site"] = current["site"].map({"NORTH": "1", "SOUTH": "2", "EAST": "east"})
    (only,) = find_mismatches(rows(), current, PROJECT)
    assert "send codes" in only.advice


@pytest.mark.parametrize(("factor", "said"), [(100, "100 times as large"), (1 / 1000, "1000 times as small")])
def test_another_unit(factor: float, said: str) -> None:
    current = rows(200, 2)
    current["height"] *= factor
    (only,) = find_mismatches(rows(), current, PROJECT)
    assert (only.column, only.kind) == ("height", "unit")
    assert said in only.detail


def test_numbers_far_outside_and_numbers_that_are_rounded() -> None:
    current = rows(200, 2)
    current.loc[current.index[:40], "count"] = -999
    assert found(current) == [("count", "out_of_range")]
    current = rows(200, 2)
    current["height"] = current["height"].round()
    assert found(current) == [("height", "rounded")]


def test_texts_and_times_in_another_format() -> None:
    current = rows(200, 2)
    current["code"] = current["code"].str.replace("AB-", "ab")
    current["seen"] = current["seen"].dt.normalize()
    assert found(current) == [("code", "format"), ("seen", "format")]
    assert shape("AB-12/7") == shape("X-3/44") != shape("AB127")
