"""Poor data that is planted is found and told with advice; clean tables raise no concern."""

import numpy as np
import pandas as pd
import pytest

from tidemill.learn.quality import find_concerns
from tidemill.project import Column, Project

ROWS = 200


def project(kind: str = "category", task: str = "binary") -> Project:
    target = "float" if task == "regression" else "category"
    columns = {
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


def kinds(features: pd.DataFrame, project: Project) -> list[tuple[str, str]]:
    return [(concern.kind, concern.column) for concern in find_concerns(features, project)]


def test_a_clean_table_raises_none():
    assert kinds(table(extra=["p", "q"] * (ROWS // 2)), project()) == []


@pytest.mark.parametrize("value", ["p", None])
def test_a_constant_column(value):
    assert kinds(table(extra=[value] * ROWS), project()) == [("constant", "extra")]


def test_one_value_and_gaps_may_tell_something():
    assert kinds(table(extra=["p", None] * (ROWS // 2)), project()) == []


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        ("string", [f"c{index}" for index in range(ROWS)], True),
        ("integer", list(range(5, ROWS + 5)), True),
        ("integer", [index * 37 for index in range(ROWS)], False),
        ("text", [f"some words {index}" for index in range(ROWS)], False),
        ("category", [f"c{index % 50}" for index in range(ROWS)], False),
    ],
)
def test_a_feature_like_an_id(kind, values, found):
    assert kinds(table(extra=values), project(kind)) == ([("id_like", "extra")] if found else [])


def test_copies_of_rows_are_counted_and_named():
    rows = table(extra=["p", "q"] * (ROWS // 2))
    copied = pd.concat([rows, rows.head(10).assign(_row=[f"copy{index}" for index in range(10)])])
    (concern,) = find_concerns(copied.reset_index(drop=True), project())
    assert concern.kind == "duplicates"
    assert concern.detail == "10 of 210 rows repeat an earlier row (such as copy0, copy1, copy2)"
    assert "id column" in concern.advice


def test_rows_that_contradict_each_other_are_named_where_features_tell_rows_apart():
    rows = table(extra=["p", "q"] * (ROWS // 2))
    rows.loc[1, ["x", "extra"]] = rows.loc[0, ["x", "extra"]]
    rows.loc[[0, 1], "_label"] = ["a", "b"]
    (concern,) = find_concerns(rows, project())
    assert concern.kind == "contradictions"
    assert "(such as r0, r1)" in concern.detail
    coarse = rows.assign(x=1.0).drop(columns="x")
    assert ("contradictions", "") not in kinds(coarse, project())


def test_a_rare_class_and_one_that_is_on_one_side_alone():
    rows = table(extra=["p", "q"] * (ROWS // 2))
    rows["_label"] = ["b" if index in (1, 2, 3) else "a" for index in range(ROWS)]
    rare, absent = find_concerns(rows, project())
    assert rare.detail == "only 3 of 200 rows (1.5%) have the label b"
    assert absent.detail == "no test row has the label b"


def test_a_single_class():
    (concern,) = find_concerns(table(extra=["p", "q"] * (ROWS // 2), _label=["a"] * ROWS), project())
    assert concern.detail == "every row has the label a"


def test_a_regression_has_no_classes():
    rows = table(extra=["p", "q"] * (ROWS // 2), _label=np.linspace(0, 1, ROWS))
    assert kinds(rows, project(task="regression")) == []
