"""The text of a project.yaml: every fault of YAML and of the model has its line, its field and a way out."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tidemill.errors import ProjectFileError
from tidemill.project import Project
from tidemill.project_file import problems_of, read_document, read_text

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

Problems = list[tuple[int, str, str]]


def faults_of_model(text: str) -> Problems:
    document = read_document(text, "shop/project.yaml")
    with pytest.raises(ValidationError) as refused:
        Project.model_validate(document.fields)
    problems = problems_of(refused.value, document, Project)
    return [(problem.line, problem.field, problem.message) for problem in problems]


def faults_of_yaml(text: str) -> Problems:
    with pytest.raises(ProjectFileError) as refused:
        read_document(text, "shop/project.yaml")
    return [(problem.line, problem.field, problem.message) for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("before", "after", "line", "field", "words"),
    [
        ("task: binary", "task: guess", 2, "task", "'binary'"),
        ("task: binary", "tusk: binary", 2, "tusk", "did you mean task?"),
        ("type: integer", "type: int", 5, "columns.age.type", "'integer'"),
        ("min: 0", "mni: 0", 5, "columns.age.mni", "did you mean min?"),
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
        ("name: shop", "name: Shop", 1, "name", "pattern"),
        ("labels:", "training: {split: {kid: time}}\nlabels:", 8, "training.split.kid", "did you mean kind?"),
    ],
)
def test_faults_of_the_model_name_line_and_field(
    before: str, after: str, line: int, field: str, words: str
) -> None:
    assert before in GOOD
    found = faults_of_model(GOOD.replace(before, after, 1))
    assert any((at, where) == (line, field) and words in message for at, where, message in found), found


def test_every_fault_of_the_model_is_told_at_once() -> None:
    text = GOOD.replace("task: binary", "task: guess").replace("min: 0", "min: low")
    assert [line for line, *_ in faults_of_model(text)] == [2, 5]


def test_a_fault_stands_at_the_nearest_line_that_is_in_the_file() -> None:
    document = read_document(GOOD, "shop/project.yaml")
    assert document.problem(("columns", "age", "min"), "", "").line == 5
    assert document.problem(("columns", "age", "unique"), "", "").line == 5
    assert document.problem(("columns",), "", "").line == 3
    assert document.problem(("training", "metric"), "", "").line == 1


def test_a_field_that_is_there_twice_is_refused() -> None:
    found = faults_of_yaml(GOOD.replace("labels:", "task: binary\nlabels:"))
    assert found == [(8, "task", "the field is there twice")]


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "just text", "a: [1", "\tname: x", "a: !!python/object:os.system {}"]
)
def test_what_is_no_mapping_is_refused(text: str) -> None:
    assert faults_of_yaml(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "shop" / "project.yaml"
    with pytest.raises(ProjectFileError, match="cannot be used"):
        read_text(file)
    file.parent.mkdir()
    file.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ProjectFileError) as refused:
        read_text(file)
    assert "UTF-8" in str(refused.value)
