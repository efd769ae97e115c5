"""The features table: labelled rows, typed columns, and a split that stays."""

import datetime as dt

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.errors import InvalidInput
from tidemill.learn.features import build_features, share_of
from tidemill.project import Column, Project
from tidemill.project_evaluation import EvaluationSettings


def project(kind: str = "random", **extra: Column) -> Project:
    columns = {
        "id": Column(type="string", role="id"),
        "age": Column(type="integer"),
        "smoker": Column(type="boolean"),
        "note": Column(type="string", role="ignore"),
        "y": Column(type="category", role="target"),
        **extra,
    }
    return Project(name="demo", task="binary", columns=columns, training={"split": {"kind": kind}})


def raw(count: int, **extra: object) -> pd.DataFrame:
    rows = {"_row": [f"p{index}" for index in range(count)], "age": 30, "smoker": True, "y": "a", **extra}
    return pd.DataFrame(rows)


def labels(count: int) -> pd.DataFrame:
    return pd.DataFrame({"_row": [f"p{index}" for index in range(count)], "label": "a"})


def test_only_labelled_rows_and_feature_columns():
    built = build_features(raw(10), labels(6), project())
    assert list(built.columns) == ["_row", "_split", "_label", "age", "smoker"]
    assert len(built) == 6


def test_what_only_the_evaluation_asks_about_is_kept_apart():
    asked = project().model_copy(update={"evaluation": EvaluationSettings(fairness=["note", "age"])})
    built = build_features(raw(10, note="x"), labels(10), asked)
    assert list(built.columns) == ["_row", "_split", "_label", "_asked_note", "age", "smoker"]


def test_types_survive_empty_cells_and_parquet():
    built = build_features(raw(3, age=[1, None, 3], smoker=[True, None, None]), labels(3), project())
    table = pa.Table.from_pandas(built, preserve_index=False)
    assert (str(table.schema.field("age").type), str(table.schema.field("smoker").type)) == ("int64", "bool")


def test_rows_keep_their_side_when_data_is_appended():
    before = build_features(raw(200), labels(200), project()).set_index("_row")["_split"]
    after = build_features(raw(500), labels(500), project()).set_index("_row")["_split"]
    assert (after.loc[before.index] == before).all()
    assert 0.15 < (after == "test").mean() < 0.35


@given(st.text(), st.integers(min_value=0))
def test_the_share_of_a_key_lies_in_its_interval(key, seed):
    try:
        key.encode()
    except UnicodeEncodeError:
        return
    assert 0.0 <= share_of(key, seed) < 1.0


def test_a_group_is_on_one_side():
    described = project("group", patient=Column(type="string", role="group"))
    built = build_features(raw(300, patient=[f"g{i % 30}" for i in range(300)]), labels(300), described)
    assert (built.groupby("_group")["_split"].nunique() == 1).all()
    assert set(built["_split"]) == {"train", "test"}


@pytest.mark.parametrize("kind", ["date", "datetime"])
def test_by_time_the_newest_rows_are_held_out(kind):
    start = dt.date(2024, 1, 1) if kind == "date" else dt.datetime(2024, 1, 1)
    seen = [start + dt.timedelta(days=index // 2) for index in range(99)]
    described = project("time", seen=Column(type=kind, role="time"))
    built = build_features(raw(100, seen=[None, *reversed(seen)]), labels(100), described)
    held = built["_split"] == "test"
    assert built.loc[held, "_time"].min() > built.loc[~held, "_time"].dropna().max()
    assert 0.2 <= held.mean() <= 0.3
    assert built.loc[built["_time"].isna(), "_split"].tolist() == ["train"]


def test_a_row_sent_again_counts_as_its_newest_state():
    twice = pd.concat([raw(2), raw(1, age=99)])
    built = build_features(twice, labels(2), project()).set_index("_row")
    assert len(built) == 2
    assert built.loc["p0", "age"] == 99


@pytest.mark.parametrize(
    ("rows", "named"), [(raw(3).drop(columns="age"), "age"), (raw(3).assign(_row="z"), "3")]
)
def test_what_cannot_be_built_is_said(rows, named):
    with pytest.raises(InvalidInput) as caught:
        build_features(rows, labels(3), project())
    assert named in caught.value.detail
