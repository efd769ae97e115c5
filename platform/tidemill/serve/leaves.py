"""Which leaf of each tree a row ends in, found by onnxruntime: native speed from a wheel that is there anyway.

Here belongs running the graph that `learn/leaf_graph.py` lays into a form. The graph adds nothing up: its outputs
are the numbers of leaves, which are exact, and `serve/trees.py` adds what the leaves say in scikit-learn's order.
Comparisons are made in float64. docs/adr/0018 tells what else was measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ARRAY = "leaf_graph"
INPUT, OUTPUT = "row", "leaf"
# Leaves are named by float32 numbers, which tell whole ones apart up to here.
MOST_NODES = 1 << 24


class LeafFinder:
    """The graph of one model, ready to run. Thread-safe. Raises ValueError when onnxruntime refuses the graph."""

    def __init__(self, graph: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # One record is too little to share out, and waiting threads spin.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ValueError(f"onnxruntime refuses the trees: {error}") from error
        # Below the session's own checks of each call, which take a sixth of the time of one row.
        self._run = getattr(self._session, "_sess", self._session).run

    def __call__(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Nodes of rows x trees; `matrix` is float64, rows x encoded columns."""
        found: NDArray[Any] = self._run([OUTPUT], {INPUT: matrix}, None)[0].astype(np.intp)
        return found
