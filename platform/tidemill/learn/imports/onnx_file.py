"""Looking into an ONNX file before onnxruntime does: operators, data kept elsewhere, sizes.

Here belongs what a graph may hold. Standard operators alone compute nothing but tensors from tensors; refused are
those of others (they would need code that is not ours), loops (they may never end for some row) and chance (answers
could not be given again). Runs in the child process; running the graph comes after it (`models.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidemill.learn.imports.refusal import refused

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
ENDLESS = {"Loop", "Scan"}
BY_CHANCE = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
MOST_NODES = 100_000
MOST_CELLS = 256 * 1024 * 1024
DEEPEST = 20
_HELD_IN = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def check_graph(data: bytes) -> Any:
    """The parsed ModelProto of `data`, once all of it has been looked at. Raises ModelRefused."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, RecursionError) as error:
        raise refused("truncated", f"it cannot be read as ONNX: {error}") from error
    if not model.HasField("graph") or not model.graph.node or not model.opset_import:
        raise refused("truncated", "it holds no graph with operators")
    if model.functions:
        raise refused(
            "custom-op",
            f"it brings functions of its own ({model.functions[0].name!r:.60})",
            "Export the model with its functions inlined (onnx.inliner).",
        )
    for wanted in model.opset_import:
        _check_domain(wanted.domain, "the file")
    nodes = 0
    for graph in _graphs(model.graph, 0):
        nodes += len(graph.node)
        if nodes > MOST_NODES:
            raise refused("dimensions", f"the graph has more than {MOST_NODES} operators")
        for tensor in graph.initializer:
            _check_tensor(tensor)
        for sparse in graph.sparse_initializer:
            _check_tensor(sparse.values)
            _check_tensor(sparse.indices)
        for node in graph.node:
            _check_node(node)
    return model


def class_labels(model: Any) -> list[str] | None:
    """The class names that the graph's classifier or ZipMap holds, or None."""
    for node in reversed(model.graph.node):
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels_") and attribute.strings:
                return [value.decode("utf-8") for value in attribute.strings]
            if attribute.name.startswith("classlabels_") and attribute.ints:
                return [str(value) for value in attribute.ints]
    return None


def _graphs(graph: Any, depth: int) -> Iterator[Any]:
    if depth > DEEPEST:
        raise refused("depth", "graphs are nested too deeply")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _graphs(inner, depth + 1)


def _check_node(node: Any) -> None:
    _check_domain(node.domain, f"the operator {node.op_type!r:.60}")
    if node.op_type in ENDLESS:
        raise refused("endless", f"the operator {node.op_type} may run without an end")
    if node.op_type in BY_CHANCE:
        raise refused(
            "chance", f"the operator {node.op_type} draws numbers: answers could not be given again"
        )
    for attribute in node.attribute:
        for tensor in ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors):
            _check_tensor(tensor)
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for found in sparse + list(attribute.sparse_tensors):
            _check_tensor(found.values)
            _check_tensor(found.indices)


def _check_domain(domain: str, what: str) -> None:
    if domain not in DOMAINS:
        raise refused(
            "custom-op",
            f"{what} is of the domain {domain!r:.60}: only ONNX's own operators are run",
            "Export the model with the operators of ai.onnx and ai.onnx.ml alone.",
        )


def _check_tensor(tensor: Any) -> None:
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        where = {entry.key: entry.value for entry in tensor.external_data}.get("location", "?")
        raise refused(
            "external-data",
            f"the tensor {tensor.name!r:.60} is kept in another file, {where!r:.120}",
            "Save the model with its weights inside (onnx.save with save_as_external_data=False).",
        )
    cells = 1
    for size in tensor.dims:
        if size < 0:
            raise refused("dimensions", f"the tensor {tensor.name!r:.60} has a negative size")
        cells *= size
    if cells > MOST_CELLS:
        raise refused("dimensions", f"the tensor {tensor.name!r:.60} claims {cells} cells")
    held = max(len(getattr(tensor, name)) for name in _HELD_IN)
    # Half a byte a cell is the least there is (int4).
    if cells > 2 * max(len(tensor.raw_data), 8 * held):
        raise refused(
            "dimensions", f"the tensor {tensor.name!r:.60} claims {cells} cells and does not hold them"
        )
