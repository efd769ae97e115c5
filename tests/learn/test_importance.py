"""Permutation importance is scikit-learn's, and says which columns share theirs."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from scipy.stats.contingency import association
from sklearn import metrics as sk
from sklearn.inspection import permutation_importance

from tidemill.learn.importance import REPEATS, correlated, importances
from tidemill.learn.learnable import truth_of
from tidemill.project import Column, Project


class Model:
    """Enough of an estimator for scikit-learn to accept it."""

    def fit(self, *_):
        return self


@pytest.mark.parametrize("name", ["binary", "regression"])
def test_it_is_scikit_learns(name, request):
    trained = request.getfixturevalue(name)
    project, rows = trained.project, trained.features[trained.features["_split"] == "test"]
    truth, pipeline = truth_of(rows, project), trained.training.best.pipeline
    found = importances(pipeline, rows, truth, project)
    names = list(project.feature_columns)

    def score(_, table, known):
        if name == "binary":
            return sk.roc_auc_score(known == "malignant", pipeline.predict_proba(table)[:, 1])
        return -sk.root_mean_squared_error(known, pipeline.predict(table))

    expected = permutation_importance(
        Model(), rows[names], truth, scoring=score, n_repeats=REPEATS, random_state=project.training.seed
    )
    shown = {one.column: (one.drop, one.std) for one in found.columns}
    for index, column in enumerate(names):
        wanted = (expected.importances_mean[index], expected.importances_std[index])
        assert shown[column] == pytest.approx(wanted, abs=1e-9)
    drops = [one.drop for one in found.columns]
    assert drops == sorted(drops, reverse=True)
    assert (found.rows, found.columns_left_out) == (len(rows), [])


def test_correlated_columns_are_named():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    table = pd.DataFrame(
        {
            "x": x,
            "cube": x**3 + rng.normal(size=200) * 0.01,
            "other": rng.normal(size=200),
            "plan": rng.choice(["a", "b"], 200),
        }
    )
    table["tariff"] = table["plan"].map({"a": "p", "b": "q"})
    kinds = dict.fromkeys(("x", "cube", "other"), "float") | dict.fromkeys(("plan", "tariff"), "category")
    columns = {name: Column(type=kind) for name, kind in kinds.items()}
    project = Project(
        name="demo",
        task="regression",
        columns={**columns, "y": Column(type="float", role="target")},
    )
    assert spearmanr(table["x"], table["cube"]).statistic > 0.7 > abs(spearmanr(x, table["other"]).statistic)
    assert association(pd.crosstab(table["plan"], table["tariff"]), correction=False) == pytest.approx(1.0)
    assert correlated(table, project) == {
        "x": ["cube"],
        "cube": ["x"],
        "plan": ["tariff"],
        "tariff": ["plan"],
    }
