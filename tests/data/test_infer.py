"""A first contract from a file: what is judged, and that the file then keeps it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tidemill.data.infer import infer, infer_project
from tidemill.data.ingest import ingest_pending
from tidemill.data.init import init_project
from tidemill.data.render import render_yaml
from tidemill.errors import InvalidInput
from tidemill.home import Home
from tidemill.project import Project, load_project
from tidemill.store.state import State


def file_of(folder: Path, columns: dict[str, Sequence[object]], name: str = "f.csv") -> Path:
    lines = [",".join(columns)]
    lines += [",".join(str(cell) for cell in row) for row in zip(*columns.values(), strict=True)]
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def column_of(folder: Path, cells: Sequence[object], name: str = "c") -> dict[str, Any]:
    """What is inferred of one column beside a plain number and a target; only what differs from the defaults."""
    other = [1.5 + index % 7 for index in range(len(cells))]
    target = ["yes" if index % 3 else "no" for index in range(len(cells))]
    path = file_of(folder, {name: cells, "other": other, "target": target})
    project = infer_project(path, name="p", target="target")
    return project.columns[name].model_dump(exclude_defaults=True)


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("whole", [3, 4, 9] * 10, {"type": "integer", "nulls": False, "min": 0.0, "max": 12.0}),
        ("signed", [-3, 4, 9] * 10, {"type": "integer", "nulls": False, "min": -9.0, "max": 15.0}),
        ("below", [-3.5, -1.5] * 10, {"type": "float", "nulls": False, "min": -4.5, "max": 0.0}),
        ("flag", [0, 1] * 10, {"type": "integer", "nulls": False, "min": 0.0, "max": 1.0}),
        ("gaps", ["", 1.5, "NA", 2.5] * 5, {"type": "float", "min": 0.0, "max": 3.0}),
        ("words", ["yes", "No"] * 10, {"type": "boolean", "nulls": False}),
        ("colour", ["red", "green"] * 10, {"type": "category", "nulls": False, "values": ["green", "red"]}),
        ("zip", ["00123", "10115"] * 10, {"type": "category", "nulls": False, "values": ["00123", "10115"]}),
        ("day", ["2024-01-01", "2024-01-02"] * 10, {"type": "date", "nulls": False, "role": "time"}),
        ("day", ["31.12.2024", "01.02.2024"] * 10, {"type": "date", "nulls": False, "role": "time"}),
        ("at", ["2024-01-01 10:00", "2024-01-02"] * 10, {"type": "datetime", "nulls": False, "role": "time"}),
        ("same", ["x"] * 20, {"type": "string", "role": "ignore"}),
        ("nothing", [""] * 20, {"type": "string", "role": "ignore"}),
        ("instant", list(range(1, 31)), {"type": "integer", "role": "ignore"}),
        ("user_id", list(range(7, 37)), {"type": "integer", "nulls": False, "role": "id", "unique": True}),
        (
            "userId",
            [f"u{n}" for n in range(30)],
            {"type": "string", "nulls": False, "role": "id", "unique": True},
        ),
        (
            "who",
            [f"u{n}" for n in range(30)],
            {"type": "string", "nulls": False, "role": "id", "unique": True},
        ),
        ("odd", [f"u{n % 60}" for n in range(80)], {"type": "string", "role": "ignore"}),
        ("town", [f"u{n % 60}" for n in range(1500)], {"type": "string", "nulls": False}),
        ("note", [f"a note of many words {n}" for n in range(30)], {"type": "text", "nulls": False}),
    ],
)
def test_columns(tmp_path: Path, name: str, cells: list[object], expected: dict[str, Any]) -> None:
    assert column_of(tmp_path, cells, name) == expected


def test_one_dirty_cell_does_not_make_text_of_numbers(tmp_path: Path) -> None:
    cells: list[object] = [index % 50 for index in range(300)]
    cells[7] = "unknown"
    path = file_of(tmp_path, {"n": cells, "target": [1.5 * index for index in range(300)]})
    found = infer(path, name="p", target="target")
    assert found.project.columns["n"].type == "integer"
    assert "1 cells are not of this type" in found.notes["n"]


@pytest.mark.parametrize(
    ("cells", "task", "kind"),
    [
        (["no", "yes"] * 20, "binary", "category"),
        (["true", "false"] * 20, "binary", "boolean"),
        ([0, 1] * 20, "binary", "integer"),
        (["0.0", "1.0"] * 20, "binary", "integer"),
        (["a", "b", "c"] * 20, "multiclass", "category"),
        ([3, 4, 5, 6] * 20, "multiclass", "integer"),
        (list(range(60)), "regression", "integer"),
        ([0.5 * n for n in range(60)], "regression", "float"),
        (list(range(12)), "regression", "integer"),
    ],
)
def test_tasks(tmp_path: Path, cells: list[object], task: str, kind: str) -> None:
    path = file_of(tmp_path, {"x": [n % 5 for n in range(len(cells))], "y": cells})
    project = infer_project(path, name="p", target="y")
    assert (project.task, project.columns["y"].type) == (task, kind)


def test_only_text_features_make_a_text_classification(tmp_path: Path) -> None:
    notes = [f"some words that are prose {n}" for n in range(40)]
    path = file_of(tmp_path, {"note": notes, "y": ["ham", "spam"] * 20})
    assert infer_project(path, name="p", target="y").task == "text_classification"


@pytest.mark.parametrize(
    ("cells", "positive"),
    [
        (["benign", "malignant", "benign"], "malignant"),
        ([0, 1, 1], "1"),
        (["false", "true", "true"], "true"),
        (["No", "Yes", "Yes"], "Yes"),
        (["red", "green", "red"], "green"),
    ],
)
def test_the_positive_class(tmp_path: Path, cells: list[object], positive: str) -> None:
    path = file_of(tmp_path, {"x": [n % 5 for n in range(30)], "y": cells * 10})
    found = infer(path, name="p", target="y")
    assert found.project.labels.positive == positive
    assert any(repr(positive) in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"x": [1, 2], "churn": [0, 1]}, {"target": "chrun"}, "Did you mean 'churn'?"),
        ({"x": [1, 2], "y": [1, 1]}, {"target": "y"}, "cannot be the target"),
        ({"x": [1, 2], "y": ["", ""]}, {"target": "y"}, "0 of 2 rows"),
        ({"x": [1, 2], "y": ["2024-01-01", "2024-01-02"]}, {"target": "y"}, "dates"),
        ({"x": [1, 2] * 20, "y": [f"c{n}" for n in range(40)]}, {"target": "y"}, "few classes"),
        ({"x": [1, 2], "y": ["a", "b"]}, {"target": "y", "task": "regression"}, "needs numbers"),
        ({"x": [1, 2, 3], "y": ["a", "b", "c"]}, {"target": "y", "task": "binary"}, "needs two"),
        ({"x": [1, 2], "y": [0.5, 1.5]}, {"target": "y", "task": "multiclass"}, "few classes"),
        ({"x": [1, 2], "y": ["a", "b"]}, {"target": "y", "task": "guess"}, "no such task"),
        ({"x": [1, 2], "y": ["a", "b"]}, {"target": "y", "task": "text_classification"}, "type text"),
        ({"x": [1, 1], "y": ["a", "b"]}, {"target": "y"}, "No column can be a feature"),
        ({"x": [1, 1], "y": ["a", "b"]}, {"target": "y", "name": "Bad Name"}, "not a project name"),
        ({"x": [], "y": []}, {"target": "y"}, "no rows"),
    ],
)
def test_what_cannot_be_is_said(
    tmp_path: Path, columns: dict[str, list[object]], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        infer_project(file_of(tmp_path, columns), **{"name": "p", **options})
    assert words in str(refused.value)


def test_a_decimal_comma_is_understood(tmp_path: Path, home: Home, state: State) -> None:
    path = tmp_path / "f.csv"
    path.write_text("size;y\n" + "".join(f"{n},5;{n},25\n" for n in range(40)))
    project = init_project(home, path, "p", "y").project
    assert (project.task, project.columns["size"].type) == ("regression", "float")
    version = ingest_pending(home, state, project).version
    assert version is not None
    assert version.to_arrow()["size"].to_pylist()[:2] == [0.5, 1.5]


TARGETS = {
    "nannyml_california_housing_analysis.csv": "y_pred",
    "nannyml_california_housing_reference.csv": "clf_target",
    "nannyml_titanic_analysis.csv": "Sex",
    "nannyml_titanic_reference.csv": "Survived",
    "pycaret_bank.csv": "deposit",
    "pycaret_bike.csv": "cnt",
    "pycaret_insurance.csv": "charges",
    "pycaret_smsspam.tsv": "label",
    "pycaret_telescope.csv": "Class",
    "pycaret_wine.csv": "quality",
    "telco_churn.csv": "Churn",
}
ROWS = {
    "telco_churn.csv": 7_043,
    "pycaret_bank.csv": 45_211,
    "pycaret_bike.csv": 17_379,
    "pycaret_wine.csv": 6_497,
    "pycaret_insurance.csv": 1_338,
    "pycaret_telescope.csv": 19_020,
    "pycaret_smsspam.tsv": 5_572,
    "nannyml_titanic_reference.csv": 891,
}


@pytest.mark.parametrize("name", TARGETS)
def test_real_files_come_in_whole(shared_data: Path, home: Home, state: State, name: str) -> None:
    """Inferred, written, read back, taken in: every row accepted, as each file keeps its own contract."""
    init_project(home, shared_data / name, "real", TARGETS[name])
    (outcome,) = ingest_pending(home, state, load_project(home, "real")).files
    assert outcome.status == "accepted"
    assert outcome.rows == (outcome.accepted or 0) + (outcome.rejected or 0)
    assert outcome.rejected == 0
    assert outcome.rows == ROWS.get(name, outcome.rows)


def test_telco(shared_data: Path) -> None:
    project = infer_project(shared_data / "telco_churn.csv", name="telco", target="Churn")
    assert project.id_column == "customerID"
    assert project.columns["TotalCharges"].type == "float"
    assert project.columns["TotalCharges"].nulls
    assert project.columns["Churn"].values == ["No", "Yes"]
    assert (project.task, project.labels.positive) == ("binary", "Yes")


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """Names and values that YAML would make something else of."""
    odd = {
        "yes": [1.5, 2.5] * 10,
        "2019": ["on", "a: b"] * 10,
        "a#b: c": ["null ", "[x]"] * 10,
        'it\'s "so"': ["{y}", "~"] * 10,
        "Größe €": ["ü", "no way"] * 10,
    }
    lines = ["\t".join([*odd, "target"])]
    lines += [
        "\t".join(map(str, [*row, "on" if n % 2 else "off"]))
        for n, row in enumerate(zip(*odd.values(), strict=True))
    ]
    path = tmp_path / "odd.tsv"
    path.write_text("\n".join(lines) + "\n")
    project = infer_project(path, name="odd", target="target")
    text = render_yaml(project, notes={"yes": "two\nlines: {odd}"}, schema="s.json")
    assert text.startswith("# yaml-language-server: $schema=s.json\n")
    assert Project.parse(text, Path("odd/project.yaml")) == project
    # What can be asked of a model stands there, and is kept where it was asked.
    assert "fairness: []" in text
    asked = Project.model_validate({**project.model_dump(mode="json"), "evaluation": {"slices": ["yes"]}})
    assert Project.parse(render_yaml(asked), Path("odd/project.yaml")) == asked
