"""Promise 6: importing a model never runs its code. A corpus of hostile files, each refused with its reason."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.corpus.hostile_models import hostile_models, sound_skops
from tidemill.home import CHECKOUT
from tidemill.learn.bundle_info import versions
from tidemill.learn.imports import ledger, sandbox
from tidemill.learn.imports.refusal import ModelRefused
from tidemill.learn.imports.take import import_pending

MARKER = Path("/tmp") / f"tidemill-marker-{os.getpid()}"
CORPUS = hostile_models(MARKER)
# These may break the process that looks at them, or go the whole way to it and back.
ALONE = [
    "torn.ubj",
    "huge.cbm",
    "eats-memory.onnx",
    "reduce.skops",
    "named.skops",
    "external.onnx",
    "../above.onnx",
]


def test_the_corpus_is_large_and_its_code_would_run():
    assert len(CORPUS) >= 30
    MARKER.unlink(missing_ok=True)
    pickle.loads(CORPUS["named.skops"][0])
    assert MARKER.exists()
    MARKER.unlink()


def test_importing_a_model_never_runs_its_code(pumps, tmp_path):
    pumps.features[list(pumps.project.feature_columns)].to_parquet(tmp_path / "rows.parquet")
    request = {"project": pumps.project.model_dump(mode="json"), "labels": ["no", "yes"]}
    asked = {"names": [*(set(CORPUS) - set(ALONE))], "marker": str(MARKER), "request": request}
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("look_at_all.py"))],
        input=json.dumps(asked),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = dict(json.loads(line) for line in ran.stdout.splitlines() if line.startswith("["))
    wrong = {name: reason for name, reason in found.items() if reason not in CORPUS[name][1]}
    assert not wrong
    assert found.keys() == set(asked["names"])
    assert not MARKER.exists()


@pytest.mark.parametrize("name", ALONE)
def test_a_hostile_file_publishes_nothing(name, pumps):
    data, reasons = CORPUS[name]
    with pytest.raises(ModelRefused) as refused:
        pumps.take(name, data)
    assert refused.value.extra["reason"] in reasons, refused.value
    assert not MARKER.exists()
    assert versions(pumps.home.models("pumps")) == []


def test_links_folders_and_hostile_files_in_the_import_folder_are_cleared_away(pumps, tmp_path):
    where = ledger.folder(pumps.home, "pumps")
    where.mkdir(parents=True, exist_ok=True)
    secret = tmp_path / "secret.skops"
    secret.write_bytes(sound_skops())
    (where / "link.skops").symlink_to(secret)
    (where / "folder.onnx").mkdir()
    os.mkfifo(where / "pipe.onnx")
    (where / "named.skops").write_bytes(CORPUS["named.skops"][0])
    (where / ".unfinished.onnx").write_bytes(b"\x08")
    found = import_pending(pumps.home, pumps.state, pumps.project, actor="folder")
    reasons = {record["name"]: record["problem"]["reason"] for record in found}
    assert reasons == {
        "folder.onnx": "kind", "link.skops": "link", "named.skops": "pickle", "pipe.onnx": "kind",
    }  # fmt: skip
    assert {record["status"] for record in found} == {"refused"}
    assert secret.exists()
    assert ledger.pending(pumps.home, "pumps") == []
    assert not MARKER.exists()


def test_the_fences_hold():
    code = """
import os, socket, subprocess, sys, pickle
from tidemill.learn.imports.sandbox import Limits, fence
held = fence(Limits())
def tried(what):
    try:
        what()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "went through"
raw = __import__("ctypes").CDLL(None, use_errno=True)
print([
    tried(lambda: socket.socket()),
    tried(lambda: subprocess.run(["true"])),
    tried(lambda: open(sys.argv[1] + "/made", "w")),
    tried(lambda: os.truncate(sys.argv[1] + "/kept", 0)),
    tried(lambda: os.kill(os.getppid(), 0)),
    tried(lambda: bytearray(8 * 1024 ** 3)),
    tried(lambda: pickle.loads(b"cos\\ngetcwd\\n(tR.")),
    "went through" if raw.socket(2, 1, 0) >= 0 else "refused",
])
print(len(held))
"""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kept").write_text("x")
        ran = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
        assert (Path(folder) / "kept").read_text() == "x"
        assert not (Path(folder) / "made").exists()
    assert "went through" not in ran.stdout


def test_what_takes_too_long_is_ended(pumps):
    with pytest.raises(ModelRefused) as refused:
        pumps.take("slow.skops", sound_skops(), limits=sandbox.Limits(wall=0.05))
    assert refused.value.extra["reason"] == "time"
