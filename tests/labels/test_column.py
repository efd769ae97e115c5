"""Labels from the target column: text for classes, numbers for a regression, nothing for empty cells."""

import pandas as pd
import pytest

from tidemill.errors import InvalidInput
from tidemill.labels.column import label_text, labels_from_column
from tidemill.project import Column, Project


def project(task: str, kind: str) -> Project:
    columns = {"x": Column(type="float"), "y": Column(type=kind, role="target")}
    return Project(name="demo", task=task, columns=columns)


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (1, "1"), (3.0, "3"), ("M", "M"), ("3.0", "3.0")]
)
def test_classes_are_text(value, text):
    assert label_text(value) == text


@pytest.mark.parametrize(
    ("kind", "values", "texts"),
    [
        ("boolean", pd.Series([True, None, False], dtype="object"), ["true", "false"]),
        ("boolean", pd.Series([True, None, False], dtype="boolean"), ["true", "false"]),
        ("integer", pd.Series([1.0, None, 0.0]), ["1", "0"]),
        ("integer", pd.Series([1, None, 0], dtype="Int64"), ["1", "0"]),
        ("category", pd.Series(["a", None, "b"]), ["a", "b"]),
    ],
)
def test_rows_without_a_target_have_no_label(kind, values, texts):
    raw = pd.DataFrame({"_row": ["r0", "r1", "r2"], "x": 0.0, "y": values})
    labels = labels_from_column(raw, project("binary", kind), 4, at="2026-01-01T00:00:00.000+00:00")
    assert list(labels["_row"]) == ["r0", "r2"]
    assert list(labels["label"]) == texts
    assert list(labels.columns) == ["_row", "label", "annotator", "labelled_at", "raw_version"]
    assert set(labels["annotator"]) == {"column:y"}
    assert set(labels["raw_version"]) == {4}


def test_a_regression_has_numbers():
    raw = pd.DataFrame({"_row": ["r0", "r1"], "y": [1, 2]})
    labels = labels_from_column(raw, project("regression", "integer"), 1)
    assert labels["label"].dtype == "float64"


@pytest.mark.parametrize("raw", [{"_row": ["r0"]}, {"_row": ["r0"], "y": [None]}])
def test_no_target_is_said_with_the_way_out(raw):
    with pytest.raises(InvalidInput) as caught:
        labels_from_column(pd.DataFrame(raw), project("binary", "category"), 1)
    assert "'y'" in caught.value.detail
    assert caught.value.remedy
