"""A training whose process is killed midway makes no version, and the champion answers on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus.hostile_models import linear_onnx
from tests.learn.imports.conftest import BINARY, Place, place, rows
from tidemill.home import CHECKOUT
from tidemill.learn.bundle import load_model
from tidemill.learn.bundle_info import list_bundles
from tidemill.serve.deployment import current, deploy

# In a process of its own. kill -9 strikes in a fit of the search, or when all of the bundle but its name is there.
TRAIN = """
import os, signal, sys
from pathlib import Path
from dagster import AssetKey, DagsterInstance
from assets.definitions import build_definitions
from tidemill.home import Home

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

home = Home(Path(sys.argv[1]))
if sys.argv[2] == "search":
    import sklearn.linear_model
    sklearn.linear_model.LogisticRegression.fit = die
else:
    Path.rename = lambda self, to: die() if to.parent.name == "models" else os.rename(self, to)
with DagsterInstance.ephemeral() as instance:
    job = build_definitions(home).resolve_job_def("pumps__training")
    keys = [AssetKey(["pumps", name]) for name in ("model", "evaluation", "deployment")]
    job.execute_in_process(instance=instance, asset_selection=keys)
"""


@pytest.mark.parametrize("moment", ["search", "bundle"])
def test_a_training_that_is_killed_leaves_the_champion(tmp_path: Path, moment: str) -> None:
    text = BINARY + "training: {candidates: [linear], trials: 1, folds: 2}\n"
    pumps: Place = place(tmp_path / "home", text, rows().fillna({"b": 0.0}))
    made = pumps.take("bought.onnx", linear_onnx(["no", "yes"]).SerializeToString())
    before = deploy(pumps.state, "pumps", made.version, actor="ada", reason="the first")
    command = [sys.executable, "-c", TRAIN, str(pumps.home.root), moment]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    assert [info.version for info in list_bundles(pumps.home.models("pumps"))] == [made.version]
    assert current(pumps.state, "pumps") == before
    load_model(pumps.home.models("pumps"), before.champion)
