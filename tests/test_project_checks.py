"""Faults between the fields of a project: each names the field to change and says why."""

from typing import Any

import pytest

from tidemill.project import Column, Project
from tidemill.project_checks import contradictions
from tidemill.project_file import FieldPath

COLUMNS: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "role": "id"},
    "age": {"type": "integer", "min": 0, "max": 120},
    "plan": {"type": "category", "values": ["yes", "no"]},
    "churn": {"type": "category", "role": "target", "values": ["yes", "no"]},
}


def project(columns: dict[str, dict[str, Any]] | None = None, **fields: Any) -> Project:
    base = {"name": "shop", "task": "binary", "labels": {"positive": "yes"}}
    return Project.model_validate({**base, **fields, "columns": COLUMNS | (columns or {})})


def found(project: Project, path: FieldPath, words: str) -> bool:
    return any(at == path and words in message for at, _, message in contradictions(project))


def test_a_good_project_has_none() -> None:
    assert contradictions(project()) == []


@pytest.mark.parametrize(
    ("name", "column", "below", "words"),
    [
        ("age", {"type": "integer", "min": 200, "max": 120}, ("min",), "above max"),
        ("age", {"type": "string", "min": 0}, ("min",), "needs a column of type"),
        ("age", {"type": "integer", "values": ["1"]}, ("values",), "type category or string"),
        ("plan", {"type": "category", "values": ["yes", "yes"]}, ("values",), "named once"),
        ("seen", {"type": "string", "role": "time"}, ("type",), "type date or datetime"),
        ("AGE", {"type": "integer"}, (), "SQL does not tell it"),
        (" age", {"type": "integer"}, (), "spaces"),
        ("_plan", {"type": "category"}, (), "Tidemill's own"),
    ],
)
def test_faults_of_a_column(name: str, column: dict[str, Any], below: FieldPath, words: str) -> None:
    assert found(project({name: column}), ("columns", name, *below), words)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"churn": {"type": "category"}}, "exactly one column must have the role target"),
        ({"id": {"type": "string", "role": "target"}}, "exactly one"),
        ({"plan": {"type": "string", "role": "id"}}, "at most one"),
        ({name: {"type": "string", "role": "ignore"} for name in ("age", "plan")}, "the role feature"),
    ],
)
def test_faults_of_roles(columns: dict[str, dict[str, Any]], words: str) -> None:
    assert found(project(columns), ("columns",), words)


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"labels": {"positive": "maybe"}}, ("labels", "positive"), "one of yes, no"),
        ({"labels": {"consolidation": "mean"}}, ("labels", "consolidation"), "one of majority, dawid-skene"),
        ({"task": "multiclass"}, ("labels", "positive"), "only a binary task"),
        ({"task": "regression"}, ("columns", "churn", "type"), "a regression needs a target"),
        ({"task": "text_classification"}, ("task",), "feature of type text"),
        ({"training": {"metric": "rmse"}}, ("training", "metric"), "for this task"),
        ({"training": {"split": {"kind": "time"}}}, ("training", "split", "kind"), "role time"),
        ({"training": {"stack": [1, 1]}}, ("training", "stack"), "each version is named once"),
        (
            {"training": {"warm_start": {"version": 1, "boost": True}}},
            ("training", "warm_start", "boost"),
            "candidates must be the one library",
        ),
        (
            {
                "training": {
                    "warm_start": {"version": 1, "boost": True},
                    "candidates": ["xgboost"],
                    "stack": [1],
                }
            },
            ("training", "warm_start", "boost"),
            "leave out stack",
        ),
        ({"gates": {"minimum": {"rmse": 1}}}, ("gates", "minimum", "rmse"), "for this task"),
        ({"gates": {"surely_not_worse": True}}, ("gates", "surely_not_worse"), "needs not_worse_by"),
        ({"evaluation": {"fairness": ["sex"]}}, ("evaluation", "fairness", 0), "no such column"),
        ({"evaluation": {"slices": ["age", "churn"]}}, ("evaluation", "slices", 1), "target or id"),
    ],
)
def test_faults_of_task_and_training(fields: dict[str, Any], path: FieldPath, words: str) -> None:
    assert found(project(**fields), path, words)


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (["id", "x", "y"], None),
        (["id", "x", "X", "y"], "a name of its own"),
        (["id", "y"], "lacks a column"),
        (["id", "x", "y", "z"], "not among columns"),
    ],
)
def test_names_of_the_file_are_the_contracts(names, wrong):
    columns = {
        "id": Column(type="string", role="id"),
        "x": Column(type="float"),
        "y": Column(type="category", role="target"),
    }
    project = Project(name="demo", task="binary", columns=columns, reading={"names": names})
    messages = [message for _, _, message in contradictions(project)]
    assert messages == [] if wrong is None else any(wrong in message for message in messages)
