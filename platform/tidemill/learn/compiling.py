"""From a fitted pipeline of ours to what the prediction service needs of it: tables, weights and flat trees.

Here belongs reading scikit-learn's fitted objects. What comes out is run by `serve/compiled.py`, which imports none
of scikit-learn; that both answer alike is shown by `learn/proof.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tidemill.learn.adjusting import AdjustedModel
from tidemill.learn.encoders import DateParts, FilledColumns, TextTerms
from tidemill.learn.leaf_graph import leaf_graph
from tidemill.learn.stacked_frame import StackedFrame
from tidemill.serve.compiled import FORMAT, Form

# Settings of TfidfVectorizer that `serve/encoding.py` assumes.
_TERMS: dict[str, Any] = {
    "analyzer": "word",
    "binary": False,
    "lowercase": True,
    "ngram_range": (1, 2),
    "norm": "l2",
    "preprocessor": None,
    "smooth_idf": True,
    "stop_words": None,
    "strip_accents": None,
    "sublinear_tf": True,
    "token_pattern": r"(?u)\b\w\w+\b",
    "tokenizer": None,
    "use_idf": True,
}


_COMPILED = (
    LogisticRegression,
    Ridge,
    RandomForestClassifier,
    RandomForestRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)


class NotCompilable(Exception):
    """The pipeline holds something that has no compiled form; the message says what, for the model card."""


def compile_pipeline(pipeline: Pipeline) -> Form:
    """The compiled form of a fitted pipeline made by `learn/pipeline.py`. Raises NotCompilable."""
    arrays: dict[str, NDArray[Any]] = {}
    if isinstance(cast := pipeline.named_steps["cast"], StackedFrame):
        asked = ", ".join(str(member["version"]) for member in cast.members)
        raise NotCompilable(f"it asks model {asked} first, which it carries as it was made")
    if not isinstance(pipeline.named_steps["encode"], ColumnTransformer):
        raise NotCompilable("it goes on from an earlier model, behind that one's own encoder")
    columns = _columns(pipeline.named_steps["encode"], arrays)
    model = pipeline.named_steps["model"]
    adjusted = model if isinstance(model, AdjustedModel) else None
    model = model.model if adjusted is not None else model
    classes = [str(name) for name in model.classes_] if hasattr(model, "classes_") else None
    if not isinstance(model, _COMPILED):
        raise NotCompilable(f"{type(model).__name__} has no compiled form")
    document: dict[str, Any] = {
        "format": FORMAT,
        "classes": classes,
        "width": int(model.n_features_in_),
        "columns": columns,
    }
    if isinstance(model, LogisticRegression | Ridge):
        document["model"] = _linear(model, arrays)
    elif isinstance(model, RandomForestClassifier | RandomForestRegressor):
        document["model"] = _forest(model, arrays)
    else:
        document["model"] = _boosting(model, arrays)
    if adjusted is not None and adjusted.calibration is not None:
        document["calibration"] = adjusted.calibration
        if adjusted.positive is not None:
            at = (classes or []).index(adjusted.positive)
            document["calibration"] = {"at": at, **adjusted.calibration}
    return Form(document, arrays)


def _columns(encoder: ColumnTransformer, arrays: dict[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """One entry for each column of the contract, with the positions it fills in the encoded row."""
    found: list[dict[str, Any]] = []
    for kind, step, names in encoder.transformers_:
        if kind == "remainder":
            continue
        at = encoder.output_indices_[kind].start
        if isinstance(step, OneHotEncoder):
            found += _categories(step, list(names), at)
        elif isinstance(step, TextTerms):
            found.append(_text(step, str(names), at, arrays))
        elif kind in ("date", "datetime"):
            parts = step.named_steps["parts"]
            found += _dates(parts, _numbers(step.named_steps["numbers"], at), list(names))
        else:
            entries = _numbers(step, at)
            found += [
                {"kind": "number", "name": name, "number": entry}
                for name, entry in zip(names, entries, strict=True)
            ]
    return found


def _numbers(step: Any, at: int) -> list[dict[str, Any]]:
    """For each number: position, `fill` for a gap (None keeps NaN), scaling, the indicator of the gap if any."""
    if isinstance(step, FilledColumns):
        return [
            {"at": at + index, "fill": None, "empty": bool(empty), "shift": 0.0, "scale": 1.0, "gap": None}
            for index, empty in enumerate(np.atleast_1d(step.empty_))
        ]
    scaler = None
    if isinstance(step, Pipeline):
        scaler, step = step.named_steps["scale"], step.named_steps["impute"]
    if not isinstance(step, SimpleImputer) or not isinstance(scaler, StandardScaler | None):
        raise NotCompilable(f"numbers go through {type(step).__name__}, which has no compiled form")
    count = len(step.statistics_)
    flagged = [int(index) for index in step.indicator_.features_]
    width = count + len(flagged)
    shift = scaler.mean_.tolist() if scaler is not None else [0.0] * width
    scale = scaler.scale_.tolist() if scaler is not None else [1.0] * width
    entries = []
    for index in range(count):
        gap = None
        if index in flagged:
            own = count + flagged.index(index)
            present, missing = ((value - shift[own]) / scale[own] for value in (0.0, 1.0))
            gap = {"at": at + own, "present": present, "missing": missing}
        entries.append(
            {
                "at": at + index,
                "fill": float(step.statistics_[index]),
                "empty": False,
                "shift": shift[index],
                "scale": scale[index],
                "gap": gap,
            }
        )
    return entries


def _dates(parts: DateParts, entries: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    each = 5 if parts.hour else 4
    return [
        {"kind": "date", "name": name, "numbers": entries[index * each : (index + 1) * each]}
        for index, name in enumerate(names)
    ]


def _categories(step: OneHotEncoder, names: list[str], at: int) -> list[dict[str, Any]]:
    """Which position each known value sets, and which an unknown one does (None: no position)."""
    found = []
    for index, name in enumerate(names):
        values = step.categories_[index]
        grouping = step._default_to_infrequent_mappings[index] if step._infrequent_enabled else None
        places = list(range(len(values))) if grouping is None else [int(place) for place in grouping]
        found.append(
            {
                "kind": "category",
                "name": name,
                "known": {
                    str(value): at + place for value, place in zip(values.tolist(), places, strict=True)
                },
                "unknown": None if grouping is None else at + max(places),
            }
        )
        at += max(places) + 1
    return found


def _text(step: TextTerms, name: str, at: int, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": "text", "name": name, "at": at, "terms": [], "idf": f"idf_{name}"}
    vectorizer = step.vectorizer_
    if vectorizer is None:
        arrays[entry["idf"]] = np.zeros(0)
        return entry
    if step.svd_ is not None:
        raise NotCompilable(f"column {name} reaches the trees through an SVD, which has no compiled form")
    settings = TfidfVectorizer.get_params(vectorizer)
    odd = [setting for setting, wanted in _TERMS.items() if settings[setting] != wanted]
    if odd:
        raise NotCompilable(f"the terms of column {name} are made with another {', '.join(odd)}")
    entry["terms"] = vectorizer.get_feature_names_out().tolist()
    arrays[entry["idf"]] = np.asarray(vectorizer.idf_, dtype=np.float64)
    return entry


def _linear(model: Any, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    arrays["coef"] = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    arrays["intercept"] = np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64))
    link = "identity"
    if isinstance(model, LogisticRegression):
        link = "logistic" if len(model.classes_) == 2 else "softmax"
    return {"kind": "linear", "link": link}


def _forest(model: Any, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    trees = []
    for fitted in model.estimators_:
        nodes, state = fitted.tree_.__getstate__()["nodes"], fitted.tree_
        trees.append(
            _Nodes(
                feature=np.where(nodes["left_child"] < 0, -1, nodes["feature"]),
                threshold=nodes["threshold"],
                left=nodes["left_child"],
                right=nodes["right_child"],
                missing_left=nodes["missing_go_to_left"].astype(bool),
                value=state.value[:, 0, :],
                cover=nodes["weighted_n_node_samples"],
            )
        )
    _lay_out(trees, arrays)
    arrays["baseline"] = np.zeros(0)
    return {"kind": "forest", "link": "mean", "outputs": trees[0].value.shape[1]}


def _boosting(model: Any, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    trees = []
    for iteration in model._predictors:
        for predictor in iteration:
            nodes = predictor.nodes
            if bool(nodes["is_categorical"].any()):
                raise NotCompilable("a tree splits on categories, which these pipelines never do")
            trees.append(
                _Nodes(
                    feature=np.where(nodes["is_leaf"] == 1, -1, nodes["feature_idx"].astype(np.int64)),
                    threshold=nodes["num_threshold"],
                    left=nodes["left"].astype(np.int64),
                    right=nodes["right"].astype(np.int64),
                    missing_left=nodes["missing_go_to_left"].astype(bool),
                    value=nodes["value"][:, np.newaxis],
                    cover=nodes["count"],
                )
            )
    _lay_out(trees, arrays)
    arrays["baseline"] = np.asarray(model._baseline_prediction, dtype=np.float64).ravel()
    link = "identity"
    if hasattr(model, "classes_"):
        link = "logistic" if len(model.classes_) == 2 else "softmax"
    return {"kind": "boosting", "link": link, "outputs": int(model.n_trees_per_iteration_)}


class _Nodes:
    """The nodes of one tree as the library numbers them; `feature` is -1 at a leaf.

    `cover` is the weight of the training rows that came to each node, for explanations.
    """

    def __init__(self, **parts: NDArray[Any]) -> None:
        self.feature = parts["feature"]
        self.threshold = parts["threshold"]
        self.left = parts["left"]
        self.right = parts["right"]
        self.missing_left = parts["missing_left"]
        self.value = parts["value"]
        self.cover = parts["cover"]

    def order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Nodes by level with siblings side by side, and where the left child of each lies (itself at a leaf)."""
        level = np.zeros(1, dtype=np.int64)
        levels, lefts, start = [level], [], 0
        while len(level):
            inner = level[self.feature[level] >= 0]
            left = np.arange(start, start + len(level))
            start += len(level)
            left[self.feature[level] >= 0] = start + 2 * np.arange(len(inner))
            level = np.column_stack([self.left[inner], self.right[inner]]).astype(np.int64).ravel()
            levels.append(level)
            lefts.append(left)
        return np.concatenate(levels), np.concatenate(lefts)


def _lay_out(trees: list[_Nodes], arrays: dict[str, NDArray[Any]]) -> None:
    """All trees one after another. A leaf is its own left child and everything is below its threshold."""
    parts: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("feature", "threshold", "left", "missing_left", "value", "cover")
    }
    roots, start = [], 0
    for tree in trees:
        order, left = tree.order()
        leaf = tree.feature[order] < 0
        parts["feature"].append(tree.feature[order].astype(np.int32))
        parts["threshold"].append(np.where(leaf, np.inf, tree.threshold[order]))
        parts["left"].append((left + start).astype(np.int32))
        parts["missing_left"].append(tree.missing_left[order] | leaf)
        parts["value"].append(tree.value[order].astype(np.float64))
        parts["cover"].append(tree.cover[order].astype(np.float64))
        roots.append(start)
        start += len(order)
    arrays.update({name: np.concatenate(found) for name, found in parts.items()})
    arrays["roots"] = np.array(roots, dtype=np.int32)
    arrays.update(leaf_graph(arrays))
