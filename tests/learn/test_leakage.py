"""Leaks that are planted are found; clean tables have none."""

import numpy as np
import pandas as pd
import pytest

from tidemill.learn.leakage import find_leakage
from tidemill.project import Column, Project

ROWS = 120


def project(kind: str = "float", task: str = "binary", target: str = "category") -> Project:
    columns = {
        "id": Column(type="string", role="id"),
        "x": Column(type="float"),
        "extra": Column(type=kind),
        "y": Column(type=target, role="target"),
    }
    return Project(name="demo", task=task, columns=columns)


def table(**extra: object) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "_row": [f"r{index}" for index in range(ROWS)],
            "_split": ["test" if index % 4 == 0 else "train" for index in range(ROWS)],
            "_label": rng.choice(["a", "b"], ROWS),
            "x": rng.normal(size=ROWS),
            **extra,
        }
    )


def test_a_clean_table_has_no_leaks():
    assert find_leakage(table(), project()) == []


@pytest.mark.parametrize(("name", "kind"), [("y", "target_among_features"), ("id", "id_among_features")])
def test_target_and_id_must_not_be_features(name, kind):
    leaks = find_leakage(table(**{name: [str(index) for index in range(ROWS)]}), project())
    assert [(leak.kind, leak.column, leak.blocking) for leak in leaks] == [(kind, name, True)]


def test_a_copy_of_the_target_is_found():
    rows = table()
    leaks = find_leakage(rows.assign(extra=rows["_label"]), project("category"))
    assert [(leak.kind, leak.column, leak.blocking) for leak in leaks] == [
        ("target_among_features", "extra", True)
    ]


@pytest.mark.parametrize("kind", ["float", "category"])
def test_a_feature_that_tells_the_label_alone_is_reported(kind):
    rows = table()
    told = rows["_label"].map({"a": 1.5, "b": 2.5}) + (rows["x"].abs() / 100 if kind == "float" else 0)
    extra = told if kind == "float" else told.map(str)
    leaks = find_leakage(rows.assign(extra=extra), project(kind))
    assert [(leak.kind, leak.blocking) for leak in leaks] == [("predicts_target", False)]


@pytest.mark.parametrize("kind", ["float", "category"])
def test_a_feature_that_tells_nearly_every_label_is_reported(kind):
    rows = table()
    told = rows["_label"].map({"a": 1.5, "b": 2.5})
    told[5] = 4.0 - told[5]
    if kind == "float":
        told = told + np.random.default_rng(3).normal(0, 0.01, ROWS)
        told[5] = 2.0  # between the classes and not beyond them: ranks nearly all
    leaks = find_leakage(rows.assign(extra=told if kind == "float" else told.map(str)), project(kind))
    assert [(leak.kind, leak.column, leak.blocking) for leak in leaks] == [
        ("predicts_target", "extra", False)
    ]
    assert "role ignore" in leaks[0].detail


@pytest.mark.parametrize("kind", ["float", "category"])
def test_a_good_feature_is_no_leak(kind):
    rows = table()
    told = rows["_label"].map({"a": 0.0, "b": 1.0}) + np.random.default_rng(3).normal(0, 0.35, ROWS)
    extra = told if kind == "float" else told.round().map(str)
    assert find_leakage(rows.assign(extra=extra), project(kind)) == []


def test_a_rare_class_makes_no_column_a_leak():
    rows = table(extra=["p", "q"] * (ROWS // 2))
    rows["_label"] = ["b" if index == 7 else "a" for index in range(ROWS)]
    assert [leak for leak in find_leakage(rows, project("category")) if leak.column == "extra"] == []


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_straight_line_to_a_number_is_reported(noise):
    rows = table()
    rows["_label"] = rows["x"] * 7 + np.random.default_rng(3).normal(0, noise, ROWS)
    leaks = find_leakage(rows, project(task="regression", target="float"))
    assert [leak.kind for leak in leaks] == ["predicts_target"]


def test_a_number_that_goes_with_the_label_is_no_leak():
    rows = table()
    rows["_label"] = rows["x"] * 7 + np.random.default_rng(3).normal(0, 1.0, ROWS)
    assert find_leakage(rows, project(task="regression", target="float")) == []


def test_a_row_on_both_sides_blocks():
    rows = table()
    rows.loc[0, "_row"] = rows.loc[1, "_row"]
    assert [(leak.kind, leak.blocking) for leak in find_leakage(rows, project())] == [("shared_rows", True)]


@pytest.mark.parametrize(("twins", "blocking"), [(1, False), (10, True)])
def test_equal_measurements_under_other_ids_are_reported_and_many_block(twins, blocking):
    rows = table()
    for index in range(twins):
        rows.loc[4 * index, "x"] = rows.loc[4 * index + 1, "x"]
    [leak] = find_leakage(rows, project())
    assert (leak.kind, leak.blocking) == ("shared_values", blocking)
    assert f"{twins} of 30 test rows" in leak.detail
