"""LightGBM, XGBoost and CatBoost as candidates, where the extra `boosters` is installed.

Here belongs what differs between the three libraries: names of parameters, and labels that must be numbers. They
are imported when a model is made, never before.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone

from tidemill.errors import InvalidInput


@dataclass(frozen=True)
class Booster:
    """One library: its module, its two classes, its names for our dials, and what keeps it quiet and repeatable."""

    module: str
    classifier: str
    regressor: str
    names: dict[str, str]
    fixed: dict[str, Any]
    weights: tuple[str, Any] | None
    default: dict[str, Any]


# What their model files hold besides the types of every pipeline; only the bundle of such a model may.
TYPES = [
    "catboost.core.CatBoostClassifier",
    "catboost.core.CatBoostRegressor",
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "tidemill.learn.boosters.CodedClassifier",
    "tidemill.learn.boosters.PlainRegressor",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
]

_DEFAULT = {"learning_rate": 0.1, "trees": 100, "depth": 5, "l2": 1.0, "features": 1.0}

BOOSTERS = {
    "lightgbm": Booster(
        "lightgbm",
        "LGBMClassifier",
        "LGBMRegressor",
        {"trees": "n_estimators", "depth": "max_depth", "l2": "reg_lambda", "features": "colsample_bytree"},
        {"n_jobs": 1, "verbose": -1, "deterministic": True, "force_col_wise": True},
        ("class_weight", "balanced"),
        _DEFAULT,
    ),
    "xgboost": Booster(
        "xgboost",
        "XGBClassifier",
        "XGBRegressor",
        {"trees": "n_estimators", "depth": "max_depth", "l2": "reg_lambda", "features": "colsample_bytree"},
        {"n_jobs": 1, "verbosity": 0, "tree_method": "hist"},
        None,
        _DEFAULT,
    ),
    "catboost": Booster(
        "catboost",
        "CatBoostClassifier",
        "CatBoostRegressor",
        {"trees": "iterations", "l2": "l2_leaf_reg", "features": "rsm"},
        {"thread_count": 1, "verbose": False, "allow_writing_files": False},
        ("auto_class_weights", "Balanced"),
        _DEFAULT,
    ),
}


def make_booster(name: str, classification: bool, settings: dict[str, Any], rows: int) -> Any:  # noqa: ARG001
    """An unfitted model of the library `name`. Raises InvalidInput when it is not installed."""
    booster = BOOSTERS[name]
    try:
        module = importlib.import_module(booster.module)
    except ImportError as error:
        raise InvalidInput(
            f"{name} is not installed",
            detail=f"training.candidates names {name}, which comes with the extra `boosters`: {error}",
            remedy="Run `uv sync --frozen --extra boosters` in the checkout, or take it off training.candidates.",
        ) from error
    named = {booster.names.get(dial, dial): value for dial, value in settings.items()}
    if name == "lightgbm" and "max_depth" in named:
        named.setdefault("num_leaves", min(2 ** int(named["max_depth"]) - 1, 63))
    kind = getattr(module, booster.classifier if classification else booster.regressor)
    model = kind(**{**booster.fixed, **named})
    return CodedClassifier(model) if classification else PlainRegressor(model)


class CodedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Gives a library labels as numbers from 0, and the caller its own labels back."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Self:  # noqa: N803
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.n_features_in_ = X.shape[1]
        self.model_ = clone(self.model).fit(np.asarray(X), codes)
        return self

    def predict_proba(self, X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
        found = np.asarray(self.model_.predict_proba(np.asarray(X)), dtype=np.float64)
        # XGBoost answers in float32, whose rows add up to 1 within 1e-7 only.
        rows: NDArray[Any] = found / found.sum(axis=1, keepdims=True)
        return rows

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
        found: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found


class PlainRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A library's regression, with answers in float64."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Self:  # noqa: N803
        self.n_features_in_ = X.shape[1]
        self.model_ = clone(self.model).fit(np.asarray(X), y)
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
        return np.asarray(self.model_.predict(np.asarray(X)), dtype=np.float64)
