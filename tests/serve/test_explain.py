"""Explanations against the `shap` package, which is asked about the scikit-learn model that was compiled."""

import warnings
from datetime import UTC, date, datetime
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from tidemill.errors import NotExplainable, TooLarge
from tidemill.learn.adjusting import AdjustedModel
from tidemill.learn.compiling import compile_pipeline
from tidemill.learn.pipeline import make_pipeline
from tidemill.learn.proof import compiled_scorer, records_of
from tidemill.project import Column, Project
from tidemill.serve.compiled import CompiledModel, Form, read_form
from tidemill.serve.explain import Explainer, Explanation

COLUMNS = {
    "size": "float",
    "count": "integer",
    "is_new": "boolean",
    "kind": "category",
    "born": "date",
    "seen": "datetime",
}
SMALL: dict[str, dict[str, Any]] = {
    "linear": {},
    "random_forest": {"n_estimators": 12, "min_samples_leaf": 1},
    "hist_gradient_boosting": {"max_iter": 12, "min_samples_leaf": 5, "learning_rate": 0.3},
}
PAIRS = list(product(SMALL, ("binary", "multiclass", "regression")))
ROWS = 160


def table() -> pd.DataFrame:
    random = np.random.default_rng(3)

    def gaps(values: list[Any]) -> list[Any]:
        return [None if random.random() < 0.1 else value for value in values]

    made: dict[str, list[Any]] = {
        "size": gaps(random.normal(0, 10, ROWS).tolist()),
        "count": random.integers(-20, 20, ROWS).tolist(),
        "is_new": gaps((random.random(ROWS) < 0.5).tolist()),
        "kind": gaps(random.choice(list("abcdefgh"), ROWS).tolist()),
        "born": gaps([date.fromordinal(int(day)) for day in random.integers(700_000, 740_000, ROWS)]),
        "seen": [datetime.fromtimestamp(int(at), UTC) for at in random.integers(0, 2_000_000_000, ROWS)],
    }
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in made.items()})


@cache
def fitted(estimator: str, task: str) -> tuple[Pipeline, Project, Form, pd.DataFrame]:
    kind = "float" if task == "regression" else "category"
    columns = {name: Column(type=of) for name, of in COLUMNS.items()}  # type: ignore[arg-type]
    project = Project(
        name="mix", task=task, columns={**columns, "y": Column(type=kind, role="target")},
        features={"max_categories": 6},
    )  # fmt: skip
    rows = table()
    random = np.random.default_rng(8)
    signal = np.array([0.0 if value is None else value for value in rows["size"]], dtype=float)
    signal = signal + 3.0 * (rows["kind"] == "a").to_numpy() + random.normal(0, 5, ROWS)
    truth: Any = signal
    if task != "regression":
        cuts = [0.5] if task == "binary" else [0.33, 0.66]
        truth = np.array(list("lmn"))[np.digitize(signal, np.quantile(signal, cuts))]
    pipeline = make_pipeline(project, estimator, SMALL[estimator]).fit(rows, truth)
    data, said = compiled_scorer(pipeline, project, rows)
    assert data is not None, said
    return pipeline, project, read_form(data, "mix"), rows


def explained(form: Form, records: list[dict[str, Any]], labels: list[str | None]) -> list[Explanation]:
    return Explainer(form, "mix").explain(records, labels)


def reference(pipeline: Pipeline, rows: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values and base values of the shap package: rows x encoded columns x outputs, and outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

        model, matrix = pipeline.named_steps["model"], pipeline[:-1].transform(rows)
        matrix = np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix)
        if hasattr(model, "coef_"):
            made = shap.LinearExplainer(model, shap.maskers.Independent(matrix, max_samples=ROWS))
        else:
            made = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
            matrix = matrix.astype(np.float32) if hasattr(model, "estimators_") else matrix
        values = np.asarray(made.shap_values(matrix))
    return values.reshape(*matrix.shape, -1), np.atleast_1d(made.expected_value)


def by_field(form: Form, values: NDArray[Any]) -> dict[str, float]:
    """Encoded columns added up by hand: places are in the order of the document's columns."""
    found: dict[str, float] = {}
    for entry in form.document["columns"]:
        if entry["kind"] == "category":
            places = {*entry["known"].values(), entry["unknown"]} - {None}
        else:
            numbers = entry.get("numbers") or [entry["number"]]
            places = {each["at"] for each in numbers}
            places |= {each["gap"]["at"] for each in numbers if each["gap"]}
        found[entry["name"]] = float(values[sorted(places)].sum())
    return found


@pytest.mark.parametrize(("estimator", "task"), PAIRS)
def test_contributions_are_those_of_the_shap_package(estimator: str, task: str) -> None:
    pipeline, project, form, rows = fitted(estimator, task)
    records = records_of(rows, project)
    wanted, bases = reference(pipeline, rows)
    classes = [None] if task == "regression" else pipeline.named_steps["model"].classes_.tolist()
    for index, label in enumerate(classes):
        at, sign = (index, 1.0) if wanted.shape[2] > 1 else (0, -1.0 if label and not index else 1.0)
        found = explained(form, records, [label] * len(records))
        for one, values in zip(found, wanted[:, :, at], strict=True):
            assert one.base_value == pytest.approx(sign * bases[at], abs=1e-7)
            assert one.contributions == pytest.approx(by_field(form, sign * values), abs=1e-7)


@pytest.mark.parametrize(("estimator", "task"), PAIRS)
def test_base_and_contributions_add_up_to_the_models_own_margin(estimator: str, task: str) -> None:
    _, project, form, rows = fitted(estimator, task)
    records = [*records_of(rows, project)[:40], dict.fromkeys(COLUMNS)]
    records.append(records[0] | {"kind": "never seen", "size": 500.0})
    answers = CompiledModel(form, "mix").many(records)
    classes: list[Any] = form.document["classes"] or [None]
    for index, label in enumerate(classes):
        found = explained(form, records, [label] * len(records))
        for one, answer in zip(found, answers, strict=True):
            total = one.base_value + sum(one.contributions.values())
            assert one.margin == pytest.approx(total, rel=1e-9)
            if one.unit == "log-odds":
                assert 1 / (1 + np.exp(-one.margin)) == pytest.approx(answer[index], abs=1e-9)
            elif one.unit in ("probability", "value"):
                assert one.margin == pytest.approx(answer[index], rel=1e-9, abs=1e-9)
    if found[0].unit == "log-score":
        margins = np.array([[one.margin for one in explained(form, records, [name] * len(records))]
                            for name in classes])  # fmt: skip
        powers = np.exp(margins - margins.max(axis=0))
        np.testing.assert_allclose((powers / powers.sum(axis=0)).T, answers, atol=1e-9)


def test_units_are_named() -> None:
    units = {pair: explained(fitted(*pair)[2], [dict.fromkeys(COLUMNS)],
                             [None if pair[1] == "regression" else "l"])[0].unit for pair in PAIRS}  # fmt: skip
    assert units == {
        ("linear", "binary"): "log-odds",
        ("linear", "multiclass"): "log-score",
        ("linear", "regression"): "value",
        ("random_forest", "binary"): "probability",
        ("random_forest", "multiclass"): "probability",
        ("random_forest", "regression"): "value",
        ("hist_gradient_boosting", "binary"): "log-odds",
        ("hist_gradient_boosting", "multiclass"): "log-score",
        ("hist_gradient_boosting", "regression"): "value",
    }


def test_paths_that_are_not_kept_and_split_into_lots_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, project, form, rows = fitted("random_forest", "binary")
    records = records_of(rows, project)[:5]
    kept = explained(form, records, ["m"] * 5)
    monkeypatch.setattr("tidemill.serve.explain.MOST_KEPT", 100)
    monkeypatch.setattr("tidemill.serve.paths.LOT", 7)
    for one, other in zip(kept, explained(form, records, ["m"] * 5), strict=True):
        assert one.contributions == pytest.approx(other.contributions, abs=1e-12)


def test_too_much_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, project, form, rows = fitted("random_forest", "binary")
    explainer, records = Explainer(form, "mix"), records_of(rows, project)[:3]
    monkeypatch.setattr("tidemill.serve.explain.MOST_WORK", 2 * explainer._size)
    assert len(explainer.explain(records[:2], ["m"] * 2)) == 2
    with pytest.raises(TooLarge, match="limit is 2"):
        explainer.explain(records, ["m"] * 3)


@pytest.mark.parametrize("estimator", SMALL)
def test_a_form_of_before_says_that_it_has_none(estimator: str) -> None:
    form = fitted(estimator, "binary")[2]
    old = {name: array for name, array in form.arrays.items() if name not in ("mean", "cover")}
    with pytest.raises(NotExplainable, match="mix: it was trained before"):
        Explainer(Form(form.document, old), "mix")


def test_calibration_is_told_and_the_margin_is_the_one_before() -> None:
    pipeline, project, _, rows = fitted("linear", "binary")
    calibration = {"kind": "sigmoid", "slope": 0.5, "offset": 0.25}
    model = AdjustedModel(pipeline.named_steps["model"], "m", calibration, None)
    adjusted = Pipeline([*pipeline.steps[:-1], ("model", model)])
    form = compile_pipeline(adjusted)
    form.arrays["mean"] = fitted("linear", "binary")[2].arrays["mean"]
    records = records_of(rows, project)[:3]
    found = explained(form, records, ["m"] * 3)
    assert all(one.calibrated for one in found)
    plain = explained(fitted("linear", "binary")[2], records, ["m"] * 3)
    assert [one.margin for one in found] == [one.margin for one in plain]
