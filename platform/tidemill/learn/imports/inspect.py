"""What a model file says of itself, by format, and fitting that to a project's contract.

Here belongs reading names, widths, classes and tasks out of each format; the answers are checked here too. Runs in
the child process, after the file has been looked through for what may not be loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.learn.imports import onnx_file, runners
from tidemill.learn.imports.refusal import mismatch, refused
from tidemill.learn.imports.spec import Spec, fit_classes, fit_columns, require_numbers
from tidemill.project import NUMERIC, Project

_BINARY = ("binary", "binary:logistic", "Logloss", "CrossEntropy")
_MULTI = ("multiclass", "multiclassova", "multi:softprob", "MultiClass", "MultiClassOneVsAll")
_REGRESSION = (
    "regression", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie", "RMSE", "MAE", "Quantile",
    "Huber", "Poisson", "MAPE", "Tweedie", "reg:", "count:poisson",
)  # fmt: skip
DEEPEST_JSON = 60


@dataclass(frozen=True)
class Found:
    """`names` and `classes` are None where the file has none; `outputs` is 1 for a regression, else the classes.

    `takes` is "matrix" (numbers alone), "columns" (an input each) or "frame"; `kinds` the ONNX type by column.
    """

    format: str
    names: list[str] | None
    count: int | None
    classes: list[str] | None
    outputs: int
    is_classifier: bool
    takes: str
    texts: set[int] = field(default_factory=set)
    kinds: dict[str, str] = field(default_factory=dict)


def inspect(kind: str, data: bytes) -> Found:
    """Look through a file of `kind` and load it once. Raises ModelRefused, or NotReady without its library."""
    looks = {
        "onnx": _onnx,
        "skops": _skops,
        "lightgbm": _lightgbm,
        "xgboost": _xgboost,
        "catboost": _catboost,
    }
    return looks[kind](data)


def fit(found: Found, request: dict[str, Any], project: Project) -> Spec:
    """The spec of the model for this project. Raises ModelRefused when it does not fit the contract."""
    if found.is_classifier != project.is_classification:
        does = "classifies" if found.is_classifier else "predicts a number"
        raise mismatch(
            f"the model {does}, the project's task is {project.task}", "Import a model for this task."
        )
    columns, notes = fit_columns(found.names, found.count, request.get("columns"), project)
    if found.takes == "matrix":
        allowed = [name for index, name in enumerate(columns) if index not in found.texts]
        require_numbers(allowed, project, f"a model of {found.format}")
    elif found.takes == "columns":
        _check_kinds(found.kinds, project)
    classes: list[str] = []
    if found.is_classifier:
        classes, more = fit_classes(found.classes, found.outputs, request.get("classes"), request["labels"])
        notes = notes + more
    return Spec(
        format=found.format,
        model_file=request["model_file"],
        columns=columns,
        classes=classes,
        task=project.task,
        types={name: project.feature_columns[name].type for name in columns},
        notes=notes,
    )


def check_answers(answers: NDArray[Any], rows: int, spec: Spec) -> None:
    """Raise ModelRefused unless there is a finite answer for each row, and probabilities add up to 1."""
    width = len(spec.classes) or 1
    if answers.shape != (rows, width):
        raise mismatch(
            f"it answers {rows} rows in the shape {answers.shape}, {(rows, width)} is needed",
            "Import a model with one answer a row.",
        )
    if not np.isfinite(answers).all():
        raise mismatch(
            "some of its answers are no finite numbers", "Import a model that takes rows with gaps as well."
        )
    if spec.classes and (
        answers.min() < -1e-6 or answers.max() > 1 + 1e-6 or np.abs(answers.sum(axis=1) - 1).max() > 1e-3
    ):
        raise mismatch(
            "its answers are not probabilities: they do not lie between 0 and 1, or do not add up to 1",
            "Export the model with its probabilities, not with scores or labels.",
        )


def _check_kinds(kinds: dict[str, str], project: Project) -> None:
    for name, kind in kinds.items():
        column = project.feature_columns[name]
        is_number = column.type in NUMERIC | {"boolean"}
        if is_number == (kind == "tensor(string)") or column.type in ("date", "datetime"):
            raise mismatch(
                f"its input {name} is a {kind}, the contract's column is of type {column.type}",
                "Export the model with float inputs for numbers and string inputs for categories and texts.",
            )


def _onnx(data: bytes) -> Found:
    model = onnx_file.check_graph(data)
    import onnxruntime

    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:
        raise refused("truncated", f"onnxruntime cannot load it: {error}"[:300]) from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    bad = [taken for taken in inputs if len(taken.shape) not in (1, 2) or not _is_taken(taken.type)]
    if bad or not inputs:
        shown = ", ".join(f"{taken.name}: {taken.type} {taken.shape}" for taken in bad)
        raise mismatch(
            f"it has inputs that are no columns of a table: {shown:.300}", "Import a model of tables."
        )
    classes = onnx_file.class_labels(model)
    floats = [output for output in outputs if output.type in ("tensor(float)", "tensor(double)")]
    maps = [output for output in outputs if output.type.startswith("seq(map(")]
    if not floats and not maps:
        raise mismatch(
            "it has no output with probabilities or numbers, only "
            + ", ".join(f"{output.name}: {output.type}" for output in outputs),
            "Export the model with its probabilities.",
        )
    is_classifier = classes is not None or bool(maps) or len(outputs) > 1
    width = floats[-1].shape[-1] if floats and len(floats[-1].shape) == 2 else None
    if not is_classifier and isinstance(width, int) and width > 1:
        is_classifier = True
    count = len(classes) if classes else max(2, width) if isinstance(width, int) else 2
    if len(inputs) == 1 and (len(inputs[0].shape) != 2 or inputs[0].shape[1] != 1):
        if inputs[0].type == "tensor(string)":
            raise mismatch("its input is a matrix of texts", "Export it with one input for each column.")
        wide = inputs[0].shape[-1]
        names = None
        return Found(
            "onnx", names, wide if isinstance(wide, int) else None, classes, count, is_classifier, "matrix"
        )
    kinds = {taken.name: taken.type for taken in inputs}
    return Found("onnx", list(kinds), len(kinds), classes, count, is_classifier, "columns", kinds=kinds)


def _is_taken(kind: str) -> bool:
    return kind in (
        "tensor(float)",
        "tensor(double)",
        "tensor(int64)",
        "tensor(int32)",
        "tensor(bool)",
        "tensor(string)",
    )


def _skops(data: bytes) -> Found:
    from tidemill.learn.imports import skops_load  # and with it scikit-learn, which the others do without

    model = skops_load.load(data)
    ours = getattr(getattr(model, "named_steps", {}).get("cast"), "types", None)
    if ours is not None:
        names: list[str] | None = list(ours)
    else:
        names = [str(name) for name in getattr(model, "feature_names_in_", [])] or None
    is_classifier = hasattr(model, "predict_proba") and hasattr(model, "classes_")
    if not is_classifier and hasattr(model, "classes_"):
        raise mismatch(
            f"a {type(model).__name__} gives no probabilities",
            "Wrap it in CalibratedClassifierCV, or use an estimator that has predict_proba.",
        )
    classes = [str(name) for name in model.classes_] if is_classifier else None
    count = getattr(model, "n_features_in_", None) if ours is None else len(ours)
    takes = "frame" if names else "matrix"
    return Found(
        "skops",
        names,
        int(count) if count is not None else None,
        classes,
        len(classes or [1]),
        is_classifier,
        takes,
    )


def _by_objective(objective: str, classes: int, what: str) -> tuple[bool, int]:
    """Whether it classifies, and its number of classes. Raises ModelRefused for ranking and other objectives."""
    if objective in _BINARY:
        return True, 2
    if objective in _MULTI:
        return True, classes
    if objective.startswith(_REGRESSION):
        return False, 1
    raise mismatch(
        f"a model of {what} with the objective {objective!r:.60} gives neither probabilities nor a number",
        "Import a model for classes (binary:logistic, multi:softprob ...) or for a number.",
    )


def _lightgbm(data: bytes) -> Found:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refused("magic", f"it is not a text of LightGBM: {error}") from error
    head = dict(line.partition("=")[::2] for line in text.partition("\nTree=")[0].splitlines())
    if not {"num_class", "max_feature_idx", "objective", "feature_names", "tree_sizes"} <= set(head):
        raise refused("truncated", "the head of the LightGBM file is not whole")
    if "\nend of trees" not in text or "\nend of parameters" not in text:
        raise refused("truncated", "the LightGBM file is cut off before its end")
    _check_lightgbm(text, int(head["max_feature_idx"]))
    runners.library("lightgbm").Booster(model_str=text)
    is_classifier, outputs = _by_objective(
        head["objective"].split(" ")[0], int(head["num_class"]), "LightGBM"
    )
    names = head["feature_names"].split(" ")
    return Found("lightgbm", names, len(names), None, outputs, is_classifier, "matrix")


def _check_lightgbm(text: str, widest: int) -> None:
    """LightGBM follows the numbers of its file unchecked: they must lie inside."""
    for block in text.split("\nTree=")[1:]:
        lines = dict(line.partition("=")[::2] for line in block.split("\n\n")[0].splitlines()[1:])
        try:
            leaves = int(lines["num_leaves"])
            values = len(lines["leaf_value"].split())
            if leaves < 1 or leaves > 1_000_000 or values != leaves:
                raise ValueError(f"{leaves} leaves with {values} values")
            if leaves == 1:
                continue
            features = [int(part) for part in lines["split_feature"].split()]
            if len(features) != leaves - 1 or not all(0 <= part <= widest for part in features):
                raise ValueError("a split on a column that is not there")
            for side in ("left_child", "right_child"):
                children = [int(part) for part in lines[side].split()]
                ends = all(
                    -leaves <= part < leaves - 1 and (part < 0 or part > at)
                    for at, part in enumerate(children)
                )
                if len(children) != leaves - 1 or not ends:
                    raise ValueError("a split that leads outside the tree or back")
        except (KeyError, ValueError) as error:
            raise refused("trees", f"a tree does not hold together: {error}") from error


def _xgboost(data: bytes) -> Found:
    if data.lstrip()[:1] == b"{" and not re.match(rb"\{[iUILl]", data[:2]):
        _check_json(data)
    library = runners.library("xgboost")
    booster = library.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(data))
        document = json.loads(booster.save_raw(raw_format="json"))
    except (library.core.XGBoostError, ValueError) as error:
        raise refused("truncated", f"XGBoost cannot read it: {str(error).splitlines()[0]}"[:300]) from error
    learner = document["learner"]
    _check_xgboost(learner)
    settings = learner["learner_model_param"]
    if int(settings.get("num_target", "1")) > 1:
        raise mismatch("it predicts several numbers at once", "Import a model with one target.")
    is_classifier, outputs = _by_objective(
        learner["objective"]["name"], int(settings["num_class"]), "XGBoost"
    )
    if any(kind == "c" for kind in learner["feature_types"]):
        raise mismatch(
            "it was trained on pandas categories, whose numbers a file does not explain",
            "Train it on encoded columns, or export the whole pipeline to ONNX.",
        )
    return Found(
        "xgboost",
        learner["feature_names"] or None,
        int(settings["num_feature"]),
        None,
        outputs,
        is_classifier,
        "matrix",
    )


def _check_json(data: bytes) -> None:
    deepest = depth = 0
    for mark in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', data):
        if mark[0] in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif mark[0] in (b"]", b"}"):
            depth -= 1
        if deepest > DEEPEST_JSON:
            raise refused("depth", "its JSON is nested too deeply")
    try:
        document = json.loads(data)
    except ValueError as error:
        raise refused("truncated", f"it is no whole JSON document: {error}") from error
    if not isinstance(document, dict) or "learner" not in document or "version" not in document:
        raise refused("magic", "it is JSON, but no model of XGBoost: it has no learner")
    _check_xgboost(document["learner"])


def _check_xgboost(learner: Any) -> None:
    """Raise ModelRefused for trees that point outside themselves: XGBoost follows them unchecked."""
    try:
        width = int(learner["learner_model_param"]["num_feature"])
        if not 0 < width <= 100_000 or int(learner["learner_model_param"]["num_class"]) > 10_000:
            raise refused("dimensions", f"it claims {width} columns")
        booster = learner["gradient_booster"]
        booster = booster.get("gbtree", booster)
        for tree in booster["model"].get("trees", []):
            sides = (tree["left_children"], tree["right_children"])
            count = len(tree["left_children"])
            sound = count > 0 and all(len(side) == count for side in sides)
            sound = sound and len(tree["split_indices"]) == count == len(tree["split_conditions"])
            for at in range(count if sound else 0):
                left, right = sides[0][at], sides[1][at]
                inner = at < left < count and at < right < count and 0 <= tree["split_indices"][at] < width
                sound = sound and (inner or left == right == -1)
            if not sound:
                raise refused("trees", "a tree has nodes that point outside of it")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise refused("truncated", f"it is no whole model of XGBoost: {error!r}"[:200]) from error


def _catboost(data: bytes) -> Found:
    library = runners.library("catboost")
    model = library.CatBoost()
    try:
        model.load_model(blob=data)
    except (library.CatBoostError, ValueError) as error:
        raise refused("truncated", f"CatBoost cannot read it: {str(error)[:200]}") from error
    objective = str(model.get_all_params().get("loss_function", "")).partition(":")[0]
    classes = [str(name) for name in model.classes_] if len(model.classes_) else None
    is_classifier, outputs = _by_objective(objective, len(classes or []), "CatBoost")
    texts = set(model.get_cat_feature_indices()) | set(model.get_text_feature_indices())
    names: Sequence[str] = model.feature_names_
    return Found(
        "catboost",
        list(names),
        len(names),
        classes,
        outputs,
        is_classifier,
        "matrix",
        texts={int(at) for at in texts},
    )
