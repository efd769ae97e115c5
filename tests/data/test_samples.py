"""The sample data goes through the loop: files are taken whole, and what is held out was never in them."""

import json
import time
from pathlib import Path

from tidemill.data import samples
from tidemill.data.ingest import ingest_pending
from tidemill.data.init import init_project
from tidemill.home import Home
from tidemill.project import load_project
from tidemill.store.state import State


def test_both_hospitals_keep_the_contract_of_the_first(tmp_path: Path, home: Home, state: State) -> None:
    csv, excel = samples.write_breast_cancer(tmp_path)
    project = init_project(home, csv, "cancer", "diagnosis").project
    assert (project.task, project.labels.positive, project.id_column) == ("binary", "malignant", "patient_id")
    (home.inbox("cancer") / excel.name).write_bytes(excel.read_bytes())
    result = ingest_pending(home, state, load_project(home, "cancer"))
    assert [outcome.rejected for outcome in result.files] == [0, 0]
    assert result.version is not None
    taken = result.version.to_pandas()
    assert len(taken) == 369
    held_out = [record for record, _ in samples.breast_cancer_holdout()]
    assert len(held_out) == 200
    assert not {record["patient_id"] for record in held_out} & set(taken["patient_id"])
    # A record with an empty cell is answered only where the contract allows one.
    may_be_empty = {name for name, column in project.columns.items() if column.nulls}
    empty = {name for record in held_out for name, value in record.items() if value is None}
    assert empty <= may_be_empty


def test_samples_are_the_same_every_time(tmp_path: Path) -> None:
    first = [file.read_bytes() for file in samples.write_breast_cancer(tmp_path / "a")]
    time.sleep(1.1)  # a workbook notes the second it was written in, unless it is told not to
    assert first == [file.read_bytes() for file in samples.write_breast_cancer(tmp_path / "b")]
    assert samples.shifted_batch(5, 1) == samples.shifted_batch(5, 1)
    assert samples.shifted_batch(5, 1) != samples.shifted_batch(5, 2)
    json.dumps([samples.shifted_batch(20), samples.breast_cancer_holdout(20)], allow_nan=False)


def test_other_samples_make_projects(tmp_path: Path, home: Home) -> None:
    diabetes = init_project(home, samples.write_diabetes(tmp_path)[0], "diabetes", "progression").project
    assert diabetes.task == "regression"
    wine = init_project(home, samples.write_wine(tmp_path)[0], "wine", "cultivar").project
    assert (wine.task, wine.columns["cultivar"].values) == ("multiclass", ["barbera", "barolo", "grignolino"])
