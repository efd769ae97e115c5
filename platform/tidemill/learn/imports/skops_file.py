"""Looking into a skops file before skops does: a zip archive with arrays and one document that names types.

Here belongs which types an imported file may name. skops itself trusts every estimator of scikit-learn; some of
those read files, start processes or index memory by numbers out of the file. Runs in the child process; loading
comes after it (`models.py`).
"""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Iterator
from typing import Any

from tidemill.learn.imports.refusal import ModelRefused, refused

MOST_MEMBERS = 50_000
MOST_BYTES = 1024 * 1024 * 1024
# A forest of equal leaves packs well; a bomb packs about 1000 to 1.
LARGEST_RATIO = 200
SMALL = 1024 * 1024
MOST_SCHEMA_BYTES = 128 * 1024 * 1024
DEEPEST = 200
_MEMBER = re.compile(r"schema\.json|[0-9]+\.(npy|npz)")

# Modules all of whose classes are plain arithmetic over arrays (trees are checked after loading).
MODULES = (
    "sklearn.calibration",
    "sklearn.compose.",
    "sklearn.decomposition.",
    "sklearn.discriminant_analysis",
    "sklearn.dummy",
    "sklearn.ensemble.",
    "sklearn.feature_extraction.text",
    "sklearn.feature_selection.",
    "sklearn.impute.",
    "sklearn.isotonic",
    "sklearn.linear_model.",
    "sklearn.naive_bayes",
    "sklearn.neural_network.",
    "sklearn.pipeline",
    "sklearn.preprocessing.",
    "sklearn.tree.",
    "sklearn._loss.",
    "sklearn.multiclass",
    "sklearn.utils._encode",
    "tidemill.learn.encoders",
)
# Of those, the classes that call what they are given, or hold other people's objects.
EXCEPT = {"FunctionTransformer", "CallableTransformedTargetRegressor", "Memory"}
PLAIN = {
    ("builtins", name)
    for name in ("bool", "complex", "dict", "float", "int", "list", "set", "slice", "str", "tuple", "bytes")
} | {("collections", "OrderedDict"), ("collections", "defaultdict")}
# How skops is to build things; all others (functions, methods, partials, random generators ...) are refused.
LOADERS = {
    "BytesNode",
    "DefaultDictNode",
    "DictNode",
    "JsonNode",
    "ListNode",
    "MaskedArrayNode",
    "NdArrayNode",
    "ObjectNode",
    "RandomGeneratorNode",
    "RandomStateNode",
    "SetNode",
    "SliceNode",
    "SparseMatrixNode",
    "TreeNode",
    "TupleNode",
    "TypeNode",
    "LossNode",
    "DTypeNode",
}
_NATIVE = ("sklearn.svm.", "sklearn.neighbors.", "sklearn.cluster.", "sklearn.gaussian_process.")


def check_archive(data: bytes) -> None:
    """Raise ModelRefused unless `data` is an archive that skops may build: members, sizes, arrays and types."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(archive.infolist())
            schema = json.loads(archive.read("schema.json"))
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with archive.open(member) as array:
                        _check_array(member, array.read(4096))
    except ModelRefused:
        raise
    except RecursionError as error:
        raise refused("depth", "schema.json is nested too deeply") from error
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, NotImplementedError, RuntimeError) as error:
        raise refused("truncated", f"the archive cannot be read: {error}") from error
    _check_types(schema)


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS:
        raise refused("bomb", f"the archive has {len(members)} members, {MOST_MEMBERS} are the most")
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise refused("archive", "the archive has two members of one name")
    for member in members:
        if not _MEMBER.fullmatch(member.filename):
            raise refused(
                "archive", f"the archive has a member {member.filename!r:.120}, which no skops file has"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise refused("archive", f"the member {member.filename!r} is a link")
        if member.flag_bits & 1:
            raise refused("archive", f"the member {member.filename!r} is encrypted")
        if member.file_size > SMALL and member.file_size > LARGEST_RATIO * max(1, member.compress_size):
            raise refused(
                "bomb",
                f"{member.filename} would grow from {member.compress_size} to {member.file_size} bytes",
            )
    if "schema.json" not in names:
        raise refused("archive", "the archive has no schema.json")
    total = sum(member.file_size for member in members)
    schema = next(member for member in members if member.filename == "schema.json")
    if total > MOST_BYTES or schema.file_size > MOST_SCHEMA_BYTES:
        raise refused("bomb", f"unpacked it would have {total} bytes, {MOST_BYTES} are the most")


def _check_array(member: str, head: bytes) -> None:
    """The header of a .npy member: no objects (those are pickled), no more cells than fit."""
    if not head.startswith(b"\x93NUMPY"):
        raise refused("truncated", f"{member} is no array")
    # Without the cells behind it, in which any bytes may stand (numpy.lib.format: the length is at 8).
    wide = 2 if head[6:7] == b"\x01" else 4
    end = 8 + wide + int.from_bytes(head[8 : 8 + wide], "little")
    if end > len(head):
        raise refused("pickle", f"{member} has a header that is not understood")
    head = head[8 + wide : end]
    found = re.search(rb"'descr': *'([^']*)'.*'shape': *\(([^)]*)\)", head, re.DOTALL)
    if found is None:
        if re.search(rb"'descr': *\[", head) and b"O'" not in head:
            return  # records, such as the nodes of trees
        raise refused("pickle", f"{member} has a header that is not understood")
    if b"O" in found[1]:
        raise refused("pickle", f"{member} holds Python objects, which numpy keeps as a pickle")
    cells = 1
    for size in (int(part) for part in found[2].replace(b" ", b"").split(b",") if part):
        cells *= size
    if cells > MOST_BYTES:
        raise refused("dimensions", f"{member} claims {cells} cells")


def _check_types(schema: Any) -> None:
    for node in _nodes(schema, 0):
        module, name, loader = (node.get(f"__{key}__") for key in ("module", "class", "loader"))
        if not all(isinstance(part, str) for part in (module, name, loader)):
            raise refused("types", "schema.json has a node without a module, class and loader")
        if loader not in LOADERS or not _is_allowed(str(module), str(name)):
            if str(module).startswith(_NATIVE):
                raise refused(
                    "types",
                    f"{module}.{name} has native parts whose contents cannot be checked",
                    "Convert the model to ONNX (skl2onnx) and send that file.",
                )
            raise refused(
                "types",
                f"the file wants {module}.{name} built by {loader}, which is not on the list of what is built",
                "Make the pipeline of scikit-learn's own estimators, or convert it to ONNX.",
            )
        wanted = node.get("content")
        source = wanted.get("input") if isinstance(wanted, dict) else None
        if isinstance(source, dict) and source.get("content") not in ('"content"', None):
            raise refused(
                "types", f"a text step would read files by name: its input is {source['content']!s:.40}"
            )


def _is_allowed(module: str, name: str) -> bool:
    if (module, name) in PLAIN or module == "numpy" or module.startswith("numpy.random"):
        return True
    if module in ("scipy.sparse._csr", "scipy.sparse._csc", "scipy.sparse", "numpy.ma", "numpy.ma.core"):
        return True
    if name in EXCEPT:
        return False
    return any(
        module == allowed.rstrip(".") or (allowed.endswith(".") and module.startswith(allowed))
        for allowed in MODULES
    )


def _nodes(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    if depth > DEEPEST:
        raise refused("depth", "schema.json is nested too deeply")
    if isinstance(value, dict):
        if "__class__" in value or "__module__" in value or "__loader__" in value:
            yield value
        for part in value.values():
            yield from _nodes(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _nodes(part, depth + 1)
