"""project.yaml: what it says, found by name, and its faults told together with their lines."""

import json
from pathlib import Path

import pytest

from tidemill.errors import NotFound, ProjectFileError
from tidemill.home import CHECKOUT, Home
from tidemill.project import Labels, Project, json_schema, load_project, write_schema

GOOD = """\
name: shop
task: binary
columns:
  id: {type: string, role: id}
  age: {type: integer, min: 0, max: 120}
  plan: {type: category, values: ['yes', 'no']}
  churn: {type: category, role: target, values: ['yes', 'no']}
labels: {positive: 'yes'}
"""


def parse(text: str) -> Project:
    return Project.parse(text, Path("shop/project.yaml"))


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ProjectFileError) as refused:
        parse(text)
    return [(problem.line, problem.field, problem.message) for problem in refused.value.problems]


def test_a_good_file() -> None:
    project = parse(GOOD)
    assert (project.target, project.id_column, list(project.feature_columns)) == (
        "churn",
        "id",
        ["age", "plan"],
    )
    assert (project.metric, project.display_name) == ("roc_auc", "Shop")
    assert project.is_classification


@pytest.mark.parametrize(
    ("before", "after", "line", "field", "words"),
    [
        ("task: binary", "tusk: binary", 2, "tusk", "did you mean task?"),
        ("labels:", "task: binary\nlabels:", 8, "task", "there twice"),
        ("min: 0", "min: 200", 5, "columns.age.min", "above max"),
        ("  plan", "  AGE", 6, "columns.AGE", "SQL does not tell it"),
        ("role: target", "role: feature", 3, "columns", "exactly one column must have the role target"),
        ("positive: 'yes'", "positive: maybe", 8, "labels.positive", "one of yes, no"),
        ("task: binary", "task: regression", 7, "columns.churn.type", "a regression needs a target"),
        ("labels:", "training: {split: {kind: time}}\nlabels:", 8, "training.split.kind", "role time"),
        ("labels:", "gates: {minimum: {rmse: 1}}\nlabels:", 8, "gates.minimum.rmse", "for this task"),
        ("name: shop", "name: other", 1, "name", "the folder's, 'shop'"),
    ],
)
def test_faults_of_every_kind_name_line_and_field(
    before: str, after: str, line: int, field: str, words: str
) -> None:
    assert before in GOOD
    found = problems(GOOD.replace(before, after, 1))
    assert any((at, where) == (line, field) and words in message for at, where, message in found), found


def test_every_contradiction_is_told_at_once() -> None:
    text = GOOD.replace("min: 0", "min: 200").replace("positive: 'yes'", "positive: maybe")
    assert [line for line, *_ in problems(text)] == [5, 8]


def test_a_file_that_is_not_there_is_a_fault_of_the_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectFileError, match="cannot be used"):
        Project.load(tmp_path / "shop" / "project.yaml")


def test_an_unknown_project_is_named_with_those_there_are(home: Home) -> None:
    file = home.project_file("shop")
    file.parent.mkdir(parents=True)
    file.write_text(GOOD)
    assert load_project(home, "shop").name == "shop"
    for name in ("shoq", "../shop", ""):
        with pytest.raises(NotFound) as refused:
            load_project(home, name)
        assert "(shop)" in refused.value.detail


def test_the_published_schema_is_current(tmp_path: Path) -> None:
    """`./tidemill schema` writes it anew."""
    write_schema(tmp_path / "schema.json")
    published = CHECKOUT / "docs" / "project.schema.json"
    assert published.read_text() == (tmp_path / "schema.json").read_text()
    assert json.loads(published.read_text()) == json_schema()


def test_the_published_schema_takes_the_word_that_stands_for_labels() -> None:
    labels = json_schema()["$defs"]["Labels"]
    word, shape = labels["anyOf"]
    assert word["enum"] == ["column", "built-in", "label-studio"]
    assert "budget" in shape["properties"]
    assert Labels.model_validate("built-in").kind == "built-in"
