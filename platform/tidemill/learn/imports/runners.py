"""Running an imported model: columns of checked values in, probabilities or numbers out.

Here belongs one runner a format. The same ones run in the child that first looks at a file, in evaluation and in
the prediction service, so that what was checked is what answers. Libraries are imported where they are used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import NotReady
from tidemill.learn.imports.spec import Spec

Values = Sequence[Any] | NDArray[Any]
Columns = Mapping[str, Values]
# As in learn/encoders.py: beyond it float32 knows only infinity.
LARGEST = 1e38


class Runner(ABC):
    """A loaded model. `answers` may be called from several threads."""

    @abstractmethod
    def answers(self, columns: Columns) -> NDArray[np.float64]:
        """rows x classes probabilities in the spec's order, or rows x 1 numbers of a regression."""


def open_runner(data: bytes, spec: Spec) -> Runner:
    """The runner for the bytes of a model file. Raises NotReady when its library is not installed."""
    if spec.format == "onnx":
        return OnnxRunner(data, spec)
    if spec.format == "skops":
        return SkopsRunner(data, spec)
    if spec.format == "lightgbm":
        return LightgbmRunner(data, spec)
    return XgboostRunner(data, spec) if spec.format == "xgboost" else CatboostRunner(data, spec)


def library(name: str) -> Any:
    """The module of a booster. Raises NotReady, naming the extra that holds it."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotReady(
            f"A model of {name} needs {name}",
            detail=f"{name} is not installed here: {error}",
            remedy="Install the extra `boosters` (uv sync --extra boosters), or export the model to ONNX.",
        ) from error


def numbers(values: Values) -> NDArray[np.float64]:
    """A column as float64: NaN where missing or infinite, at most +-1e38."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        found = values.astype(np.float64)
    else:
        found = np.array(
            [np.nan if _is_missing(value) else float(value) for value in values], dtype=np.float64
        )
    return np.clip(np.where(np.isinf(found), np.nan, found), -LARGEST, LARGEST)


def texts(values: Values) -> list[str]:
    """A column as text, empty where missing."""
    return ["" if _is_missing(value) else str(value) for value in values]


def _is_missing(value: Any) -> bool:
    return value is None or bool(value != value) if not _is_na(value) else True


def _is_na(value: Any) -> bool:
    # pandas.NA compares to neither true nor false; pandas itself is not imported here.
    return type(value).__name__ in ("NAType", "NaTType")


def _matrix(columns: Columns, spec: Spec) -> NDArray[np.float64]:
    return np.column_stack([numbers(columns[name]) for name in spec.columns])


def _two_sided(positive: NDArray[Any]) -> NDArray[np.float64]:
    single = np.asarray(positive, dtype=np.float64).reshape(-1)
    return np.column_stack([1.0 - single, single])


def _added_up(probabilities: Any) -> NDArray[np.float64]:
    """Probabilities that were rounded to float32, so that they add up to 1 again; others are left to the checks."""
    found = np.asarray(probabilities, dtype=np.float64)
    sums = found.sum(axis=1, keepdims=True)
    near = np.abs(sums - 1.0) < 1e-3
    scaled: NDArray[np.float64] = np.divide(found, sums, out=found.copy(), where=near)
    return scaled


class OnnxRunner(Runner):
    """An ONNX graph: one matrix of numbers, or one input for each column."""

    def __init__(self, data: bytes, spec: Spec) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._spec = spec
        self._inputs = self._session.get_inputs()
        self._output = _probability_output(self._session.get_outputs(), bool(spec.classes))
        first = self._inputs[0].shape[0] if self._inputs[0].shape else None
        self._lot = first if isinstance(first, int) and first > 0 else None

    def answers(self, columns: Columns) -> NDArray[np.float64]:
        feed = self._feed(columns)
        rows = len(next(iter(feed.values())))
        if self._lot is None:
            return self._tidy(self._session.run([self._output], feed)[0])
        lots = [
            {name: part[at : at + self._lot] for name, part in feed.items()}
            for at in range(0, rows, self._lot)
        ]
        return np.concatenate([self._tidy(self._session.run([self._output], lot)[0]) for lot in lots])

    def _feed(self, columns: Columns) -> dict[str, NDArray[Any]]:
        if len(self._inputs) == 1 and self._inputs[0].name not in self._spec.columns:
            (only,) = self._inputs
            return {only.name: _matrix(columns, self._spec).astype(_kind(only.type))}
        feed = {}
        for taken in self._inputs:
            values = columns[taken.name]
            if taken.type == "tensor(string)":
                column = np.array(texts(values), dtype=object)
            else:
                column = numbers(values).astype(_kind(taken.type))
            feed[taken.name] = column.reshape(-1, 1) if len(taken.shape) == 2 else column
        return feed

    def _tidy(self, found: Any) -> NDArray[np.float64]:
        if isinstance(found, list):  # a ZipMap's: one mapping of class to probability a row
            return _added_up([list(row.values()) for row in found])
        values = np.asarray(found, dtype=np.float64)
        values = values.reshape(len(values), -1)
        if not self._spec.classes:
            return values
        return _two_sided(values) if values.shape[1] == 1 else _added_up(values)


def _kind(kind: str) -> Any:
    kinds = {
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(bool)": np.bool_,
    }
    return kinds[kind]


def _probability_output(outputs: Sequence[Any], is_classifier: bool) -> str:
    """The output with the probabilities: the last of floats or of mappings; a regression's only one."""
    kinds: tuple[str, ...] = ("tensor(float)", "tensor(double)")
    if is_classifier:
        kinds += ("seq(map(string,tensor(float)))", "seq(map(int64,tensor(float)))")
    return str([output.name for output in outputs if output.type in kinds][-1])


class SkopsRunner(Runner):
    """A fitted scikit-learn estimator out of a skops file; it takes a frame, or a matrix if it names no columns."""

    def __init__(self, data: bytes, spec: Spec) -> None:
        from tidemill.learn.imports.skops_load import load

        self._model, self._spec = load(data), spec
        self._is_ours = hasattr(self._model, "named_steps") and "cast" in self._model.named_steps
        self._takes_frame = self._is_ours or hasattr(self._model, "feature_names_in_")

    def answers(self, columns: Columns) -> NDArray[np.float64]:
        import pandas as pd
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        if self._takes_frame:
            rows: Any = pd.DataFrame({name: self._column(columns[name], name) for name in self._spec.columns})
            if not self._is_ours:
                rows.columns = list(self._model.feature_names_in_)
        else:
            rows = _matrix(columns, self._spec)
        with threadpool_limits(limits=1):
            if not self._spec.classes:
                return np.asarray(self._model.predict(rows), dtype=np.float64).reshape(-1, 1)
            return np.asarray(self._model.predict_proba(rows), dtype=np.float64)

    def _column(self, values: Values, name: str) -> Any:
        import pandas as pd

        kind = self._spec.types[name]
        if self._is_ours or kind in ("date", "datetime"):
            return pd.Series(list(values), dtype=object)
        if kind in ("integer", "float", "boolean"):
            return numbers(values)
        return pd.Series([np.nan if _is_missing(value) else str(value) for value in values], dtype=object)


class LightgbmRunner(Runner):
    """A native LightGBM file."""

    def __init__(self, data: bytes, spec: Spec) -> None:
        self._model = library("lightgbm").Booster(model_str=data.decode("utf-8"))
        self._spec = spec

    def answers(self, columns: Columns) -> NDArray[np.float64]:
        found = self._model.predict(_matrix(columns, self._spec), num_threads=1)
        if not self._spec.classes:
            return np.asarray(found, dtype=np.float64).reshape(-1, 1)
        return _two_sided(found) if np.ndim(found) == 1 else np.asarray(found, dtype=np.float64)


class XgboostRunner(Runner):
    """A native XGBoost file, JSON or UBJSON."""

    def __init__(self, data: bytes, spec: Spec) -> None:
        self._library = library("xgboost")
        self._model = self._library.Booster({"nthread": 1})
        self._model.load_model(bytearray(data))
        self._model.feature_names = self._model.feature_types = None
        self._spec = spec

    def as_json(self) -> bytes:
        """The model as the JSON of its own format, whichever the file was."""
        return bytes(self._model.save_raw(raw_format="json"))

    def answers(self, columns: Columns) -> NDArray[np.float64]:
        found = self._model.inplace_predict(_matrix(columns, self._spec), missing=np.nan)
        if not self._spec.classes:
            return np.asarray(found, dtype=np.float64).reshape(-1, 1)
        return _two_sided(found) if np.ndim(found) == 1 else _added_up(found)


class CatboostRunner(Runner):
    """A native CatBoost file; its categorical features are given as text."""

    def __init__(self, data: bytes, spec: Spec) -> None:
        library_ = library("catboost")
        maker = library_.CatBoostClassifier if spec.classes else library_.CatBoostRegressor
        self._model = maker()
        self._model.load_model(blob=data)
        self._spec = spec
        self._texts = set(self._model.get_cat_feature_indices()) | set(self._model.get_text_feature_indices())

    def answers(self, columns: Columns) -> NDArray[np.float64]:
        import pandas as pd

        # CatBoost compares names; ours were fitted to its own before.
        rows = pd.DataFrame(
            {
                name: texts(columns[column]) if index in self._texts else numbers(columns[column])
                for index, (name, column) in enumerate(
                    zip(self._model.feature_names_, self._spec.columns, strict=True)
                )
            }
        )
        if not self._spec.classes:
            return np.asarray(self._model.predict(rows, thread_count=1), dtype=np.float64).reshape(-1, 1)
        return np.asarray(self._model.predict_proba(rows, thread_count=1), dtype=np.float64)
