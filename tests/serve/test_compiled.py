import json

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from tidemill.errors import Corrupt
from tidemill.learn.compiling import compile_pipeline
from tidemill.learn.pipeline import make_pipeline
from tidemill.project import Column, Project
from tidemill.serve.compiled import CompiledModel, Form, read_form

COLUMNS = {"kind": Column(type="category"), "size": Column(type="float")}


def fitted(estimator: str) -> Pipeline:
    random = np.random.default_rng(4)
    rows = pd.DataFrame({"kind": random.choice(list("abc"), 90), "size": random.normal(0, 1, 90)})
    truth = np.where(rows["size"] > 0.4, "l", np.where(rows["kind"] == "a", "m", "n"))
    target = {"y": Column(type="category", role="target")}
    project = Project(name="pets", task="multiclass", columns=COLUMNS | target)
    return make_pipeline(project, estimator, {}).fit(rows, truth)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return fitted("random_forest")


@pytest.fixture
def form(pipeline: Pipeline) -> Form:
    return compile_pipeline(pipeline)


def test_a_form_comes_back_as_it_was_written(form: Form) -> None:
    read = read_form(form.to_bytes(), "pets")
    assert read.document == json.loads(json.dumps(form.document))
    assert all(np.array_equal(read.arrays[name], values) for name, values in form.arrays.items())


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY"])
def test_what_is_no_scorer_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt, match="compiled scorer of pets"):
        read_form(data, "pets")


def test_a_form_of_another_version_is_refused(form: Form) -> None:
    form.document["format"] = 2
    with pytest.raises(Corrupt, match="number 2"):
        read_form(form.to_bytes(), "pets")


@pytest.mark.parametrize(
    ("array", "value"), [("left", 0), ("left", 10**6), ("feature", 10**6), ("roots", -1)]
)
def test_a_tree_that_would_not_end_is_refused(form: Form, array: str, value: int) -> None:
    form.arrays[array] = form.arrays[array].copy()
    form.arrays[array][0] = value
    with pytest.raises(Corrupt, match="does not hold together"):
        CompiledModel(form, "pets")


def test_many_records_are_scored_in_lots() -> None:
    model = CompiledModel(compile_pipeline(fitted("hist_gradient_boosting")), "pets")
    records = [{"kind": "abc"[index % 3], "size": index / 300 - 1} for index in range(600)]
    assert model.many(records) == [model.one(record) for record in records]
    assert model.many([]) == []
