"""Evaluation on held-out rows: equal to scikit-learn's numbers, JSON and back, clear refusals."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from tidemill.errors import InvalidInput
from tidemill.learn.evaluation import Evaluation, evaluate


def held_out(trained):
    return trained.features[trained.features["_split"] == "test"]


def test_binary_numbers_are_scikit_learns(binary):
    rows = held_out(binary)
    probabilities = binary.training.best.pipeline.predict_proba(rows)
    truth = rows["_label"].to_numpy(dtype=str)
    found = binary.evaluation.metrics
    assert found["roc_auc"].value == sk.roc_auc_score(truth == "malignant", probabilities[:, 1])
    assert found["log_loss"].value == sk.log_loss(truth, probabilities)
    labels = np.where(probabilities[:, 1] >= 0.5, "malignant", "benign")
    assert binary.evaluation.confusion["counts"] == sk.confusion_matrix(truth, labels).tolist()
    assert binary.evaluation.rows == len(rows)
    assert binary.evaluation.baseline["roc_auc"] == 0.5


def test_multiclass_and_regression_beat_the_dummy(multiclass, regression):
    assert multiclass.evaluation.metrics["roc_auc"].low > multiclass.evaluation.baseline["roc_auc"]
    assert set(multiclass.evaluation.roc) == {"0", "1", "2"}
    assert multiclass.evaluation.positive is None
    assert regression.evaluation.metrics["rmse"].high < regression.evaluation.baseline["rmse"]
    assert len(regression.evaluation.residuals) == regression.evaluation.rows


@pytest.mark.parametrize("name", ["binary", "multiclass", "regression"])
def test_it_is_json_and_back(name, request):
    evaluation = request.getfixturevalue(name).evaluation
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == evaluation


def test_without_the_trainings_baseline_the_dummy_is_the_same(binary, regression):
    for trained in (binary, regression):
        again = evaluate(trained.training.best.pipeline, trained.features, trained.project)
        assert again == trained.evaluation


@pytest.mark.parametrize("keep", ["none", "one_class"])
def test_degenerate_test_rows_are_refused(binary, keep):
    rows = binary.features
    test = rows["_split"] == "test"
    wanted = ~test if keep == "none" else ~test | (rows["_label"] == "benign")
    with pytest.raises(InvalidInput) as caught:
        evaluate(binary.training.best.pipeline, rows[wanted], binary.project)
    assert caught.value.remedy


def test_a_class_the_model_never_saw_counts_against_it(multiclass):
    rows = multiclass.features.copy()
    first = rows.index[rows["_split"] == "test"][0]
    rows.loc[first, "_label"] = "9"
    changed = evaluate(multiclass.training.best.pipeline, rows, multiclass.project)
    assert changed.classes == ["0", "1", "2", "9"]
    assert changed.metrics["log_loss"].value > multiclass.evaluation.metrics["log_loss"].value
    assert np.isfinite([i.low for i in changed.metrics.values()]).all()
