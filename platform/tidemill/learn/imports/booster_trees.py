"""LightGBM's and XGBoost's own trees as the flat trees that the prediction service walks by itself.

Here belongs reading their documented files (LightGBM's text, XGBoost's JSON). What has no equal there, such as
splits on categories, raises NotCompilable; such a model is served by its library. That both answer alike is shown
by `child.py`, which has the library at hand.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.learn.compiling import NotCompilable, _lay_out, _Nodes
from tidemill.learn.imports.spec import Spec
from tidemill.serve.compiled import FORMAT, Form

_IDENTITY = {
    "regression",
    "regression_l1",
    "huber",
    "fair",
    "quantile",
    "mape",
    "reg:squarederror",
    "reg:pseudohubererror",
    "reg:absoluteerror",
    "reg:quantileerror",
}


def compile_booster(data: bytes, spec: Spec) -> Form:
    """The compiled form of a booster's file; for XGBoost its JSON. Raises NotCompilable."""
    try:
        if spec.format == "lightgbm":
            return _lightgbm(data.decode("utf-8"), spec)
        if spec.format == "xgboost":
            return _xgboost(json.loads(data), spec)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise NotCompilable(f"its trees are laid out in an unknown way: {error}") from error
    raise NotCompilable(f"{spec.format} has no compiled form")


def _form(spec: Spec, trees: list[_Nodes], baseline: list[float], link: str, is_float32: bool) -> Form:
    arrays: dict[str, NDArray[Any]] = {}
    _lay_out(trees, arrays)
    arrays["baseline"] = np.array(baseline, dtype=np.float64)
    number = {"fill": None, "empty": False, "shift": 0.0, "scale": 1.0, "gap": None}
    document = {
        "format": FORMAT,
        "classes": spec.classes or None,
        "width": len(spec.columns),
        "columns": [
            {"kind": "number", "name": name, "number": {"at": at, **number}}
            for at, name in enumerate(spec.columns)
        ],
        "model": {"kind": "boosting", "link": link, "outputs": len(baseline), "float32": is_float32},
    }
    return Form(document, arrays)


def _link(objective: str) -> str:
    if objective in ("binary", "binary:logistic"):
        return "logistic"
    if objective in ("multiclass", "multi:softprob", "multi:softmax"):
        return "softmax"
    if objective in _IDENTITY:
        return "identity"
    raise NotCompilable(f"the objective {objective} has no compiled form")


def _lightgbm(text: str, spec: Spec) -> Form:
    head, *blocks = text.split("\nTree=")
    settings = dict(line.partition("=")[::2] for line in head.splitlines())
    name, *options = settings["objective"].split(" ")
    link = _link(name)
    if (
        "average_output" in settings
        or (link == "logistic" and "sigmoid:1" not in options)
        or "sqrt" in options
    ):
        raise NotCompilable("its sums are averaged or scaled, which has no compiled form")
    if any(part.startswith("linear_tree") and part.endswith("1") for part in head.splitlines()):
        raise NotCompilable("its leaves are linear models, which have no compiled form")
    trees = []
    for block in blocks:
        lines = dict(line.partition("=")[::2] for line in block.split("\n\n")[0].splitlines()[1:])
        if lines.get("is_linear", "0") != "0" or lines.get("num_cat", "0") != "0":
            raise NotCompilable(
                "a tree splits on categories or has linear leaves, which has no compiled form"
            )
        trees.append(_lightgbm_tree(lines))
    return _form(spec, trees, [0.0] * int(settings["num_tree_per_iteration"]), link, is_float32=False)


def _lightgbm_tree(lines: dict[str, str]) -> _Nodes:
    leaves = np.array(lines["leaf_value"].split(), dtype=np.float64)
    inner = len(leaves) - 1
    if inner == 0:
        return _leaf_alone(leaves[0])
    threshold = np.array(lines["threshold"].split(), dtype=np.float64)
    decision = np.array(lines["decision_type"].split(), dtype=np.int64)
    missing = (decision >> 2) & 3
    if bool((decision & 1).any()) or bool((missing == 1).any()):
        raise NotCompilable(
            "a tree takes zeros for missing, or splits on categories, which has no compiled form"
        )
    # Without a way for gaps of its own (0) a gap counts as 0.0; else the second bit says which way it goes.
    gaps_left = np.where(missing == 0, threshold >= 0.0, (decision & 2) != 0)
    left, right = (np.array(lines[f"{side}_child"].split(), dtype=np.int64) for side in ("left", "right"))
    empty = np.zeros(len(leaves))
    return _Nodes(
        feature=np.concatenate([np.array(lines["split_feature"].split(), dtype=np.int64), empty - 1]).astype(
            int
        ),
        threshold=np.concatenate([threshold, empty]),
        # Leaves are numbered -1, -2 ... and lie after the splits here.
        left=np.concatenate([np.where(left < 0, inner + ~left, left), empty]).astype(int),
        right=np.concatenate([np.where(right < 0, inner + ~right, right), empty]).astype(int),
        missing_left=np.concatenate([gaps_left, empty > 0]),
        value=np.concatenate([np.zeros(inner), leaves])[:, np.newaxis],
        cover=np.array([*lines["internal_count"].split(), *lines["leaf_count"].split()], dtype=np.float64),
    )


def _leaf_alone(value: float) -> _Nodes:
    none = np.zeros(1)
    return _Nodes(
        feature=np.array([-1]),
        threshold=none,
        left=none.astype(int),
        right=none.astype(int),
        missing_left=none > 0,
        value=np.array([[value]]),
        cover=none + 1,
    )


def _xgboost(document: dict[str, Any], spec: Spec) -> Form:
    learner = document["learner"]
    booster, settings = learner["gradient_booster"], learner["learner_model_param"]
    link = _link(learner["objective"]["name"])
    if (
        booster["name"] != "gbtree"
        or booster["model"]["gbtree_model_param"].get("num_parallel_tree", "1") != "1"
    ):
        raise NotCompilable(f"a booster {booster['name']}, or several trees at once, has no compiled form")
    outputs = max(1, int(settings["num_class"]))
    scores = [float(part) for part in settings["base_score"].strip("[]").split(",")]
    if link == "logistic":
        scores = [math.log(score / (1.0 - score)) for score in scores]
    baseline = scores * (outputs if len(scores) == 1 else 1)
    trees = [_xgboost_tree(tree) for tree in booster["model"]["trees"]]
    if booster["model"]["tree_info"] != [index % outputs for index in range(len(trees))]:
        raise NotCompilable("its trees are not in turns of the classes, which has no compiled form")
    return _form(spec, trees, baseline, link, is_float32=True)


def _xgboost_tree(tree: dict[str, Any]) -> _Nodes:
    if any(tree["split_type"]) or int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise NotCompilable(
            "a tree splits on categories or has vectors at its leaves, which has no compiled form"
        )
    left = np.array(tree["left_children"], dtype=np.int64)
    leaf = left < 0
    split = np.array(tree["split_conditions"], dtype=np.float32)
    # Its rule is "less than" on float32: at most the next smaller number.
    threshold = np.nextafter(split, np.float32(-np.inf)).astype(np.float64)
    return _Nodes(
        feature=np.where(leaf, -1, np.array(tree["split_indices"], dtype=np.int64)),
        threshold=threshold,
        left=left,
        right=np.array(tree["right_children"], dtype=np.int64),
        missing_left=np.array(tree["default_left"], dtype=bool),
        value=split.astype(np.float64)[:, np.newaxis],
        cover=np.array(tree["sum_hessian"], dtype=np.float64),
    )
