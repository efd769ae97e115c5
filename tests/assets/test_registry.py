"""From a training to MLflow: runs, plots, the registry, and a sensor that finds what the API changed."""

import pytest
from dagster import AssetKey, DagsterInstance, RunRequest, SkipReason, build_sensor_context
from mlflow.tracking import MlflowClient

from assets import registry
from assets.definitions import build_definitions, default_resources
from resources.registry import registered_name
from tests.corpus.hostile_models import linear_onnx
from tests.learn.imports.conftest import BINARY, Place, place, rows
from tidemill.learn.bundle_info import list_bundles
from tidemill.serve.deployment import current, deploy, rollback

# MLflow 3.17 defines its tables in a way that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

TRAINING = """\
training: {candidates: [linear, model.Hungry], trials: 2, folds: 2}
gates: {beat_baseline: false}
"""
HUNGRY = """\
from sklearn.base import BaseEstimator, ClassifierMixin


class Hungry(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        raise MemoryError("no 40 GB here")

    def predict_proba(self, X):
        raise AssertionError
"""
JUDGED = ["model", "evaluation", "deployment"]


@pytest.fixture
def pumps(tmp_path) -> Place:
    made = place(tmp_path / "home", BINARY + TRAINING, rows().fillna({"b": 0.0}))
    (made.home.project_file("pumps").parent / "model.py").write_text(HUNGRY)
    return made


def test_mlflow_shows_what_was_tried_and_what_answers(pumps: Place) -> None:
    definitions = build_definitions(pumps.home)
    client = MlflowClient(f"sqlite:///{pumps.home.mlflow / 'mlflow.db'}")
    name = registered_name("pumps")

    def aliases() -> dict[str, int]:
        found = client.get_registered_model(name).aliases
        return {alias: int(client.get_model_version(name, v).tags["bundle"]) for alias, v in found.items()}

    with DagsterInstance.ephemeral() as instance:
        training = definitions.resolve_job_def("pumps__training")
        assert training.execute_in_process(instance=instance, asset_selection=_keys(JUDGED)).success
        runs = client.search_runs([client.get_experiment_by_name("pumps").experiment_id])
        by_name = {run.info.run_name: run for run in runs}
        # Out of memory ends the candidate that asked for it, and nothing else.
        assert by_name["model.Hungry"].info.status == "FAILED"
        assert "no 40 GB here" in by_name["model.Hungry"].data.tags["error"]
        assert by_name["linear"].info.status == "FINISHED"
        (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
        shown = {file.path.split("/")[-1] for file in client.list_artifacts(parent.info.run_id, "evaluation")}
        pictures = {"evaluation", "confusion", "roc", "pr", "calibration", "importance"}
        assert {f"{picture}.png" for picture in pictures} | {"card.html", "evaluation.json"} == shown
        assert aliases() == {"champion": 1}
        version = client.get_model_version_by_alias(name, "champion")
        assert version.run_id == parent.info.run_id
        assert version.source.endswith("/artifacts/bundle")

        sensor = registry.build_sensor(["pumps"])

        def tick():
            resources = {"home": default_resources(pumps.home)["home"]}
            with build_sensor_context(instance=instance, resources=resources) as context:
                return sensor(context)

        def follow() -> None:
            (asked,) = tick()
            assert isinstance(asked, RunRequest)
            job = definitions.resolve_job_def("registry")
            assert job.execute_in_process(instance=instance, run_config=asked.run_config).success
            assert isinstance(tick(), SkipReason)

        assert isinstance(tick(), SkipReason)
        # A model made elsewhere has no run there, and is registered and judged all the same.
        pumps.take("bought.onnx", linear_onnx(["no", "yes"]).SerializeToString())
        follow()
        assert {found.tags["bundle"] for found in client.search_model_versions(f"name = '{name}'")} == {
            "1",
            "2",
        }
        evaluation = _keys(["evaluation"])
        assert training.execute_in_process(instance=instance, asset_selection=evaluation).success
        # What the API does is seen by the sensor.
        deploy(pumps.state, "pumps", 2, actor="ada", reason="better")
        follow()
        assert aliases() == {"champion": 2, "previous": 1}
        rollback(pumps.state, "pumps", actor="ada", reason="worse")
        follow()
        assert aliases() == {"champion": 1}
    live = current(pumps.state, "pumps")
    assert live is not None
    assert (live.champion, len(list_bundles(pumps.home.models("pumps")))) == (1, 2)


def _keys(names: list[str]) -> list[AssetKey]:
    return [AssetKey(["pumps", name]) for name in names]
