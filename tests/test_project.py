"""project.yaml: what it may say, and errors that name line and field."""

import json
from pathlib import Path

import pytest

from tidemill.errors import NotFound, ProjectFileError
from tidemill.home import CHECKOUT, Home
from tidemill.project import Project, json_schema, load_project, write_schema

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
        ("task: binary", "task: guess", 2, "task", "'binary'"),
        ("task: binary", "tusk: binary", 2, "tusk", "did you mean task?"),
        ("type: integer", "type: int", 5, "columns.age.type", "'integer'"),
        ("min: 0", "mni: 0", 5, "columns.age.mni", "did you mean min?"),
        ("min: 0", "min: 200", 5, "columns.age.min", "above max"),
        ("type: integer", "type: string", 5, "columns.age.min", "needs a column of type"),
        (
            "values: ['yes', 'no']}\n  churn",
            "values: [yes, no]}\n  churn",
            6,
            "columns.plan.values.0",
            "quote",
        ),
        ("values: ['yes', 'no']}\n  churn", "values: [1, 2]}\n  churn", 6, "columns.plan.values.0", "'1'"),
        ("values: ['yes', 'no']}\n  churn", "values: []}\n  churn", 6, "columns.plan.values", "at least 1"),
        ("  plan", "  2019", 6, "columns.2019.[key]", "quote it, such as '2019'"),
        ("  plan", "  AGE", 6, "columns.AGE", "SQL does not tell it"),
        ("  plan", "  _plan", 6, "columns._plan", "Tidemill's own"),
        ("role: target", "role: feature", 3, "columns", "exactly one column must have the role target"),
        ("role: id", "role: target", 3, "columns", "exactly one"),
        ("positive: 'yes'", "positive: maybe", 8, "labels.positive", "one of yes, no"),
        ("task: binary", "task: regression", 7, "columns.churn.type", "a regression needs a target"),
        ("task: binary", "task: text_classification", 2, "task", "feature of type text"),
        ("name: shop", "name: Shop", 1, "name", "pattern"),
        ("name: shop", "name: other", 1, "name", "the folder's, 'shop'"),
        ("labels:", "task: binary\nlabels:", 8, "task", "there twice"),
        ("labels:", "training: {metric: rmse}\nlabels:", 8, "training.metric", "for this task"),
        ("labels:", "training: {split: {kind: time}}\nlabels:", 8, "training.split.kind", "role time"),
        ("labels:", "gates: {minimum: {rmse: 1}}\nlabels:", 8, "gates.minimum.rmse", "for this task"),
    ],
)
def test_faults_name_line_and_field(before: str, after: str, line: int, field: str, words: str) -> None:
    assert before in GOOD
    found = problems(GOOD.replace(before, after, 1))
    assert any((at, where) == (line, field) and words in message for at, where, message in found), found


def test_every_fault_is_told_at_once() -> None:
    text = GOOD.replace("task: binary", "task: guess").replace("min: 0", "min: low")
    assert [line for line, *_ in problems(text)] == [2, 5]


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "just text", "a: [1", "\tname: x", "a: !!python/object:os.system {}"]
)
def test_what_is_no_mapping_is_refused(text: str) -> None:
    assert problems(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "shop" / "project.yaml"
    with pytest.raises(ProjectFileError, match="cannot be used"):
        Project.load(file)
    file.parent.mkdir()
    file.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ProjectFileError) as refused:
        Project.load(file)
    assert "UTF-8" in str(refused.value)


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
