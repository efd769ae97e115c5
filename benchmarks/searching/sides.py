"""One side of the comparison of qualities: search on TRAIN.csv for SECONDS, answer the rows of TEST.csv.

    python sides.py ours|hand|flaml TRAIN.csv TEST.csv TARGET classification|regression SECONDS ANSWERS.csv

`ours` is the platform's training, `hand` a careful random search over HistGradientBoosting with native categories,
`flaml` FLAML's AutoML in an environment of its own.
"""

import sys
import time

import numpy as np
import pandas as pd

SEED = 7


def ours(train, test, target, classification, seconds):
    from tidemill.learn.training import train as run
    from tidemill.project import Column, Project

    columns = {
        name: Column(type="float" if train[name].dtype.kind in "ifb" else "category")
        for name in train.columns
        if name != target
    }
    columns[target] = Column(type="category" if classification else "float", role="target")
    project = Project(
        name="bench",
        task="binary" if classification else "regression",
        columns=columns,
        training={"seconds": seconds},
    )
    rows = train.drop(columns=target)
    keys = [f"r{index}" for index in range(len(rows))]
    truth = train[target].astype(str) if classification else train[target].astype(float)
    rows = rows.assign(_row=keys, _split="train", _label=truth)
    found = run(rows, project)
    print(found.best.name, found.best.params, found.trials, found.calibration, file=sys.stderr)
    if not classification:
        return found.best.pipeline.predict(test.drop(columns=target))
    return found.best.pipeline.predict_proba(test.drop(columns=target))[:, 1]


def hand(train, test, target, classification, seconds):
    from scipy.stats import loguniform, randint, uniform
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.model_selection import ParameterSampler, cross_val_score

    began = time.perf_counter()
    x, x_test = train.drop(columns=target), test.drop(columns=target)
    for name in x.columns:
        if x[name].dtype.kind not in "ifb":
            kinds = pd.CategoricalDtype(x[name].dropna().unique())
            x[name], x_test[name] = x[name].astype(kinds), x_test[name].astype(kinds)
    y = train[target].astype(str) if classification else train[target].astype(float)
    kind = HistGradientBoostingClassifier if classification else HistGradientBoostingRegressor
    space = {
        "learning_rate": loguniform(0.02, 0.3),
        "max_leaf_nodes": randint(4, 64),
        "min_samples_leaf": randint(3, 100),
        "l2_regularization": loguniform(1e-3, 30),
        "max_features": uniform(0.3, 0.7),
    }
    fixed = {
        "max_iter": 1000,
        "early_stopping": True,
        "n_iter_no_change": 20,
        "categorical_features": "from_dtype",
    }
    settings = [{}, *ParameterSampler(space, 1000, random_state=SEED)]
    best, longest = (-np.inf, {}), 0.0
    for setting in settings:
        started = time.perf_counter()
        if started - began + longest / 2 > seconds and np.isfinite(best[0]):
            break
        model = kind(random_state=SEED, **fixed, **setting)
        scoring = "roc_auc" if classification else "neg_root_mean_squared_error"
        score = cross_val_score(model, x, y, cv=3, scoring=scoring).mean()
        best = max(best, (score, setting), key=lambda pair: pair[0])
        longest = max(longest, time.perf_counter() - started)
    model = kind(random_state=SEED, **fixed, **best[1]).fit(x, y)
    return model.predict_proba(x_test)[:, 1] if classification else model.predict(x_test)


def flaml(train, test, target, classification, seconds):
    from flaml import AutoML

    automl = AutoML()
    automl.fit(
        train.drop(columns=target),
        train[target].astype(str) if classification else train[target].astype(float),
        task="classification" if classification else "regression",
        metric="roc_auc" if classification else "rmse",
        time_budget=seconds,
        n_jobs=1,
        seed=SEED,
        verbose=0,
    )
    print(automl.best_estimator, automl.best_config, file=sys.stderr)
    rows = test.drop(columns=target)
    return automl.predict_proba(rows)[:, 1] if classification else automl.predict(rows)


def main(side, train, test, target, task, seconds, answers):
    side_of = {"ours": ours, "hand": hand, "flaml": flaml}[side]
    found = side_of(pd.read_csv(train), pd.read_csv(test), target, task == "classification", float(seconds))
    pd.DataFrame({"answer": found}).to_csv(answers, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
