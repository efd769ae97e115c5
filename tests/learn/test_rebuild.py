"""Promise 14: a model is rebuilt to the same outputs, and what hinders that is named."""

import json
from pathlib import Path

import pytest

from tests.learn.imports.conftest import BINARY, Place, place, rows
from tidemill import cli
from tidemill.errors import Corrupt, NotFound
from tidemill.learn import rebuild as rebuild_module
from tidemill.learn.bundle import write_bundle
from tidemill.learn.bundle_info import load_info
from tidemill.learn.bundle_publish import environment
from tidemill.learn.rebuild import rebuild
from tidemill.learn.training import train
from tidemill.store.tables import TableStore


@pytest.fixture
def pumps(tmp_path: Path) -> Place:
    text = BINARY + "training: {candidates: [random_forest], trials: 2, folds: 2}\n"
    made = place(tmp_path / "home", text, rows(120))
    training = train(made.features, made.project)
    table = TableStore(made.home.tables("pumps")).require("features")
    provenance = {
        "dataset": "raw@1", "labels": "labels@1", "features": table.id, "features_sha256": table.sha256,
        "features_py_sha256": None,
    }  # fmt: skip
    models = made.home.models("pumps")
    write_bundle(
        models, project=made.project, training=training, provenance=provenance, reference=made.features
    )
    return made


def test_promise_14_a_model_is_rebuilt_to_the_same_outputs(pumps, monkeypatch, capsys):
    found = rebuild(pumps.home, "pumps", 1)
    assert found.equal
    assert (found.max_abs_difference, found.label_flips, found.changed) == (0.0, 0, [])
    assert found.train_rows + found.test_rows == len(pumps.features) == 120
    monkeypatch.setenv("TIDEMILL_HOME", str(pumps.home.root))
    assert cli.main(["model", "rebuild", "pumps", "1"]) == 0
    assert "answers as it did" in capsys.readouterr().out
    assert cli.main(["model", "list", "pumps", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["estimator"] == "random_forest"
    assert cli.main(["model", "show", "pumps", "1"]) == 0
    assert "## Provenance" in capsys.readouterr().out


def test_it_says_which_input_changed(pumps):
    folder = pumps.home.project_file("pumps").parent
    (folder / "features.py").write_text("x = 1\n")
    assert "features.py is another file than at training" in rebuild(pumps.home, "pumps", 1).changed


def test_it_says_which_input_is_gone_or_damaged(pumps):
    store = TableStore(pumps.home.tables("pumps"))
    manifest = next(store.root.glob("features/v*/manifest.json"))
    kept = manifest.read_text()
    manifest.write_text(kept.replace(store.require("features").sha256, "0" * 64))
    with pytest.raises(Corrupt, match="not what it was"):
        rebuild(pumps.home, "pumps", 1)
    manifest.unlink()
    with pytest.raises(NotFound, match="gone") as gone:
        rebuild(pumps.home, "pumps", 1)
    assert "features@1" in gone.value.detail


def reseeded(project):
    return project.model_copy(update={"training": project.training.model_copy(update={"seed": 99})})


def test_a_model_that_differs_is_told(pumps, monkeypatch):
    """Another seed stands for a library that trains otherwise today."""
    seen = rebuild_module.training.train
    other = lambda rows, project, **more: seen(rows, reseeded(project), **more)  # noqa: E731
    monkeypatch.setattr(rebuild_module.training, "train", other)
    found = rebuild(pumps.home, "pumps", 1)
    assert not found.equal
    assert found.max_abs_difference > 1e-4
    assert "does NOT answer" in found.text


def test_the_bundle_holds_the_lock_of_its_environment(pumps):
    info = load_info(pumps.home.models("pumps"), 1)
    held = json.loads((info.folder / "environment.json").read_text())
    assert held == environment()
    assert held["packages"]["scikit-learn"] == info.provenance["libraries"]["scikit-learn"]
    assert len(held["uv_lock_sha256"]) == 64
