"""The same search as the platform's, written by hand with Optuna and scikit-learn: what a bare script costs.

    python bare.py ROWS.csv TRIALS MODEL.joblib

ROWS.csv has the train rows with numbers alone and `_label`. Spaces, seeds and folds are the platform's, so that
equal scores lead to the same settings.
"""

import json
import sys

import joblib
import numpy as np
import optuna
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

SEED, FOLDS = 7, 3


def linear(trial):
    strength = trial.suggest_float("C", 1e-3, 1e2, log=True)
    model = LogisticRegression(C=strength, max_iter=2000, random_state=SEED)
    return make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler(), model)


def forest(trial):
    depth = trial.suggest_categorical("max_depth", [None, 6, 10, 16])
    leaf = trial.suggest_categorical("min_samples_leaf", [1, 2, 4, 8, 16])
    features = trial.suggest_categorical("max_features", ["sqrt", 0.3, 0.6])
    model = RandomForestClassifier(
        100, max_depth=depth, min_samples_leaf=leaf, max_features=features, n_jobs=1, random_state=SEED
    )
    return make_pipeline(SimpleImputer(strategy="median", add_indicator=True), model)


def boosting(trial):
    return HistGradientBoostingClassifier(
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        max_iter=trial.suggest_int("max_iter", 50, 400, log=True),
        max_leaf_nodes=trial.suggest_int("max_leaf_nodes", 4, 63, log=True),
        min_samples_leaf=trial.suggest_int("min_samples_leaf", 3, 100, log=True),
        l2_regularization=trial.suggest_float("l2_regularization", 1e-3, 30.0, log=True),
        max_features=trial.suggest_float("max_features", 0.3, 1.0),
        early_stopping=False,
        random_state=SEED,
    )


def ending_boosting(trial):
    return HistGradientBoostingClassifier(
        learning_rate=trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
        max_leaf_nodes=trial.suggest_int("max_leaf_nodes", 7, 127, log=True),
        min_samples_leaf=trial.suggest_int("min_samples_leaf", 3, 100, log=True),
        l2_regularization=trial.suggest_float("l2_regularization", 1e-3, 30.0, log=True),
        max_features=trial.suggest_float("max_features", 0.3, 1.0),
        max_iter=1000,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=15,
        random_state=SEED,
    )


COMMON = {"learning_rate": 0.1, "min_samples_leaf": 20, "l2_regularization": 1e-3, "max_features": 1.0}
KINDS = {
    linear: {"C": 1.0},
    forest: {"max_depth": None, "min_samples_leaf": 1, "max_features": "sqrt"},
}
FEW = {boosting: {**COMMON, "max_iter": 100, "max_leaf_nodes": 15}}
# On so many rows the fits find their iterations, and the last one keeps to their mean.
MANY_ROWS = 3_000
MANY = {ending_boosting: {**COMMON, "max_leaf_nodes": 31}}


def main(file, trials, target):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = pd.read_csv(file)
    truth, x = rows.pop("_label").astype(str).to_numpy(), rows.to_numpy(dtype=float)
    positive = sorted(set(truth))[1]
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(x, truth))
    best, scores = None, {}
    with threadpool_limits(limits=1):
        for make, default in (KINDS | (MANY if len(rows) >= MANY_ROWS else FEW)).items():

            def objective(trial, make=make):
                found, ends = [], []
                for fit, held in folds:
                    model = make(trial).fit(x[fit], truth[fit])
                    scores_held = model.predict_proba(x[held])[:, 1]
                    found.append(roc_auc_score(truth[held] == positive, scores_held))
                    ends.append(getattr(model, "n_iter_", 0))
                    trial.report(np.mean(found), len(found))
                    if len(found) < FOLDS and trial.should_prune():
                        raise optuna.TrialPruned
                trial.set_user_attr("iterations", round(1.1 * np.mean(ends)))
                return np.mean(found)

            study = optuna.create_study(
                direction="maximize",
                sampler=optuna.samplers.TPESampler(seed=SEED, n_startup_trials=min(10, max(3, trials // 3))),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
            )
            study.enqueue_trial(default)
            study.optimize(objective, n_trials=trials)
            scores[make.__name__] = study.best_value
            if best is None or study.best_value > best[0]:
                best = study.best_value, make, study.best_trial
        model = best[1](optuna.trial.FixedTrial(best[2].params))
        if best[1] is ending_boosting:
            model.set_params(max_iter=best[2].user_attrs["iterations"], early_stopping=False)
        model.fit(x, truth)
    joblib.dump(model, target)
    print(json.dumps(scores))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
