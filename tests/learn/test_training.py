"""Training: what it looks at, what it refuses, and that it gives the same model twice."""

import numpy as np
import pandas as pd
import pytest

from tidemill.errors import InvalidInput
from tidemill.learn.candidates import recipe_of
from tidemill.learn.training import Progress, train
from tidemill.project import Column, Project


def project(task: str = "binary", **training: object) -> Project:
    target = Column(type="float" if task == "regression" else "category", role="target")
    settings = {"candidates": ["linear"], "trials": 2, "folds": 2, **training}
    return Project(
        name="demo", task=task, columns={"x": Column(type="float"), "y": target}, training=settings
    )


def features(labels: list[object], **extra: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = len(labels)
    split = ["test" if index % 4 == 0 else "train" for index in range(rows)]
    table = {"_row": [f"r{index}" for index in range(rows)], "_split": split, "_label": labels}
    return pd.DataFrame({**table, "x": rng.normal(size=rows), **extra})


def test_every_candidate_is_told_and_the_best_is_chosen(binary):
    training = binary.training
    assert [found.name for found in training.candidates] == list(binary.project.training.candidates)
    assert training.best.cv_mean == max(found.cv_mean for found in training.candidates)
    assert training.best.cv_mean > training.baseline.metrics["roc_auc"] == 0.5
    assert (training.classes, training.positive) == (["benign", "malignant"], "malignant")
    for found in training.candidates:
        assert len(found.trials) == 2
        assert found.trials[0].params == recipe_of(found.name, True).default
        assert found.cv_mean == max(trial.mean for trial in found.trials)
        assert found.cv_scores == next(t.scores for t in found.trials if t.params == found.params)


def test_for_errors_the_smallest_is_the_best(regression):
    training = regression.training
    assert training.best.cv_mean == min(found.cv_mean for found in training.candidates)
    assert training.best.cv_mean < training.baseline.metrics["rmse"]


def test_test_rows_are_not_looked_at(binary):
    held = binary.features["_split"] == "test"
    changed = binary.features.copy()
    names = list(binary.project.feature_columns)
    changed.loc[held, names] = 1e6
    again = train(changed, binary.project)
    rows = binary.features.loc[~held]
    assert np.array_equal(
        again.best.pipeline.predict_proba(rows), binary.training.best.pipeline.predict_proba(rows)
    )


def test_two_trainings_give_equal_bytes(binary, regression):
    for done in (binary, regression):
        again = train(done.features, done.project)
        for one, other in zip(done.training.candidates, again.candidates, strict=True):
            assert (one.params, one.cv_scores) == (other.params, other.cv_scores)
        predict = "predict_proba" if done.project.is_classification else "predict"
        first, second = (getattr(each.best.pipeline, predict) for each in (done.training, again))
        assert first(done.features).tobytes() == second(done.features).tobytes()


def test_out_of_fold_scores_are_not_those_of_the_final_model(binary):
    oof = binary.training.oof
    rows = binary.features[binary.features["_split"] == "train"]
    assert list(oof["_row"]) == list(rows["_row"])
    final = binary.training.best.pipeline.predict_proba(rows)[:, 1]
    assert not np.array_equal(oof["_score"].to_numpy(), final)
    assert np.corrcoef(oof["_score"], final)[0, 1] > 0.9


def test_progress_counts_every_fit():
    seen: list[Progress] = []
    train(
        features(["a", "b"] * 20),
        project(candidates=["linear", "hist_gradient_boosting"]),
        on_progress=seen.append,
    )
    assert [step.done for step in seen] == list(range(1, seen[-1].total + 1))
    assert seen[-1].total == 2 * 2 * 2 + 1
    assert all(np.isfinite(step.best_score) for step in seen)


@pytest.mark.parametrize(
    ("labels", "settings", "named"),
    [
        (["a", "b"] * 9, {}, "18 labelled rows"),
        (["a"] * 40, {}, "'a'"),
        (["a", "b", "c", "d"] * 10, {}, "'c'"),
    ],
)
def test_what_cannot_be_learnt_from_is_said(labels, settings, named):
    with pytest.raises(InvalidInput) as caught:
        train(features(labels), project(**settings))
    assert named in caught.value.detail
    assert caught.value.remedy


def test_a_positive_class_that_does_not_occur_is_said():
    described = Project.model_validate(project().model_dump() | {"labels": {"positive": "yes"}})
    with pytest.raises(InvalidInput) as caught:
        train(features(["a", "b"] * 20), described)
    assert "'yes'" in caught.value.detail


def test_a_rare_class_is_noted_not_fatal():
    training = train(features(["a", "b"] * 20 + ["c"]), project("multiclass", folds=3))
    assert training.classes == ["a", "b"] or any("rarest" in note for note in training.notes)
    training = train(features(["a", "b"] * 20 + ["b", "c"]), project("multiclass", folds=3))
    assert training.classes == ["a", "b", "c"]
    assert any("rarest class has 1 train rows" in note for note in training.notes)


def test_by_time_the_past_predicts_the_future():
    table = features(["a", "b"] * 30, _time=range(60))
    described = project(split={"kind": "random"}).model_dump()
    described["columns"]["t"] = {"type": "date", "role": "time"}
    described["training"]["split"] = {"kind": "time"}
    training = train(table, Project.model_validate(described))
    train_rows = table.loc[table["_split"] == "train", "_row"]
    # The oldest third is never held out, so it has no out-of-fold score.
    assert list(training.oof["_row"]) == list(train_rows[15:])


def test_by_group_no_group_is_on_both_sides_of_a_fold():
    table = features(["a", "b"] * 30, _group=[f"g{index // 6}" for index in range(60)])
    described = project().model_dump()
    described["columns"]["g"] = {"type": "string", "role": "group"}
    described["training"]["split"] = {"kind": "group"}
    assert len(train(table, Project.model_validate(described)).oof) == 45
    with pytest.raises(InvalidInput, match="two groups"):
        train(table.assign(_group="one"), Project.model_validate(described))


def test_texts_are_classified():
    words = {"sea": ["wave", "tide", "salt", "ship"], "wood": ["tree", "leaf", "root", "bark"]}
    labels = ["sea", "wood"] * 100
    texts = [f"{words[label][i % 4]} and {words[label][(i // 2) % 4]}" for i, label in enumerate(labels)]
    columns = {"note": Column(type="text"), "y": Column(type="category", role="target")}
    settings = {"trials": 1, "folds": 2}
    described = Project(name="demo", task="text_classification", columns=columns, training=settings)
    training = train(features(labels, note=texts), described)
    assert all(found.cv_mean > 0.95 for found in training.candidates)
