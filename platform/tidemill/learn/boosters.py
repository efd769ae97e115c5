"""LightGBM, XGBoost and CatBoost as candidates, where the extra `boosters` is installed.

Here belongs what differs between the three libraries: names of parameters, labels that must be numbers, and going
on from trees that are there. They are imported when a model is made, never before.
"""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils.class_weight import compute_sample_weight

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
    "tidemill.learn.boosters.ContinuedClassifier",
    "tidemill.learn.boosters.ContinuedRegressor",
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
        # It has none for more than two classes; CodedClassifier gives it weights of rows instead.
        ("balanced", True),
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


@dataclass(frozen=True)
class Continued:
    """Trees to go on from: a file of `library` in its own format, and its classes in its order."""

    library: str
    data: bytes
    classes: list[str]


def make_booster(
    name: str,
    classification: bool,
    settings: dict[str, Any],
    rows: int = 0,  # noqa: ARG001
    start: Continued | None = None,
) -> Any:
    """An unfitted model of the library `name`, which goes on from `start` if that is given.

    Raises InvalidInput when the library is not installed.
    """
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
    is_balanced = bool(named.pop("balanced", False))
    model = kind(**{**booster.fixed, **named})
    if start is not None:
        given = (model, start.library, start.data)
        if not classification:
            return ContinuedRegressor(*given)
        return ContinuedClassifier(*given, list(start.classes), is_balanced)
    return CodedClassifier(model, is_balanced) if classification else PlainRegressor(model)


def native_bytes(library: str, fitted: Any) -> bytes:
    """The model file of a fitted classifier or regressor of `library`, in that library's own format."""
    if library == "lightgbm":
        text: str = fitted.booster_.model_to_string()
        return text.encode()
    if library == "xgboost":
        return bytes(fitted.get_booster().save_raw(raw_format="ubj"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.cbm"
        fitted.save_model(str(file))
        return file.read_bytes()


def _gone_on(
    model: Any,
    X: NDArray[Any],  # noqa: N803
    y: NDArray[Any],
    library: str,
    start: bytes,
    **weights: Any,
) -> Any:
    """A clone of `model` fitted on top of the trees in `start`, a file of `library`."""
    module = importlib.import_module(library)
    fresh = clone(model)
    if library == "lightgbm":
        fresh.fit(X, y, init_model=module.Booster(model_str=start.decode("utf-8")), **weights)
        # It keeps the old booster beside the new one, though that holds all trees; a model file need not.
        fresh._Booster = module.Booster(model_str=fresh.booster_.model_to_string())
        return fresh
    if library == "xgboost":
        trees = module.Booster()
        trees.load_model(bytearray(start))
        trees.feature_names = trees.feature_types = None
        return fresh.fit(X, y, xgb_model=trees, **weights)
    begun = type(fresh)()
    begun.load_model(blob=start)
    return fresh.fit(X, y, init_model=begun, **weights)


class CodedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Gives a library labels as numbers from 0, and the caller its own labels back.

    `balanced` weighs rows so that rare classes count as much as common ones, where a library does not.
    """

    def __init__(self, model: Any, balanced: bool = False) -> None:
        self.model = model
        self.balanced = balanced

    def _weights(self, codes: NDArray[Any]) -> dict[str, Any]:
        return {"sample_weight": compute_sample_weight("balanced", codes)} if self.balanced else {}

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Self:  # noqa: N803
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.n_features_in_ = X.shape[1]
        self.model_ = clone(self.model).fit(np.asarray(X), codes, **self._weights(codes))
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


class ContinuedClassifier(CodedClassifier):
    """A CodedClassifier that goes on from the trees in `start`, a file of `library`, whose classes are `classes`.

    Fitted, it holds those trees and its own in one model.
    """

    def __init__(
        self, model: Any, library: str, start: bytes, classes: list[str], balanced: bool = False
    ) -> None:
        super().__init__(model, balanced)
        self.library = library
        self.start = start
        self.classes = classes

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Self:  # noqa: N803
        self.classes_ = np.array(self.classes, dtype=str)
        codes = {name: code for code, name in enumerate(self.classes)}
        if absent := sorted({str(label) for label in y} ^ {*codes}):
            raise ValueError(
                f"the trees to go on from know the classes {', '.join(codes)}; rows and trees differ in "
                f"{', '.join(absent)}"
            )
        self.n_features_in_ = X.shape[1]
        numbers = np.array([codes[str(label)] for label in y])
        weights = self._weights(numbers)
        self.model_ = _gone_on(self.model, np.asarray(X), numbers, self.library, self.start, **weights)
        return self


class ContinuedRegressor(PlainRegressor):
    """A PlainRegressor that goes on from the trees in `start`, a file of `library`."""

    def __init__(self, model: Any, library: str, start: bytes) -> None:
        super().__init__(model)
        self.library = library
        self.start = start

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Self:  # noqa: N803
        self.n_features_in_ = X.shape[1]
        self.model_ = _gone_on(self.model, np.asarray(X), y, self.library, self.start)
        return self
