"""The registered model of a project in a real MLflow store on SQLite follows bundles and deployment."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from resources.registry import ALIASES, behind_at, reconcile, registered_name
from resources.tracking import Tracking
from tidemill.home import Home
from tidemill.serve import challengers
from tidemill.serve.deployment import deploy, rollback
from tidemill.store.state import State, open_state

# MLflow 3.17 defines its tables in a way that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

NAME = registered_name("churn")
WHO = {"actor": "ada", "reason": "a test"}


@dataclass
class Box:
    home: Home
    state: State
    tracking: Tracking

    def bundle(self, version: int, passed: bool | None = True, **provenance: str) -> Path:
        """What describes a model, as `learn/bundle.py` writes it; the model itself is not looked at."""
        folder = self.home.models("churn") / str(version)
        folder.mkdir(parents=True)
        described = {
            "version": version, "project": "churn", "task": "binary", "estimator": "linear", "params": {},
            "metric": "roc_auc", "metrics": {"roc_auc": {"value": 0.9, "low": 0.85, "high": 0.95}}, "cv": {},
            "baseline": {}, "classes": ["no", "yes"], "positive": "yes", "threshold": 0.5, "created": "2026-11-24",
            "provenance": provenance, "candidates": [], "files": {},
        }  # fmt: skip
        (folder / "bundle.json").write_text(json.dumps(described))
        if passed is not None:
            (folder / "gate.json").write_text(json.dumps({"passed": passed}))
        return folder

    def reconcile(self) -> Any:
        return reconcile(self.tracking, self.state, "churn")

    def behind(self) -> str | None:
        return behind_at(self.home, self.state, "churn")

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.tracking.uri, registry_uri=self.tracking.uri)

    def aliases(self) -> dict[str, int]:
        """The bundle of each alias, as anybody who asks MLflow sees it."""
        found = self.client.get_registered_model(NAME).aliases
        return {
            alias: int(self.client.get_model_version(NAME, v).tags["bundle"]) for alias, v in found.items()
        }

    def registered(self) -> list[str]:
        return sorted(found.tags["bundle"] for found in self.client.search_model_versions(f"name = '{NAME}'"))


@pytest.fixture
def box(home: Home, mlflow_store: Path) -> Box:
    shutil.copy(mlflow_store, home.mlflow / "mlflow.db")
    return Box(home, open_state(home), Tracking(root=str(home.root)))


def test_aliases_follow_every_change_of_the_deployment(box: Box) -> None:
    for version in (1, 2, 3):
        box.bundle(version)
    assert box.reconcile().aliases == {}

    def seen() -> dict[str, int]:
        assert box.behind() is not None
        box.reconcile()
        assert box.behind() is None
        return box.aliases()

    deploy(box.state, "churn", 1, **WHO)
    assert seen() == {"champion": 1}
    deploy(box.state, "churn", 2, **WHO)
    assert seen() == {"champion": 2, "previous": 1}
    challengers.shadow(box.state, "churn", 3, **WHO)
    assert seen() == {"champion": 2, "previous": 1, "challenger": 3, "shadow": 3}
    challengers.canary(box.state, "churn", 3, 10.0, **WHO)
    assert seen() == {"champion": 2, "previous": 1, "challenger": 3, "canary": 3}
    challengers.pause(box.state, "churn", **WHO)
    assert seen() == {"champion": 2, "previous": 1, "challenger": 3, "paused": 3}
    challengers.resume(box.state, "churn", **WHO)
    deploy(box.state, "churn", 3, **WHO)
    assert seen() == {"champion": 3, "previous": 2}
    rollback(box.state, "churn", **WHO)
    assert seen() == {"champion": 2, "previous": 1}
    rollback(box.state, "churn", **WHO)
    assert seen() == {"champion": 1}


def test_doing_it_again_changes_nothing(box: Box) -> None:
    box.bundle(1)
    box.bundle(2, passed=False)
    deploy(box.state, "churn", 1, **WHO)
    first = box.reconcile()
    assert box.reconcile() == first
    assert box.registered() == ["1", "2"]
    found = box.client.get_model_version(NAME, first.versions[2])
    assert found.tags["gate"] == "refused"
    assert (
        found.description
        == "Model 2: linear, roc_auc 0.9000 (0.8500 to 0.9500) on held-out rows, gate refused"
    )


def test_a_model_of_a_training_comes_from_its_run_and_others_from_their_folder(box: Box) -> None:
    with box.tracking.exclusive() as client:
        experiment = client.create_experiment("churn", (box.home.mlflow / "artifacts").as_uri())
        run = client.create_run(experiment)
    box.bundle(1, mlflow_run_id=run.info.run_id)
    imported = box.bundle(2, origin="imported")
    forgotten = box.bundle(3, mlflow_run_id="0" * 32)
    made = box.reconcile().versions
    first, second, third = (box.client.get_model_version(NAME, made[number]) for number in (1, 2, 3))
    assert (first.run_id, first.source) == (run.info.run_id, f"{run.info.artifact_uri}/bundle")
    assert (second.source, second.tags["origin"]) == (imported.as_uri(), "imported")
    assert third.source == forgotten.as_uri()


def test_a_bundle_without_a_verdict_is_no_reason_to_look_but_is_registered(box: Box) -> None:
    assert box.behind() is None
    box.bundle(1, passed=None)
    assert box.behind() is None
    box.reconcile()
    assert box.registered() == ["1"]
    (box.home.models("churn") / "1" / "gate.json").write_text('{"passed": true}')
    assert box.behind() is not None
    version = box.reconcile().versions[1]
    assert box.client.get_model_version(NAME, version).tags["gate"] == "passed"


def test_what_people_did_there_is_kept_unless_it_is_ours(box: Box) -> None:
    box.bundle(1)
    box.bundle(2)
    deploy(box.state, "churn", 1, **WHO)
    made = box.reconcile().versions
    box.client.set_registered_model_alias(NAME, "champion", made[2])
    box.client.set_registered_model_alias(NAME, "favourite", made[2])
    box.client.set_registered_model_alias(NAME, "canary", made[2])
    box.client.delete_model_version(NAME, made[2])
    box.reconcile()
    assert box.registered() == ["1", "2"]
    assert box.aliases() == {"champion": 1}


def test_an_alias_of_somebody_else_stays(box: Box) -> None:
    box.bundle(1)
    made = box.reconcile().versions
    box.client.set_registered_model_alias(NAME, "favourite", made[1])
    assert "favourite" not in ALIASES
    box.reconcile()
    assert box.aliases() == {"favourite": 1}


def test_a_version_whose_bundle_is_gone_says_so(box: Box) -> None:
    kept = box.bundle(1)
    made = box.reconcile().versions
    for file in kept.iterdir():
        file.unlink()
    kept.rmdir()
    box.reconcile()
    assert "no longer" in box.client.get_model_version(NAME, made[1]).tags["removed"]
