"""Calibration of several classes: what it gains on rows that chose nothing, alone and in a served bundle."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine

from tests.learn.conftest import Trained, publish, target, trained
from tidemill.learn.bundle import load_model
from tidemill.learn.calibrating import choose_calibrations
from tidemill.serve.calibration import OneVsRest
from tidemill.serve.scorer import open_scorer

NAMES = ["a", "b", "c"]


def drawn(rows: int, seed: int, power: float = 1.0):
    """True probabilities, labels, and probabilities that are them to a power: too sure or too unsure."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet([1.0, 1.0, 1.0], rows)
    labels = np.array([NAMES[rng.choice(3, p=row)] for row in truth])
    said = truth**power
    return truth, labels, said / said.sum(axis=1, keepdims=True), np.arange(rows) % 3


def test_probabilities_that_are_right_are_left_alone_and_sure_ones_are_put_right():
    _, labels, said, folds = drawn(2_000, 0)
    assert choose_calibrations("auto", said, labels, NAMES, folds).document is None
    _, labels, said, folds = drawn(2_000, 0, power=3.0)
    found = choose_calibrations("auto", said, labels, NAMES, folds)
    assert found.document is not None
    assert found.said["log_loss_after"] < found.said["log_loss_before"]
    truth, _, new, _ = drawn(2_000, 1, power=3.0)
    calibrated = OneVsRest(found.document).many(new)
    assert np.abs(calibrated - truth).mean() < 0.5 * np.abs(new - truth).mean()


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_one_row_is_as_many_and_adds_up_to_one(kind):
    _, labels, said, folds = drawn(1_500, 2, power=2.0)
    maps = OneVsRest(choose_calibrations(kind, said, labels, NAMES, folds).document or {})
    many = maps.many(said)
    np.testing.assert_allclose(many, [maps.one(row) for row in said.tolist()], rtol=0, atol=1e-12)
    np.testing.assert_allclose(many.sum(axis=1), 1.0)


def test_a_class_of_few_rows_keeps_its_probabilities():
    _, labels, said, folds = drawn(600, 3, power=3.0)
    labels[np.flatnonzero(labels == "c")[5:]] = "a"
    document = choose_calibrations("sigmoid", said, labels, NAMES, folds).document
    assert document is not None
    assert [one is None for one in document["maps"]] == [False, False, True]


def test_too_few_rows_and_switched_off_have_a_reason():
    _, labels, said, folds = drawn(30, 0, power=3.0)
    assert choose_calibrations("auto", said, labels, NAMES, folds).said["reason"].startswith("too few")
    assert choose_calibrations("none", said, labels, NAMES, folds).said["reason"] == "switched off"


@pytest.mark.parametrize("maps", [[], [{"kind": "sigmoid", "slope": -1.0, "offset": 0.0}]])
def test_data_that_is_no_calibration_is_refused(maps):
    with pytest.raises(ValueError, match="calibration"):
        OneVsRest({"kind": "one_vs_rest", "maps": maps})


@pytest.fixture(scope="module")
def wine() -> Trained:
    table = load_wine(as_frame=True)
    frame = table.data.iloc[:, :6].assign(y=table.target)
    return trained(
        "wine", "multiclass", frame, target("integer"), candidates=["linear"], calibration="sigmoid"
    )


def test_it_is_compiled_served_and_told(tmp_path, wine):
    info = publish(tmp_path, wine, reference=wine.features)
    assert info.provenance["scorer"]["form"] == "compiled"
    assert "Probabilities are calibrated (sigmoid, each class against the rest)" in info.card
    rows = wine.features.head(40)
    model = load_model(tmp_path, info.version)
    told = model.predict_proba(rows)
    records = rows[list(wine.project.feature_columns)].to_dict("records")
    answers = open_scorer(tmp_path, info.version, wine.project).score(records)
    shown = [[answer.probabilities[name] for name in info.classes] for answer in answers]
    np.testing.assert_allclose(shown, told, rtol=0, atol=1e-9)
    assert [answer.label for answer in answers] == list(model.predict(rows))
    raw = model.steps[-1][1].model.predict_proba(model[:-1].transform(rows))
    assert np.abs(raw - told).max() > 1e-3
    assert wine.evaluation.calibration


def test_fitted_again_without_a_rare_class_it_still_answers(wine):
    rows = wine.features[wine.features["_label"] != "1"]
    again = clone(wine.training.best.pipeline).fit(rows, rows["_label"].to_numpy(dtype=str))
    found = again.predict_proba(rows)
    assert found.shape[1] == 2
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost"])
def test_weights_of_several_classes_help_the_rare_one(name):
    from tidemill.learn.candidates import recipe_of

    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    y = np.where(x[:, 0] + rng.normal(scale=0.8, size=600) > 1.8, "rare", np.where(x[:, 1] > 0, "a", "b"))
    recipe = recipe_of(name, True)
    assert recipe.weights is not None
    dial, balanced = recipe.weights
    found = {
        value: recipe.make(True, {"trees": 20, "depth": 3, "random_state": 1, dial: value}, 600)
        .fit(x, y)
        .predict_proba(x)[:, 2]
        .mean()
        for value in (None, balanced)
    }
    assert found[balanced] > 1.5 * found[None]
