"""The trees of a form as an ONNX graph that says in which leaf of each tree a row ends.

Here belongs writing the graph; `serve/leaves.py` runs it. It is written when a model is compiled, so that the
prediction service needs no library to write ONNX with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.serve.leaves import ARRAY, INPUT, MOST_NODES, OUTPUT

# Of ONNX's operators for trees the newest whose output may be one number a tree.
_OPSET, _IR = 3, 8


def leaf_graph(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The bytes of the graph of flat trees (see `serve/trees.py`), under the name of their array.

    Nothing for more nodes than the graph can number.
    """
    from onnx import TensorProto, helper, numpy_helper

    feature, left, roots = arrays["feature"], arrays["left"], arrays["roots"].astype(np.int64)
    count = len(feature)
    if count > MOST_NODES:
        return {}
    sizes = np.diff(np.append(roots, count))
    tree = np.repeat(np.arange(len(roots)), sizes)
    own = np.arange(count) - roots[tree]
    is_leaf = feature < 0
    leaves = np.flatnonzero(is_leaf)
    child = np.where(is_leaf, 0, left - roots[tree])
    node = helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        [OUTPUT],
        domain="ai.onnx.ml",
        n_targets=len(roots),
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=own.tolist(),
        nodes_featureids=np.maximum(feature, 0).tolist(),
        nodes_modes=np.where(is_leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_values_as_tensor=numpy_helper.from_array(np.where(is_leaf, 0.0, arrays["threshold"])),
        nodes_truenodeids=child.tolist(),
        nodes_falsenodeids=np.where(is_leaf, 0, child + 1).tolist(),
        nodes_missing_value_tracks_true=arrays["missing_left"].astype(np.int64).tolist(),
        target_treeids=tree[leaves].tolist(),
        target_nodeids=own[leaves].tolist(),
        target_ids=tree[leaves].tolist(),
        # Tensors of one operator are of one type: the input is float64, so the numbers of leaves are as well.
        target_weights_as_tensor=numpy_helper.from_array(leaves.astype(np.float64)),
    )
    graph = helper.make_graph(
        [node],
        "leaves",
        [helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, [None, None])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, len(roots)])],
    )
    imports = [helper.make_opsetid("ai.onnx.ml", _OPSET), helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=_IR)
    return {ARRAY: np.frombuffer(model.SerializeToString(), dtype=np.uint8)}
