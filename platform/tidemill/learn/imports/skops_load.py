"""Building the estimator of a skops file that was looked through before (`skops_file.py`).

Here belongs loading with our own list of types and checking trees, whose nodes scikit-learn follows unchecked.
"""

from __future__ import annotations

import zipfile
from typing import Any

import skops.io
from sklearn.base import BaseEstimator
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.pipeline import Pipeline

from tidemill.errors import Corrupt
from tidemill.learn.imports.refusal import refused
from tidemill.learn.imports.skops_file import check_archive
from tidemill.learn.persistence import ALLOWED, check_trees


def load(data: bytes) -> Any:
    """The fitted estimator in `data`. Raises ModelRefused; nothing of the file is run."""
    check_archive(data)
    try:
        model = skops.io.loads(data, trusted=ALLOWED)
    except skops.io.exceptions.UntrustedTypesFoundException as error:
        raise refused("types", str(error).splitlines()[0][:300]) from error
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        ImportError,
        LookupError,
        NotImplementedError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
    ) as error:
        raise refused(
            "truncated", f"the file cannot be read: {type(error).__name__}: {error}"[:300]
        ) from error
    if not isinstance(model, BaseEstimator) or not hasattr(model, "predict"):
        raise refused("kind", f"the file holds a {type(model).__name__}, which predicts nothing")
    _check_trees(model)
    return model


def _check_trees(model: Any) -> None:
    try:
        check_trees(model, "the file")
    except Corrupt as error:
        raise refused("trees", error.detail) from error
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    # It hands rows to its trees without comparing widths.
    if isinstance(last, GradientBoostingClassifier | GradientBoostingRegressor) and any(
        tree.n_features_in_ != last.n_features_in_ for tree in last.estimators_.ravel()
    ):
        raise refused("trees", "a tree of the boosting takes another number of columns than the model")
