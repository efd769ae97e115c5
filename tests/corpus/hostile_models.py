"""Model files that must be refused, made fresh each time: `hostile_models(marker)` gives name -> (bytes, reasons).

Wherever a format can carry code, the code writes the file `marker`: if it is there after an import, code ran.
"""

import bz2
import gzip
import io
import json
import lzma
import pickle
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import skops.io
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

COLUMNS = 4


class _Writes:
    """Unpickled, it writes the marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return exec, (f"open({self.marker!r}, 'w').close()",)


def hostile_models(marker: Path | str) -> dict[str, tuple[bytes, set[str]]]:
    """Every file with the reasons that are right for refusing it."""
    marker = Path(marker)
    return _pickles(marker) | _archives(marker) | _graphs() | _boosters()


def _pickles(marker: Path) -> dict[str, tuple[bytes, set[str]]]:
    plain = pickle.dumps(_Writes(marker))
    old = pickle.dumps(_Writes(marker), protocol=0)
    return {
        "model.pkl": (plain, {"pickle"}),
        "model.joblib": (plain, {"pickle"}),
        "named.skops": (plain, {"pickle"}),
        "named.onnx": (plain, {"pickle"}),
        "named.cbm": (plain, {"pickle"}),
        "named.json": (plain, {"pickle"}),
        "named.txt": (plain, {"pickle"}),
        "old.skops": (old, {"magic"}),
        "old.txt": (old, {"magic"}),
        "old.onnx": (old, {"magic", "truncated"}),
        "gzip.skops": (gzip.compress(plain), {"packed"}),
        "zlib.onnx": (zlib.compress(plain), {"packed"}),
        "bzip2.cbm": (bz2.compress(plain), {"packed"}),
        "xz.txt": (lzma.compress(plain), {"packed"}),
        "model.npz": (plain, {"pickle"}),
        "torch.pt": (plain, {"pickle"}),
    }


def sound_skops() -> bytes:
    rows = np.random.default_rng(1).normal(size=(40, COLUMNS))
    model = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())])
    return bytes(skops.io.dumps(model.fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))))


def _rezipped(data: bytes, change: dict[str, bytes], *extra: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change.get(name, old.read(name)))
        for info, content in extra:
            info.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(info, content)
    return buffer.getvalue()


def _schema(node: Any) -> bytes:
    return json.dumps({**node, "protocol": 2, "_skops_version": skops.__version__}).encode()


def _node(module: str, name: str, loader: str, content: Any) -> dict[str, Any]:
    return {"__class__": name, "__module__": module, "__loader__": loader, "content": content, "__id__": 1}


def _archives(marker: Path) -> dict[str, tuple[bytes, set[str]]]:
    sound = sound_skops()
    array = next(name for name in zipfile.ZipFile(io.BytesIO(sound)).namelist() if name.endswith(".npy"))
    objects = io.BytesIO()
    np.save(objects, np.array([_Writes(marker)], dtype=object), allow_pickle=True)
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
    huge = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    link = zipfile.ZipInfo("7.npy")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    call = _node("builtins", "exec", "FunctionNode", {"module_path": "builtins", "function": "exec"})
    reduce = _node("posix", "system", "ConstructorFromReduceNode", [f"touch {marker}"])
    method = _node("os", "system", "MethodNode", {"obj": call, "func": "system"})
    operator = _node("operator", "methodcaller", "OperatorFuncNode", {"attrs": call})
    partial = _node("functools", "partial", "PartialNode", {"func": call, "args": [str(marker)]})
    function = Pipeline([("call", FunctionTransformer(np.exp)), ("model", LogisticRegression())])
    rows = np.random.default_rng(2).normal(size=(40, COLUMNS))
    function.fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    text = json.loads(zipfile.ZipFile(io.BytesIO(sound)).read("schema.json"))
    reading = (
        json.dumps(text).replace('"copy": {', '"input": {"content": "\\"filename\\""}, "copy": {').encode()
    )
    return {
        "call.skops": (_rezipped(sound, {"schema.json": _schema(call)}), {"types"}),
        "reduce.skops": (_rezipped(sound, {"schema.json": _schema(reduce)}), {"types"}),
        "method.skops": (_rezipped(sound, {"schema.json": _schema(method)}), {"types"}),
        "operator.skops": (_rezipped(sound, {"schema.json": _schema(operator)}), {"types"}),
        "partial.skops": (_rezipped(sound, {"schema.json": _schema(partial)}), {"types"}),
        "function.skops": (bytes(skops.io.dumps(function)), {"types"}),
        "reads-files.skops": (_rezipped(sound, {"schema.json": reading}), {"types"}),
        "objects.skops": (_rezipped(sound, {array: objects.getvalue()}), {"pickle"}),
        "array-pickle.skops": (_rezipped(sound, {array: pickle.dumps(_Writes(marker))}), {"truncated"}),
        "huge-array.skops": (_rezipped(sound, {array: huge}), {"dimensions"}),
        "bomb.skops": (_rezipped(sound, {array: bytes(300_000_000)}), {"bomb"}),
        "above.skops": (_rezipped(sound, {}, (zipfile.ZipInfo("../../escaped.npy"), b"x")), {"archive"}),
        "absolute.skops": (_rezipped(sound, {}, (zipfile.ZipInfo("/tmp/escaped.npy"), b"x")), {"archive"}),
        "link.skops": (_rezipped(sound, {}, (link, b"/etc/passwd")), {"archive"}),
        "code.skops": (_rezipped(sound, {}, (zipfile.ZipInfo("model.py"), b"raise SystemExit")), {"archive"}),
        "deep.skops": (_rezipped(sound, {"schema.json": _schema({"content": deep})}), {"depth"}),
        "no-schema.skops": (_zip({"1.npy": b"x"}), {"archive"}),
        "torn.skops": (sound[: len(sound) // 2], {"truncated"}),
    }


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def linear_onnx(classes: list[str] | None, columns: int = COLUMNS, name: str = "x") -> onnx.ModelProto:
    """A linear classifier over a matrix, as converters write it; without `classes` a regression."""
    given = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, columns])
    weights = [0.5 - index / columns for index in range(columns)]
    if classes is None:
        node = helper.make_node(
            "LinearRegressor", [name], ["y"], domain="ai.onnx.ml", coefficients=weights, intercepts=[0.1]
        )
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])]
    else:
        node = helper.make_node(
            "LinearClassifier",
            [name],
            ["label", "probabilities"],
            domain="ai.onnx.ml",
            coefficients=[weight * (1 if row else -1) for row in range(len(classes)) for weight in weights],
            intercepts=[0.1 * row for row in range(len(classes))],
            post_transform="SOFTMAX",
            classlabels_strings=classes,
        )
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, len(classes)]),
        ]
    return graph_of([node], [given], outputs)


def graph_of(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], initializer: Any = ()
) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=list(initializer))
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _one(op: str, domain: str = "", **attributes: Any) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, COLUMNS])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, COLUMNS])
    model = graph_of([helper.make_node(op, ["x"], ["y"], domain=domain, **attributes)], [given], [gives])
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def _external(location: str) -> bytes:
    model = linear_onnx(["no", "yes"])
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    model.graph.initializer.append(tensor)
    return model.SerializeToString()


def _graphs() -> dict[str, tuple[bytes, set[str]]]:
    sound = linear_onnx(["no", "yes"]).SerializeToString()
    hidden = _one("Identity")
    body = helper.make_graph([helper.make_node("Evil", [], ["z"], domain="evil")], "body", [], [])
    hidden.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=body, else_branch=body))
    huge = linear_onnx(["no", "yes"])
    huge.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40]))
    hollow = linear_onnx(["no", "yes"])
    hollow.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 20]))
    local = linear_onnx(["no", "yes"])
    local.functions.append(onnx.FunctionProto(name="f", domain="mine"))
    filler = helper.make_node("ConstantOfShape", ["n"], ["big"], value=helper.make_tensor("v", 1, [1], [1.0]))
    size = helper.make_tensor("n", TensorProto.INT64, [2], [1 << 20, 1 << 20])
    total = helper.make_node("ReduceSum", ["big"], ["t"], keepdims=0)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, COLUMNS])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, COLUMNS])
    eater = graph_of([filler, total, helper.make_node("Mul", ["x", "t"], ["y"])], [given], [gives], [size])
    return {
        "custom.onnx": (_one("Evil", "com.evil").SerializeToString(), {"custom-op"}),
        "python.onnx": (_one("PyOp", "ai.onnx.contrib").SerializeToString(), {"custom-op"}),
        "microsoft.onnx": (_one("Gelu", "com.microsoft").SerializeToString(), {"custom-op"}),
        "hidden-in-a-branch.onnx": (hidden.SerializeToString(), {"custom-op"}),
        "functions.onnx": (local.SerializeToString(), {"custom-op"}),
        "external.onnx": (_external("weights.bin"), {"external-data"}),
        "external-above.onnx": (_external("../../../etc/passwd"), {"external-data"}),
        "external-absolute.onnx": (_external("/etc/shadow"), {"external-data"}),
        "loop.onnx": (_one("Loop").SerializeToString(), {"endless"}),
        "chance.onnx": (_one("RandomNormalLike").SerializeToString(), {"chance"}),
        "huge.onnx": (huge.SerializeToString(), {"dimensions"}),
        "hollow.onnx": (hollow.SerializeToString(), {"dimensions"}),
        "eats-memory.onnx": (eater.SerializeToString(), {"memory", "truncated", "contract-mismatch"}),
        "torn.onnx": (sound[: len(sound) // 2], {"truncated"}),
        "noise.onnx": (b"\x08" + bytes(range(256)) * 20, {"truncated"}),
        "no-graph.onnx": (b"\x08\x08", {"truncated"}),
    }


LIGHTGBM = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=3
objective=binary sigmoid:1
feature_names=a b c d
feature_infos=[0:1] [0:1] [0:1] [0:1]
tree_sizes=300

Tree=0
num_leaves=2
num_cat=0
split_feature={feature}
split_gain=1
threshold=0.5
decision_type=2
left_child={left}
right_child=-2
leaf_value=0.1 -0.1
leaf_weight=1 1
leaf_count=1 1
internal_value=0
internal_weight=1
internal_count=2
is_linear=0
shrinkage=1


end of trees

parameters:
end of parameters
"""


def _boosters() -> dict[str, tuple[bytes, set[str]]]:
    tree = {
        "left_children": [1, -1, -1],
        "right_children": [2, -1, -1],
        "split_indices": [0, 0, 0],
        "split_conditions": [0.5, 0.1, -0.1],
    }

    def xgboost(**change: Any) -> bytes:
        booster = {"name": "gbtree", "model": {"trees": [tree | change]}}
        learner = {
            "learner_model_param": {"num_feature": "4", "num_class": "0"},
            "gradient_booster": booster,
        }
        return json.dumps({"version": [3, 2, 0], "learner": learner}).encode()

    far = LIGHTGBM.format(feature=999_999, left=-1).encode()
    round_and_round = LIGHTGBM.format(feature=0, left=0).encode()
    return {
        "far.txt": (far, {"trees"}),
        "round.txt": (round_and_round, {"trees"}),
        "torn.txt": (far[:300], {"truncated"}),
        "poem.txt": (b"Tyger Tyger, burning bright", {"magic"}),
        "other.json": (b'{"a": 1}', {"magic"}),
        "deep.json": (b'{"learner": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {"depth"}),
        "torn.json": (b'{"version": [3, 2, 0], "learner": {"gradient_bo', {"truncated"}),
        "far.json": (xgboost(split_indices=[999_999, 0, 0]), {"trees"}),
        "round.json": (xgboost(left_children=[0, -1, -1]), {"trees"}),
        "torn.ubj": (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{", {"truncated", "broken"}),
        "torn.cbm": (b"CBM1\x40\x00\x00\x00" + b"\x10" * 40, {"truncated", "broken"}),
        "huge.cbm": (b"CBM1\xff\xff\xff\x7f" + b"\x00" * 40, {"truncated", "broken", "memory"}),
        "empty.onnx": (b"", {"empty", "magic"}),
        "virus.exe": (b"MZ\x90\x00", {"format"}),
        "../above.onnx": (b"\x08\x08", {"name"}),
        "/etc/passwd.onnx": (b"\x08\x08", {"name"}),
        "a\x00b.onnx": (b"\x08\x08", {"name"}),
    }
