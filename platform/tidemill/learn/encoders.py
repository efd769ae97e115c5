"""Our own steps of a pipeline: casting to the contract, parts of dates, terms of texts.

Each is a scikit-learn transformer made of plain values, so that a bundle can hold it without pickle. Every class
here is on the allow-list of `learn/persistence.py`. Which step takes which column is said in `learn/pipeline.py`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from tidemill.errors import InvalidInput

MISSING = "(missing)"
# Forests work in float32; a value beyond its range would be an infinity there.
LARGEST = 1e38


class ContractFrame(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Casts any frame with the contract's columns to the plain types the encoders take.

    integer, float, boolean -> float64 with NaN for empty (infinities too; values clipped to +-1e38); string,
    category -> str with `(missing)`; text -> str with ""; date, datetime -> datetime64[us] in UTC with NaT.
    Takes numpy, nullable and Arrow-backed columns, and columns of Python objects.
    """

    def __init__(self, types: dict[str, str]) -> None:
        self.types = types

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:  # noqa: N803, ARG002 - scikit-learn's names
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803
        """The contract's columns of `X`, cast. Raises InvalidInput for absent columns and uncastable values."""
        absent = [name for name in self.types if name not in X.columns]
        if absent:
            raise InvalidInput(
                "Columns the model needs are absent",
                detail=f"not there: {', '.join(absent)}",
                remedy="Give every feature of the contract; an unknown value may be null.",
            )
        return pd.DataFrame({name: _cast(X[name], kind) for name, kind in self.types.items()}, index=X.index)


def _cast(values: pd.Series, kind: str) -> Any:
    try:
        if kind in ("integer", "float", "boolean"):
            return _numbers(values)
        if kind in ("date", "datetime"):
            return _moments(values)
        return _texts(values, "" if kind == "text" else MISSING)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            f"Column {values.name} holds a value that is not of its type",
            detail=f"the contract says {kind}: {error}",
            remedy="Mend the value, or the column's type in project.yaml.",
        ) from error


def _numbers(values: pd.Series) -> NDArray[Any]:
    numbers: NDArray[Any] = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.clip(np.where(np.isinf(numbers), np.nan, numbers), -LARGEST, LARGEST)


def _texts(values: pd.Series, empty: str) -> NDArray[Any]:
    objects = values.to_numpy(dtype=object)
    missing = values.isna().to_numpy(dtype=bool)
    texts = np.empty(len(objects), dtype=object)
    texts[:] = [empty if absent else str(value) for value, absent in zip(objects, missing, strict=True)]
    return texts


def _moments(values: pd.Series) -> NDArray[Any]:
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "M":
        return values.to_numpy(dtype="datetime64[us]")
    missing = values.isna().to_numpy(dtype=bool)
    objects = values.to_numpy(dtype=object)
    return np.array(
        [
            np.datetime64("NaT", "us") if absent else _moment(value)
            for value, absent in zip(objects, missing, strict=True)
        ],
        dtype="datetime64[us]",
    )


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
        return np.datetime64(value, "us")
    if isinstance(value, date):
        return np.datetime64(value, "us")
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]")
    raise TypeError(f"{value!r} is not a date")


class DateParts(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Moments as numbers: year, month, day of week (Monday 0), days since 1970-01-01 and, with `hour`, the hour.

    Takes datetime64 columns, gives float64 with NaN where a moment is missing; the parts of a column lie together.
    """

    def __init__(self, hour: bool = False) -> None:
        self.hour = hour

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:  # noqa: N803, ARG002
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[Any]:  # noqa: N803
        parts = [part for name in X.columns for part in self._parts(X[name].to_numpy(dtype="datetime64[us]"))]
        return np.column_stack(parts)

    def _parts(self, moments: NDArray[Any]) -> list[NDArray[Any]]:
        missing = np.isnat(moments)
        days = moments.astype("datetime64[D]").astype(np.int64)
        parts = [
            moments.astype("datetime64[Y]").astype(np.int64) + 1970,
            moments.astype("datetime64[M]").astype(np.int64) % 12 + 1,
            (days + 3) % 7,
            days,
        ]
        if self.hour:
            parts.append(moments.astype("datetime64[h]").astype(np.int64) % 24)
        return [np.where(missing, np.nan, part.astype(np.float64)) for part in parts]


class FilledColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Keeps numbers and their gaps, but makes a column that was empty in training constant.

    Boosting takes NaN as it is, yet refuses to bin a column of nothing else. The width stays the contract's.
    """

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002
        self.empty_ = np.isnan(np.asarray(X, dtype=np.float64)).all(axis=0)
        return self

    def transform(self, X: Any) -> NDArray[Any]:  # noqa: N803
        numbers = np.array(X, dtype=np.float64)
        numbers[:, self.empty_] = 0.0
        return numbers


class OrderedColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The named columns of a cast frame as a matrix of float64, as an imported model's trees take them."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, X: pd.DataFrame) -> NDArray[Any]:  # noqa: N803
        return X[self.names].to_numpy(dtype=np.float64)


class TextTerms(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """TF-IDF of single words and pairs of one text column, kept sparse, or reduced for models that need it dense.

    With `components` the terms are reduced by truncated SVD to at most that many dense columns (latent semantic
    analysis): trees cannot split on thousands of sparse ones in reasonable time. A column without a single word
    becomes one column of zeros, where TfidfVectorizer alone would refuse it.
    """

    def __init__(self, max_features: int = 2000, components: int | None = None, seed: int = 0) -> None:
        self.max_features = max_features
        self.components = components
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002
        vectorizer = TfidfVectorizer(max_features=self.max_features, ngram_range=(1, 2), sublinear_tf=True)
        analyze = vectorizer.build_analyzer()
        self.vectorizer_ = vectorizer if any(analyze(text) for text in X) else None
        self.svd_ = None
        if self.vectorizer_ is not None:
            terms = self.vectorizer_.fit_transform(X)
            if self.components is not None and min(terms.shape) > 1:
                size = min(self.components, min(terms.shape) - 1)
                self.svd_ = TruncatedSVD(n_components=size, random_state=self.seed)
                # explained_variance_ratio_ divides by the total variance, which is 0 when all texts are equal.
                with np.errstate(invalid="ignore", divide="ignore"):
                    self.svd_.fit(terms)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vectorizer_")

    def transform(self, X: Any) -> Any:  # noqa: N803
        if self.vectorizer_ is None:
            empty = np.zeros((len(X), 1))
            return empty if self.components is not None else sparse.csr_matrix(empty)
        terms = self.vectorizer_.transform(X)
        if self.svd_ is not None:
            return self.svd_.transform(terms)
        return terms.toarray() if self.components is not None else terms
