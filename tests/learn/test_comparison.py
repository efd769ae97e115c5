"""Two models on the same rows: paired differences, and what makes a comparison impossible."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier

from tidemill.learn import metrics
from tidemill.learn.comparison import Comparison, compare
from tidemill.learn.learnable import truth_of
from tidemill.learn.pipeline import make_pipeline
from tidemill.learn.scoring import Outputs
from tidemill.project import Column


def test_a_paired_interval_is_the_one_of_the_differences_themselves():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=300) * 5
    hard = rng.normal(size=300) * 3  # both models err on the same rows
    mine, theirs = truth + hard, truth + hard + rng.normal(size=300) * 0.1 + 0.1
    found = metrics.differences(
        truth, Outputs(mine, mine, None, [], None), Outputs(theirs, theirs, None, [], None), seed=3
    )["mae"]
    per_row = np.abs(mine - truth) - np.abs(theirs - truth)
    assert found.value == pytest.approx(per_row.mean(), abs=1e-12)
    # By the central limit theorem; the percentile bootstrap comes near it on 300 rows.
    half = 1.96 * per_row.std(ddof=1) / np.sqrt(len(per_row))
    assert found.low == pytest.approx(per_row.mean() - half, abs=half / 5)
    assert found.high == pytest.approx(per_row.mean() + half, abs=half / 5)
    apart = metrics.intervals(truth, Outputs(mine, mine, None, [], None), seed=3)["mae"]
    assert (apart.high - apart.low) > 10 * (found.high - found.low)


@pytest.mark.parametrize("name", ["binary", "multiclass", "regression"])
def test_a_model_beside_itself_differs_by_nothing(name, request):
    trained = request.getfixturevalue(name)
    pipeline, project = trained.training.best.pipeline, trained.project
    found = compare(pipeline, pipeline, trained.features, project, project, version=4)
    assert {(one.value, one.low, one.high) for one in found.differences.values()} == {(0.0, 0.0, 0.0)}
    assert found.live == {key: one.value for key, one in trained.evaluation.metrics.items()}
    assert Comparison.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_differences_are_scikit_learns(binary):
    features, project = binary.features, binary.project
    train = features[features["_split"] == "train"]
    other = make_pipeline(project, "linear", {"C": 0.001}).fit(
        train[list(project.feature_columns)], truth_of(train, project)
    )
    found = compare(binary.training.best.pipeline, other, features, project, project, version=1)
    test = features[features["_split"] == "test"]
    truth = test["_label"].to_numpy(dtype=str) == "malignant"
    mine, theirs = (
        sk.roc_auc_score(truth, model.predict_proba(test)[:, 1])
        for model in (binary.training.best.pipeline, other)
    )
    assert found.differences["roc_auc"].value == pytest.approx(mine - theirs, abs=1e-12)


def test_a_class_that_the_live_model_never_saw_counts_against_it(multiclass):
    features, project = multiclass.features, multiclass.project
    seen = features[features["_label"] != "2"]
    live = DummyClassifier().fit(seen[list(project.feature_columns)], truth_of(seen, project))
    found = compare(multiclass.training.best.pipeline, live, features, project, project, version=1)
    assert found.differences["accuracy"].low > 0


def test_an_older_contract_is_compared_by_its_own_columns_or_not_at_all(binary):
    pipeline, features, project = binary.training.best.pipeline, binary.features, binary.project
    fewer = project.model_copy(update={"columns": dict(list(project.columns.items())[2:])})
    train = features[features["_split"] == "train"]
    live = make_pipeline(fewer, "linear", {}).fit(train[list(fewer.feature_columns)], truth_of(train, fewer))
    assert not compare(pipeline, live, features, project, fewer, version=1).reason
    more = project.model_copy(update={"columns": {**project.columns, "age": Column(type="float")}})
    assert "'age'" in compare(pipeline, live, features, project, more, version=1).reason
    other = project.model_copy(update={"task": "multiclass"})
    assert "multiclass" in compare(pipeline, live, features, project, other, version=1).reason
    first = next(iter(project.columns))
    typed = project.model_copy(update={"columns": {**project.columns, first: Column(type="category")}})
    assert repr(first) in compare(pipeline, live, features, project, typed, version=1).reason
