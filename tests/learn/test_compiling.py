"""Compiled scorers against scikit-learn: every candidate x task x mix of columns, on records made by hypothesis."""

import math
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.learn.compiling import NotCompilable, compile_pipeline
from tidemill.learn.pipeline import make_pipeline
from tidemill.learn.proof import LARGEST_DIFFERENCE, compare, compiled_scorer, trial_records
from tidemill.project import Column, Project
from tidemill.serve.compiled import CompiledModel, read_form

MIXES = {
    "numbers": {"size": "float", "count": "integer", "empty": "float"},
    "mixed": {
        "size": "float",
        "count": "integer",
        "is_new": "boolean",
        "kind": "category",
        "code": "string",
        "born": "date",
        "seen": "datetime",
    },
    "categories": {"kind": "category", "code": "string"},
    "text": {"size": "float", "note": "text", "silent": "text"},
}
TASKS = ("binary", "multiclass", "regression")
SMALL: dict[str, dict[str, Any]] = {
    "linear": {},
    "random_forest": {"n_estimators": 12},
    "hist_gradient_boosting": {"max_iter": 12, "min_samples_leaf": 5},
}
PAIRS = [
    (estimator, task, mix)
    for estimator in SMALL
    for task in TASKS
    for mix in MIXES
    if mix != "text" or estimator == "linear"
]
WORDS = ("calm", "loud", "very", "old", "new", "Straße")

numbers = st.none() | st.floats(-1e39, 1e39) | st.floats(-30, 30) | st.integers(-30, 30).map(float)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float": numbers | st.floats(-30, 30, width=32),
    "integer": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-30, 30),
    "boolean": st.none() | st.booleans(),
    "category": st.none() | st.sampled_from("abcdefghijk") | st.text(max_size=4),
    "string": st.none() | st.sampled_from("abcdefghijk") | st.text(max_size=4),
    "date": st.none() | st.dates(),
    "datetime": st.none() | st.datetimes(timezones=st.just(UTC)),
    "text": st.none() | st.text(max_size=30) | st.lists(st.sampled_from(WORDS)).map(" ".join),
}


def project_of(task: str, mix: str) -> Project:
    columns = {name: Column(type=kind) for name, kind in MIXES[mix].items()}
    kind = "float" if task == "regression" else "category"
    # Few enough categories that rare ones share a place.
    return Project(
        name="mix", task=task, columns={**columns, "y": Column(type=kind, role="target")},
        features={"max_categories": 6},
    )  # fmt: skip


def table(mix: str, rows: int = 160) -> pd.DataFrame:
    random = np.random.default_rng(3)

    def gaps(values: list[Any]) -> list[Any]:
        return [None if random.random() < 0.1 else value for value in values]

    made: dict[str, list[Any]] = {
        "size": gaps(random.normal(0, 10, rows).tolist()),
        "count": random.integers(-20, 20, rows).tolist(),
        "empty": [None] * rows,
        "is_new": gaps((random.random(rows) < 0.5).tolist()),
        "kind": gaps(random.choice(list("abc"), rows).tolist()),
        "code": random.choice(list("abcdefghij"), rows).tolist(),
        "born": gaps([date.fromordinal(int(day)) for day in random.integers(700_000, 740_000, rows)]),
        "seen": [datetime.fromtimestamp(int(at), UTC) for at in random.integers(0, 2_000_000_000, rows)],
        "note": gaps([" ".join(random.choice(WORDS, 4)) for _ in range(rows)]),
        "silent": [""] * rows,
    }
    return pd.DataFrame({name: pd.Series(made[name], dtype=object) for name in MIXES[mix]})


@cache
def fitted(estimator: str, task: str, mix: str) -> tuple[Any, Project, CompiledModel, pd.DataFrame]:
    project, rows = project_of(task, mix), table(mix)
    random = np.random.default_rng(8)
    first = rows.iloc[:, 0]
    signal = np.array([0.0 if value is None else float(hash_of(value)) for value in first])
    noisy = signal + random.normal(0, signal.std() / 2 + 0.1, len(rows))
    if task == "regression":
        truth: Any = noisy
    else:
        cuts = [0.5] if task == "binary" else [0.33, 0.66]
        truth = np.array(list("lmn"))[np.digitize(noisy, np.quantile(noisy, cuts))]
    pipeline = make_pipeline(project, estimator, SMALL[estimator]).fit(rows, truth)
    form = read_form(compile_pipeline(pipeline).to_bytes(), "mix")
    return pipeline, project, CompiledModel(form, "mix"), rows


def hash_of(value: Any) -> float:
    return float(ord(value[0])) if isinstance(value, str) else float(value)


@pytest.mark.parametrize(("estimator", "task", "mix"), PAIRS)
def test_edges_and_thresholds_are_answered_alike(estimator: str, task: str, mix: str) -> None:
    pipeline, project, model, rows = fitted(estimator, task, mix)
    records = list(trial_records(compile_pipeline(pipeline), project, rows))
    assert len(records) > len(rows)
    difference, flips = compare(pipeline, model, project, records)
    assert difference <= LARGEST_DIFFERENCE
    assert flips == 0


@pytest.mark.parametrize(("estimator", "task", "mix"), PAIRS)
def test_any_record_is_answered_alike(estimator: str, task: str, mix: str) -> None:
    pipeline, project, model, _ = fitted(estimator, task, mix)
    record = st.fixed_dictionaries({name: VALUES[kind] for name, kind in MIXES[mix].items()})

    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(record, min_size=1, max_size=8))
    def alike(records: list[dict[str, Any]]) -> None:
        difference, flips = compare(pipeline, model, project, records)
        assert difference <= LARGEST_DIFFERENCE
        assert flips == 0

    alike()


def test_text_before_trees_has_no_compiled_form() -> None:
    project, rows = project_of("binary", "text"), table("text")
    pipeline = make_pipeline(project, "random_forest", {"n_estimators": 3})
    pipeline.fit(rows, np.array(["l", "m"] * 80))
    with pytest.raises(NotCompilable, match="note"):
        compile_pipeline(pipeline)
    data, said = compiled_scorer(pipeline, project, rows)
    assert data is None
    assert said["form"] == "scikit-learn"
    assert "SVD" in said["reason"]


def test_a_scorer_that_differs_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, project, _, rows = fitted("linear", "binary", "numbers")

    def shifted(pipeline: Any) -> Any:
        form = compile_pipeline(pipeline)
        form.arrays["intercept"] = form.arrays["intercept"] + 1e-7
        return form

    monkeypatch.setattr("tidemill.learn.proof.compile_pipeline", shifted)
    data, said = compiled_scorer(pipeline, project, rows)
    assert data is None
    assert said["form"] == "scikit-learn"
    assert said["max_abs_difference"] > LARGEST_DIFFERENCE


def test_of_many_trees_some_records_are_walked_one_by_one_and_all_are_encoded_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline, project, _, rows = fitted("random_forest", "binary", "mixed")
    monkeypatch.setattr("tidemill.learn.proof.MOST_WALKS", 12 * 800)
    data, said = compiled_scorer(pipeline, project, rows)
    assert data is not None
    assert 0 < said["records_one_by_one"] < said["records"]

    whole = CompiledModel.row

    def slipped(self: CompiledModel, record: Any) -> list[float]:
        row = whole(self, record)
        return [row[0] + 1.0, *row[1:]] if record["kind"] == "(no such value)" else row

    monkeypatch.setattr(CompiledModel, "row", slipped)
    data, said = compiled_scorer(pipeline, project, rows)
    assert data is None
    assert said["max_abs_difference"] == math.inf


def test_a_wide_table_is_proved_in_bounded_time() -> None:
    random = np.random.default_rng(6)
    names = [f"c{index}" for index in range(120)]
    rows = pd.DataFrame(random.normal(0, 1, (80, 120)), columns=names)
    columns = {name: Column(type="float") for name in names}
    target = {"y": Column(type="float", role="target")}
    project = Project(name="wide", task="regression", columns=columns | target)
    pipeline = make_pipeline(project, "random_forest", {"n_estimators": 20}).fit(rows, rows.sum(axis=1))
    data, said = compiled_scorer(pipeline, project, rows)
    assert data is not None
    assert 1000 < said["records"] < 8000
