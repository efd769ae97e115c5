"""Fitted pipelines as skops files: written whole, read back through an allow-list, never unpickled.

Here belongs what a model file may hold. Which file is which version is the business of `learn/bundle.py`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.pipeline import Pipeline
from sklearn.tree._tree import Tree
from skops.io.exceptions import UntrustedTypesFoundException

from tidemill.errors import Corrupt
from tidemill.store.durable import replace_bytes

# What our pipelines hold beyond the types skops trusts by itself. Trees are not among those, because their node
# indices are used without bounds checks: `check_trees` looks at them before anybody predicts.
ALLOWED = [
    "numpy.dtype",
    "tidemill.learn.adjusting.AdjustedModel",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "tidemill.learn.encoders.ContractFrame",
    "tidemill.learn.encoders.DateParts",
    "tidemill.learn.encoders.FilledColumns",
    "tidemill.learn.encoders.OrderedColumns",
    "tidemill.learn.encoders.TextTerms",
    "tidemill.learn.stacked_frame.StackedFrame",
]
STEPS = ["cast", "encode", "model"]


def to_bytes(pipeline: Pipeline) -> bytes:
    """The fitted pipeline as a skops file; compressed, since trees shrink to a quarter.

    Harder compression takes a forest off another fifth, at six times the time.
    """
    data: bytes = skops.io.dumps(pipeline, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    return data


def save(pipeline: Pipeline, file: Path) -> None:
    """Write the fitted pipeline to `file`, in one step."""
    replace_bytes(file, to_bytes(pipeline))


def from_bytes(data: bytes, what: str, also: Sequence[str] = ()) -> Pipeline:
    """The pipeline in `data`. Raises Corrupt naming `what` for types outside the list and for anything unreadable.

    `also` are further types that may be in it, of a booster or of a project's own model.py.

    Nothing of the file is run: skops builds only listed types, after the whole file has been checked.
    """
    try:
        pipeline = skops.io.loads(data, trusted=[*ALLOWED, *also])
    except UntrustedTypesFoundException as error:
        raise _refused(what, str(error).splitlines()[0]) from error
    except (
        zipfile.BadZipFile,
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
    ) as error:
        raise _refused(what, f"the file cannot be read: {error}") from error
    if not isinstance(pipeline, Pipeline) or [name for name, _ in pipeline.steps] != STEPS:
        raise _refused(what, "the file holds something other than a pipeline of cast, encode and model")
    check_trees(pipeline, what)
    return pipeline


def _refused(what: str, detail: str) -> Corrupt:
    return Corrupt(
        f"The model of {what} is refused",
        detail=detail,
        remedy="Restore the bundle's folder from a backup, or train again; nothing of the file was run.",
    )


def check_trees(model: Any, what: str) -> None:
    """Raise Corrupt if a tree in `model` points outside itself, backwards, or at a feature that is not there."""
    for tree, features in _trees(model, None, set()):
        if isinstance(tree, Tree):
            nodes = tree.__getstate__()["nodes"]
            left, right, column = nodes["left_child"], nodes["right_child"], nodes["feature"]
            inner = left != -1
        else:
            nodes = tree.nodes
            left, right, column = nodes["left"], nodes["right"], nodes["feature_idx"]
            inner = nodes["is_leaf"] == 0
            if bool(nodes["is_categorical"].any()):
                raise _refused(what, "a tree splits on categories, which these pipelines never do")
        count = len(nodes)
        own = np.arange(count)[inner]
        children = np.concatenate([left[inner], right[inner]]).astype(np.int64)
        # Children follow their parent in both libraries: a walk down a tree always ends.
        sound = count > 0 and bool((children > np.concatenate([own, own])).all() and (children < count).all())
        columns = column[inner].astype(np.int64)
        if not sound or features is None or bool(((columns < 0) | (columns >= features)).any()):
            raise _refused(what, "a tree has nodes that point outside of it")


def _trees(value: Any, features: int | None, seen: set[int]) -> Iterator[tuple[Any, int | None]]:
    """Every tree under `value`, with the number of features of the estimator around it."""
    if id(value) in seen or value is None or isinstance(value, str | bytes | int | float | type):
        return
    seen.add(id(value))
    if isinstance(value, Tree | TreePredictor):
        yield value, features
        return
    parts: list[Any] = []
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple | set) or (isinstance(value, np.ndarray) and value.dtype == object):
        parts = list(value)
    elif hasattr(value, "__dict__"):
        own = getattr(value, "n_features_in_", None) if not isinstance(value, Pipeline) else None
        features = int(own) if own is not None else features
        parts = list(vars(value).values())
    for part in parts:
        yield from _trees(part, features, seen)
