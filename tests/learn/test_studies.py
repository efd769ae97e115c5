"""All studies at once on every kind of task: JSON and back, bounded, and in keeping with what was asked."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f_oneway, ttest_1samp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline

from tests.learn.conftest import features_of
from tidemill.learn.evaluation import Evaluation, evaluate
from tidemill.learn.learnable import truth_of
from tidemill.learn.learning_curve import learning_curve
from tidemill.learn.overfitting import gaps
from tidemill.learn.residuals import residuals_by_column
from tidemill.learn.scoring import answers
from tidemill.learn.studies import study
from tidemill.learn.training import train
from tidemill.project import Column, Project


def studied(trained, **settings) -> Evaluation:
    project = trained.project.model_copy(
        update={"evaluation": trained.project.evaluation.model_copy(update=settings)}
    )
    best = trained.training.best
    return study(best.pipeline, trained.features, project, trained.evaluation, cv_scores=best.cv_scores)


@pytest.mark.parametrize("name", ["binary", "multiclass", "regression"])
def test_every_task_is_studied_and_is_json(name, request):
    trained = request.getfixturevalue(name)
    first = next(iter(trained.project.feature_columns))
    found = studied(trained, slices=[first], fairness=[first])
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == found
    assert {one["column"] for one in found.importance["columns"]} == set(trained.project.feature_columns)
    assert found.slices
    assert found.fairness
    assert found.learning_curve
    assert found.gaps
    assert bool(found.calibration_error) == trained.project.is_classification
    assert bool(found.residuals_by) != trained.project.is_classification
    last_rows, last = found.learning_curve["points"][-1]
    assert last_rows == trained.training.rows
    assert last["value"] == pytest.approx(found.metrics[found.metric].value)


def test_text_is_studied():
    rng = np.random.default_rng(0)
    good, bad = ["fine room", "lovely stay"], ["dirty room", "rude staff"]
    labels = ["good" if index % 2 else "bad" for index in range(160)]
    texts = [f"{rng.choice(good if label == 'good' else bad)} {rng.integers(9)}" for label in labels]
    table = pd.DataFrame({"_row": [str(i) for i in range(160)], "said": texts, "y": labels})
    project = Project(
        name="said",
        task="text_classification",
        columns={"said": Column(type="text"), "y": Column(type="category", role="target")},
        training={"trials": 1, "folds": 2, "candidates": ["linear"]},
    )
    features = features_of(table, project)
    best = train(features, project).best
    found = study(
        best.pipeline, features, project, evaluate(best.pipeline, features, project), cv_scores=best.cv_scores
    )
    assert found.importance["columns"][0]["drop"] > 0.2


def test_the_costly_studies_look_at_a_sample(binary):
    found = studied(binary, sample=100)
    assert found.studied_rows == 100 < found.rows
    assert found.importance["rows"] == 100


def test_the_curve_can_be_switched_off_and_repeats(binary):
    assert studied(binary, learning_curve=False).learning_curve is None
    assert studied(binary, learning_curve=True) == studied(binary, learning_curve=True)


def test_a_part_of_a_split_by_time_is_the_newest(binary):
    seen: list[pd.DataFrame] = []

    class Recorder(ClassifierMixin, BaseEstimator):
        classes_ = np.array(["benign", "malignant"])

        def __sklearn_is_fitted__(self):
            return True

        def fit(self, table, _):
            seen.append(table)
            return self

        def predict_proba(self, table):
            return np.full((len(table), 2), 0.5)

    split = binary.project.training.split.model_copy(update={"kind": "time"})
    project = binary.project.model_copy(
        update={"training": binary.project.training.model_copy(update={"split": split})}
    )
    test = binary.features[binary.features["_split"] == "test"]
    steps = [("cast", "passthrough"), ("encode", "passthrough"), ("model", Recorder())]
    learning_curve(Pipeline(steps), binary.features, test, truth_of(test, project), project)
    train_rows = binary.features[binary.features["_split"] == "train"]
    assert [len(part) for part in seen] == sorted(len(part) for part in seen)
    assert set(seen[0].index) == set(train_rows.index[-len(seen[0]) :])


def known_by_heart(share: float, seed: int):
    """Labels and answers of which `share` are right and sure, the others drawn."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(400) < 0.5, "yes", "no")
    score = np.where(rng.random(400) < share, truth == "yes", rng.random(400)).astype(float)
    columns = {"x": Column(type="float"), "y": Column(type="category", role="target")}
    project = Project(name="demo", task="binary", columns=columns)
    return truth, answers(np.column_stack([1 - score, score]), ["no", "yes"], project), project


@pytest.mark.parametrize(
    ("share", "cv", "kinds"),
    [
        (0.0, [0.5, 0.52, 0.48], ["overfit"]),
        (0.7, [0.85, 0.86, 0.84], []),
        (0.2, [0.95, 0.96, 0.955], ["overfit", "worse than cross-validation"]),
    ],
)
def test_gaps_warn_of_more_than_chance(share, cv, kinds):
    truth, on_train, project = known_by_heart(1.0, 1)
    test_truth, on_test, _ = known_by_heart(share, 2)
    found = gaps((truth, on_train), (test_truth, on_test), cv, 0.5, project)
    assert found.train == 1.0
    assert found.train_loss.value == pytest.approx(1.0 - found.test)
    assert found.train_loss.low < found.train_loss.value < found.train_loss.high
    assert [warning.split(":")[0] for warning in found.warnings] == kinds


def test_residuals_are_an_analysis_of_variance():
    rng = np.random.default_rng(1)
    plan = rng.choice(["a", "b", "c"], 300)
    truth = rng.normal(size=300) + np.where(plan == "c", 2.0, 0.0)
    table = pd.DataFrame({"plan": plan, "x": rng.normal(size=300)})
    columns = {
        "plan": Column(type="category"),
        "x": Column(type="float"),
        "y": Column(type="float", role="target"),
    }
    project = Project(name="demo", task="regression", columns=columns)
    by_plan, by_x = residuals_by_column(table, truth, np.zeros(300), project)
    parts = [truth[plan == name] for name in "abc"]
    expected = f_oneway(*parts).pvalue
    assert by_plan.column == "plan"
    assert by_plan.p == pytest.approx(2 * expected)
    assert by_x.p > 0.05
    between = sum(len(part) * (part.mean() - truth.mean()) ** 2 for part in parts)
    assert by_plan.explained == pytest.approx(between / ((truth - truth.mean()) ** 2).sum())
    [last] = [group for group in by_plan.groups if group.name == "c"]
    student = ttest_1samp(parts[2], 0).confidence_interval()
    expected = (parts[2].mean(), student.low, student.high)
    assert (last.mean.value, last.mean.low, last.mean.high) == pytest.approx(expected)
