"""Training: what it looks at, what it refuses, and that it gives the same model twice."""

import subprocess
import sys

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
        (["a", "b", "a"], {}, "3 labelled rows"),
        ([2.5] * 40, {"task": "regression"}, "'2.5'"),
        ([*range(39), float("inf")], {"task": "regression"}, "empty or infinite"),
        (["a", "b"] * 20, {"candidates": ["model.Absent"]}, "model.Absent"),
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


def test_features_without_any_value_are_said():
    with pytest.raises(InvalidInput, match="empty"):
        train(features(["a", "b"] * 20).assign(x=np.nan), project())


def test_a_class_that_is_among_the_test_rows_alone_counts_against_the_model():
    from tidemill.learn.evaluation import evaluate

    table = features([*["a", "b", "c"] * 20, *["a"] * 4, "new"])
    assert table["_split"].iloc[-1] == "test"
    described = project("multiclass")
    training = train(table, described)
    assert training.classes == ["a", "b", "c"]
    assert "new" in evaluate(training.best.pipeline, table, described).classes


@pytest.mark.parametrize("setting", ["trials", "seconds"])
def test_a_budget_of_nothing_is_refused(setting):
    with pytest.raises(ValueError, match="greater than"):
        project(**{setting: 0})


OWN = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Share(ClassifierMixin, BaseEstimator):
    search_space = {"share": (0.1, 0.9), "how": ["plain", "fails", "memory", "nothing"]}

    def __init__(self, share=0.5, how="plain", random_state=0):
        self.share, self.how, self.random_state = share, how, random_state

    def fit(self, X, y):
        if self.how == "fails":
            raise ValueError("cannot do this")
        if self.how == "memory":
            raise MemoryError("Unable to allocate 7 TiB")
        self.classes_ = np.unique(y)
        self.mean_ = X[:, 0].mean()
        return self

    def predict_proba(self, X):
        up = np.where(X[:, 0] > self.mean_, self.share, 1 - self.share)
        return np.column_stack([up, 1 - up]) * (np.nan if self.how == "nothing" else 1.0)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
"""


def test_an_estimator_of_the_project_is_searched_and_served_from_its_bundle(tmp_path):
    from tidemill.learn.bundle import load_model, write_bundle

    table, described = features(["a", "b"] * 30), project(candidates=["model.Share"], trials=8)
    table["x"] = np.where(table["_label"] == "a", 1.0, -1.0)
    training = train(table, described, model_source=OWN.encode())
    assert training.best.cv_mean == 1.0
    assert training.candidates[0].trials[0].params == {"share": 0.5, "how": "plain"}
    info = write_bundle(tmp_path, project=described, training=training, reference=table)
    assert "model.py" in info.files
    assert "no compiled form" in info.provenance["scorer"]["reason"]
    model = load_model(tmp_path, info.version)
    assert (model.predict(table) == training.best.pipeline.predict(table)).all()
    # Failures are noted on the candidate; the search went on.
    states = {trial.state for trial in training.candidates[0].trials}
    assert "complete" in states
    if "failed" in states:
        assert any("settings failed" in note for note in training.best.notes)


@pytest.mark.parametrize(
    ("how", "named"),
    [("fails", "cannot do this"), ("memory", "out of memory"), ("nothing", "not numbers")],
)
def test_a_candidate_that_never_works_is_left_out_and_alone_it_ends_the_training(how, named):
    source = OWN.replace('how="plain"', f'how="{how}"').replace(
        '["plain", "fails", "memory", "nothing"]', f'["{how}"]'
    )
    table = features(["a", "b"] * 30)
    training = train(table, project(candidates=["model.Share", "linear"]), model_source=source.encode())
    assert training.best.name == "linear"
    assert any("model.Share was left out" in note and named in note for note in training.notes)
    with pytest.raises(InvalidInput, match="No candidate could be trained") as caught:
        train(table, project(candidates=["model.Share"]), model_source=source.encode())
    assert named in caught.value.detail


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import nothing_of_that_name", "line 1"),
        ("x = (", "line 1"),
        (OWN.replace('"how":', '"hew":'), "hew"),
        (OWN.replace("(0.1, 0.9)", "0.5"), "share"),
        (OWN.replace("predict_proba(self, X)", "other(self, X)"), "predict_proba"),
    ],
)
def test_a_model_file_that_cannot_be_used_is_said(source, named):
    with pytest.raises(InvalidInput) as caught:
        train(features(["a", "b"] * 20), project(candidates=["model.Share"]), model_source=source.encode())
    assert named in caught.value.detail


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_booster_is_trained_twice_alike_and_read_back(name, task, tmp_path):
    from tidemill.learn.bundle import load_model, write_bundle

    pytest.importorskip(name)
    labels = {"binary": ["a", "b"], "multiclass": ["a", "b", "c"], "regression": [1.0, 2.5, 4.0]}[task] * 40
    table, described = features(labels), project(task, candidates=[name])
    table["x"] += pd.factorize(table["_label"])[0]
    first, second = (train(table, described) for _ in range(2))
    assert first.best.cv_scores == second.best.cv_scores
    info = write_bundle(tmp_path, project=described, training=first, reference=table)
    said = [model.predict(table).tolist() for model in (first.best.pipeline, second.best.pipeline)]
    assert said[0] == said[1] == load_model(tmp_path, info.version).predict(table).tolist()


def test_a_booster_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(InvalidInput, match="No candidate") as caught:
        train(features(["a", "b"] * 20), project(candidates=["xgboost"]))
    assert "boosters" in caught.value.detail


def test_a_search_that_time_ended_is_repeated_by_its_trials(binary):
    settings = {"candidates": ["linear", "random_forest"], "folds": 2, "seconds": 1.5}
    described = Project.model_validate({**binary.project.model_dump(), "training": settings})
    first = train(binary.features, described)
    again = train(binary.features, described, trials=first.trials)
    assert again.trials == first.trials
    assert again.best.params == first.best.params
    assert (
        again.best.pipeline.predict_proba(binary.features).tobytes()
        == first.best.pipeline.predict_proba(binary.features).tobytes()
    )


def test_a_large_table_is_searched_on_a_part_and_fitted_on_all():
    table = features(["a", "b"] * 1_000)
    training = train(table, project(search_rows=1_000))
    assert (training.rows, len(training.oof)) == (1_500, 1_000)
    assert any("1,000 of 1,500" in note for note in training.notes)


def test_balanced_weights_are_tried_where_classes_are_uneven():
    table = features([*["a"] * 9, "b"] * 20)
    tried = train(table, project(trials=8)).best.trials
    assert {trial.params["class_weight"] for trial in tried} == {None, "balanced"}
    even = train(features(["a", "b"] * 40), project()).best.trials
    assert all("class_weight" not in trial.params for trial in even)


def test_a_training_that_is_killed_leaves_no_version(tmp_path, binary):
    from tidemill.learn.bundle import write_bundle
    from tidemill.learn.bundle_info import versions

    rows = tmp_path / "rows.parquet"
    binary.features.to_parquet(rows)
    models = tmp_path / "models"
    write_bundle(models, project=binary.project, training=binary.training)
    (tmp_path / "project.json").write_text(
        Project.model_validate({**binary.project.model_dump(), "training": {"trials": 500}}).model_dump_json()
    )
    code = f"""
import pandas as pd
from pathlib import Path
from tidemill.learn.bundle import write_bundle
from tidemill.learn.training import train
from tidemill.project import Project
folder = Path({str(tmp_path)!r})
project = Project.model_validate_json((folder / "project.json").read_text())
step = lambda progress: print(progress.done, flush=True)
training = train(pd.read_parquet(folder / "rows.parquet"), project, on_progress=step)
write_bundle(folder / "models", project=project, training=training)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert versions(models) == [1]
    assert [path.name for path in models.iterdir() if path.is_dir()] == ["1"]


def test_texts_alone_are_a_candidate_and_served_compiled(tmp_path):
    from tidemill.learn.bundle import write_bundle

    labels = ["sea", "wood"] * 60
    texts = [
        f"{'wave tide' if label == 'sea' else 'tree leaf'} {index}" for index, label in enumerate(labels)
    ]
    columns = {
        "note": Column(type="text"),
        "x": Column(type="float"),
        "y": Column(type="category", role="target"),
    }
    settings = {"candidates": ["text"], "trials": 1, "folds": 2}
    described = Project(name="demo", task="text_classification", columns=columns, training=settings)
    table = features(labels, note=texts)
    training = train(table, described)
    assert training.best.cv_mean == 1.0
    info = write_bundle(tmp_path, project=described, training=training, reference=table)
    assert info.provenance["scorer"]["form"] == "compiled"


def test_on_many_rows_the_search_finds_the_iterations_and_the_last_fit_keeps_to_them():
    table = features([float(index % 7) for index in range(4_100)])
    table["_label"] = table["x"] ** 2 + 0.1 * table["_label"]
    described = project("regression", candidates=["hist_gradient_boosting"], trials=1)
    done = train(table, described)
    model = done.best.pipeline[-1]
    assert "max_iter" not in done.best.trials[0].params
    assert 1 < done.best.params["max_iter"] < 1_000
    assert model.n_iter_ == done.best.params["max_iter"]
    assert not model.early_stopping
    assert train(table, described).best.params == done.best.params
