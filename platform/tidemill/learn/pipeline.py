"""Pipelines made from a contract: cast, encode, model.

Here belongs which column gets which encoding; which estimator wants which is in `learn/candidates.py`.
Fitting and choosing is in `learn/training.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tidemill.learn.adjusting import AdjustedModel
from tidemill.learn.boosters import ContinuedClassifier, ContinuedRegressor, make_booster
from tidemill.learn.candidates import Encoding, Recipe, recipe_of
from tidemill.learn.encoders import ContractFrame, DateParts, FilledColumns, OrderedColumns, TextTerms
from tidemill.learn.stacked_frame import StackedFrame
from tidemill.project import CATEGORICAL, NUMERIC, Project

if TYPE_CHECKING:
    from tidemill.learn.earlier import Earlier

# Dense columns per text for the tree models, by truncated SVD of its TF-IDF terms.
TEXT_COMPONENTS = 50
# Where the texts alone decide, so many times the terms are kept.
MORE_TERMS = 10


def make_pipeline(
    project: Project,
    estimator: str,
    params: dict[str, Any],
    rows: int = 0,
    own: Mapping[str, Recipe] | None = None,
    earlier: Earlier | None = None,
) -> Pipeline:
    """An unfitted pipeline from a frame with the contract's features to a prediction.

    `estimator` is a name of training.candidates, `params` its parameters (see `learn/candidates.py`), `rows` how
    many it will be fitted on, `own` the recipes of the project's model.py, `earlier` what it takes from earlier
    versions. The pipeline takes typed columns as they are in the features table and in checked records.
    """
    recipe = recipe_of(estimator, project.is_classification, own)
    settings: dict[str, Any] = {"random_state": project.training.seed, **params}
    types = {name: column.type for name, column in project.feature_columns.items()}
    stack = earlier.stack if earlier is not None else None
    trees = earlier.start.trees if earlier is not None and earlier.start is not None else None
    if trees is not None:
        return Pipeline(
            [
                ("cast", ContractFrame(dict(types))),
                ("encode", _given_encoder(trees.encode)),
                ("model", make_booster(estimator, project.is_classification, settings, rows, trees.start)),
            ]
        )
    return Pipeline(
        [
            ("cast", stack.frame(types) if stack is not None else ContractFrame(dict(types))),
            ("encode", _encoder(project, recipe.encoding, stack.columns if stack is not None else [])),
            ("model", recipe.make(project.is_classification, settings, rows)),
        ]
    )


def is_refittable(pipeline: Any) -> bool:
    """Whether the settings of a fitted pipeline can be fitted anew on any train rows: not where it builds on an
    earlier version, which may know those rows."""
    if not isinstance(pipeline, Pipeline):
        return hasattr(pipeline, "fit")
    last = pipeline.steps[-1][1]
    model = last.model if isinstance(last, AdjustedModel) else last
    is_stacked = isinstance(pipeline.named_steps["cast"], StackedFrame)
    return not is_stacked and not isinstance(model, ContinuedClassifier | ContinuedRegressor)


def _given_encoder(encode: Any) -> Any:
    """The encoder in front of trees that are there: as it was fitted with them, or their columns in their order."""
    if isinstance(encode, list):
        return OrderedColumns(list(encode))
    return encode if isinstance(encode, FrozenEstimator) else FrozenEstimator(encode)


def _encoder(project: Project, encoding: Encoding, stacked: Sequence[str] = ()) -> ColumnTransformer:
    """The columns as `encoding` says, see `learn/candidates.py`; answers of `stacked` models are numbers too."""
    columns = project.feature_columns
    sparse = encoding in ("scaled", "text")
    by_kind = {
        "number": [
            *(name for name, column in columns.items() if column.type in NUMERIC),
            *stacked,
        ],
        "boolean": [name for name, column in columns.items() if column.type == "boolean"],
        "category": [name for name, column in columns.items() if column.type in CATEGORICAL],
        "date": [name for name, column in columns.items() if column.type == "date"],
        "datetime": [name for name, column in columns.items() if column.type == "datetime"],
    }
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=project.features.max_categories,
        sparse_output=sparse,
        dtype=np.float64,
    )
    steps: dict[str, Any] = {
        "number": _numeric(encoding, "median"),
        "boolean": _numeric(encoding, "most_frequent"),
        "category": one_hot,
        "date": Pipeline([("parts", DateParts()), ("numbers", _numeric(encoding, "median"))]),
        "datetime": Pipeline([("parts", DateParts(hour=True)), ("numbers", _numeric(encoding, "median"))]),
    }
    transformers: list[tuple[str, Any, Any]] = [
        (kind, steps[kind], names) for kind, names in by_kind.items() if names and encoding != "text"
    ]
    for index, name in enumerate(name for name, column in columns.items() if column.type == "text"):
        most = project.features.text_features * (MORE_TERMS if encoding == "text" else 1)
        terms = TextTerms(most, None if sparse else TEXT_COMPONENTS, project.training.seed)
        transformers.append((f"text{index}", terms, name))
    return ColumnTransformer(transformers, sparse_threshold=0.3 if sparse else 0.0)


def _numeric(encoding: Encoding, strategy: str) -> Any:
    if encoding == "gaps":
        return FilledColumns()
    # A column that is empty in training becomes zeros instead of vanishing: the width stays the contract's.
    imputer = SimpleImputer(strategy=strategy, add_indicator=True, keep_empty_features=True)
    if encoding == "scaled":
        return Pipeline([("impute", imputer), ("scale", StandardScaler())])
    return imputer
