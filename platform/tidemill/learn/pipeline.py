"""Pipelines made from a contract: cast, encode, model, and what the search may vary.

Here belongs which column gets which encoding for which estimator. Fitting and choosing is in `learn/training.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import loguniform
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tidemill.learn.encoders import ContractFrame, DateParts, FilledColumns, TextTerms
from tidemill.project import CATEGORICAL, NUMERIC, Project

# Dense columns per text for the tree models, by truncated SVD of its TF-IDF terms.
TEXT_COMPONENTS = 50

_MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "linear": (LogisticRegression, Ridge, {}),
    "random_forest": (RandomForestClassifier, RandomForestRegressor, {"n_estimators": 100, "n_jobs": 1}),
    "hist_gradient_boosting": (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        {"max_iter": 100, "early_stopping": False},
    ),
}


def make_pipeline(project: Project, estimator: str, params: dict[str, Any]) -> Pipeline:
    """An unfitted pipeline from a frame with the contract's features to a prediction.

    `estimator` is one of project.Estimator; `params` are the model's own parameters (see `search_space`). The
    pipeline takes typed columns as they are in the features table and in checked records.
    """
    classifier, regressor, fixed = _MODELS[estimator]
    settings: dict[str, Any] = {"random_state": project.training.seed, **fixed, **params}
    if project.is_classification and estimator == "linear":
        settings.setdefault("max_iter", 2000)
    model = (classifier if project.is_classification else regressor)(**settings)
    types = {name: column.type for name, column in project.feature_columns.items()}
    return Pipeline(
        [("cast", ContractFrame(dict(types))), ("encode", _encoder(project, estimator)), ("model", model)]
    )


def _encoder(project: Project, estimator: str) -> ColumnTransformer:
    """Linear: imputed and scaled, terms sparse. Forest: imputed. Boosting: NaN as it is."""
    columns = project.feature_columns
    linear = estimator == "linear"
    by_kind = {
        "number": [name for name, column in columns.items() if column.type in NUMERIC],
        "boolean": [name for name, column in columns.items() if column.type == "boolean"],
        "category": [name for name, column in columns.items() if column.type in CATEGORICAL],
        "date": [name for name, column in columns.items() if column.type == "date"],
        "datetime": [name for name, column in columns.items() if column.type == "datetime"],
    }
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=project.features.max_categories,
        sparse_output=linear,
        dtype=np.float64,
    )
    steps: dict[str, Any] = {
        "number": _numeric(estimator, "median"),
        "boolean": _numeric(estimator, "most_frequent"),
        "category": one_hot,
        "date": Pipeline([("parts", DateParts()), ("numbers", _numeric(estimator, "median"))]),
        "datetime": Pipeline([("parts", DateParts(hour=True)), ("numbers", _numeric(estimator, "median"))]),
    }
    transformers: list[tuple[str, Any, Any]] = [
        (kind, steps[kind], names) for kind, names in by_kind.items() if names
    ]
    for index, name in enumerate(name for name, column in columns.items() if column.type == "text"):
        terms = TextTerms(
            project.features.text_features, None if linear else TEXT_COMPONENTS, project.training.seed
        )
        transformers.append((f"text{index}", terms, name))
    return ColumnTransformer(transformers, sparse_threshold=0.3 if linear else 0.0)


def _numeric(estimator: str, strategy: str) -> Any:
    if estimator == "hist_gradient_boosting":
        return FilledColumns()
    # A column that is empty in training becomes zeros instead of vanishing: the width stays the contract's.
    imputer = SimpleImputer(strategy=strategy, add_indicator=True, keep_empty_features=True)
    if estimator == "linear":
        return Pipeline([("impute", imputer), ("scale", StandardScaler())])
    return imputer


def search_space(estimator: str, task: str) -> dict[str, Any]:
    """What the random search draws from, by the model's parameter: a list or a scipy distribution."""
    if estimator == "linear":
        return {"alpha" if task == "regression" else "C": loguniform(1e-3, 1e2)}
    if estimator == "random_forest":
        return {
            "max_depth": [None, 4, 8, 16],
            "min_samples_leaf": [1, 2, 4, 8],
            "max_features": ["sqrt", 0.3, 0.6],
        }
    return {
        "learning_rate": loguniform(0.03, 0.3),
        "max_leaf_nodes": [7, 15, 31],
        "min_samples_leaf": [5, 10, 20, 40],
        "l2_regularization": [0.0, 0.1, 1.0, 10.0],
    }


def default_params(estimator: str, task: str) -> dict[str, Any]:
    """The first setting the search tries: a good place to start on most tables."""
    if estimator == "linear":
        return {"alpha" if task == "regression" else "C": 1.0}
    if estimator == "random_forest":
        return {"max_depth": None, "min_samples_leaf": 1, "max_features": "sqrt"}
    return {"learning_rate": 0.1, "max_leaf_nodes": 15, "min_samples_leaf": 20, "l2_regularization": 0.0}
