"""First looks at a model file: its name, its kind of file, its size and its first bytes.

Here belongs what can be told without a library for models, so that it is safe in any process. Looking further
inside is the business of the child process (`child.py`), by `skops_file.py` and `onnx_file.py`.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from tidemill.learn.imports.refusal import ModelRefused, refused

LARGEST_BYTES = 512 * 1024 * 1024
FORMATS = {
    ".onnx": "onnx",
    ".skops": "skops",
    ".txt": "lightgbm",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".cbm": "catboost",
}
_NAME = re.compile(r"[\w][\w .,()+=@-]{0,119}", re.ASCII)
# Endings under which people keep pickled models; whatever such a file holds, it was made to be unpickled.
_PICKLED = (
    ".pkl",
    ".pickle",
    ".joblib",
    ".sav",
    ".dill",
    ".cloudpickle",
    ".pt",
    ".pth",
    ".npy",
    ".npz",
    ".h5",
)
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"x\x01": "zlib",
    b"x\x5e": "zlib",
    b"x\x9c": "zlib",
    b"x\xda": "zlib",
}
PICKLE_REASON = (
    "it is a pickle: reading one runs whatever code its maker put into it, so that none is ever opened here"
)


def format_of(name: str) -> str:
    """The format that a file's name stands for. Raises ModelRefused for a name that is a path, or of no format."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise refused(
            "name",
            f"{ascii(name)[:120]} is not a plain file name",
            "Name the file with letters, digits, spaces and . , ( ) + = @ - _ alone, without any folder.",
        )
    ending = Path(name).suffix.lower()
    if ending in _PICKLED:
        raise refused("pickle", f"{name} has the ending of pickled objects: {PICKLE_REASON}")
    if ending not in FORMATS:
        raise refused("format", f"{name} has an ending that stands for no format that is taken")
    return FORMATS[ending]


def read_whole(file: Path) -> bytes:
    """The bytes of a regular file that is no link. Raises ModelRefused, also for empty and for too large ones."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if file.is_symlink():
            raise refused("link", f"{file.name} is a link to somewhere else") from error
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise refused("kind", f"{file.name} is no regular file")
    with os.fdopen(handle, "rb") as opened:
        if found.st_size > LARGEST_BYTES:
            raise _too_large(file.name, found.st_size)
        data = opened.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise _too_large(file.name, len(data))
    return data


def check_first_bytes(name: str, data: bytes) -> str:
    """The format of a file called `name` that begins with `data`. Raises ModelRefused when they contradict."""
    kind = format_of(name)
    if not data:
        raise refused("empty", f"{name} has no bytes")
    # Protocol 2 and later begin so; what is older is text, and none of the formats' own beginnings.
    if data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05" and len(data) > 1:
        raise refused("pickle", f"{name} is not {kind}, {PICKLE_REASON}")
    for magic, packer in _PACKED.items():
        if data.startswith(magic):
            raise refused(
                "packed", f"{name} is packed with {packer}, as joblib packs pickles", "Send it unpacked."
            )
    if not _begins_as(kind, name, data):
        older = b"\x80\x04" in data[:64] or re.match(rb"(\(|c|I|S'|V|\]|\}|\))", data[:3]) is not None
        shown = PICKLE_REASON if older and kind != "xgboost" else f"it begins with {data[:12]!r}"
        raise refused("magic", f"{name} is not a file of {kind}: {shown}")
    return kind


def _begins_as(kind: str, name: str, data: bytes) -> bool:
    if kind == "skops":
        return data.startswith(b"PK\x03\x04")
    if kind == "lightgbm":
        return re.match(rb"tree\r?\nversion=v[0-9]+\r?\n", data[:64]) is not None
    if kind == "catboost":
        return data.startswith(b"CBM1")
    if kind == "xgboost" and name.lower().endswith(".json"):
        return data.lstrip()[:1] == b"{"
    if kind == "xgboost":
        return re.match(rb"\{[iUILl]", data[:2]) is not None
    # A ModelProto begins with one of its fields: ir_version, producer, domain, graph, opset or metadata.
    return data[0] in (0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)


def _too_large(name: str, size: int) -> ModelRefused:
    return refused(
        "size",
        f"{name} has {size} bytes, {LARGEST_BYTES} are the most",
        "Make the model smaller, such as with fewer or shallower trees.",
    )
