"""Models in the import folder: found by the sensor once they are whole, taken by the job."""

import os
import time

import pytest
from dagster import DagsterInstance, RunRequest, SkipReason, build_sensor_context

from assets import imports
from assets.definitions import build_definitions, default_resources
from tests.corpus.hostile_models import linear_onnx
from tests.learn.imports.conftest import BINARY, Place, place, rows
from tidemill.learn.bundle_info import list_bundles
from tidemill.learn.imports import ledger


@pytest.fixture
def pumps(tmp_path) -> Place:
    return place(tmp_path / "home", BINARY, rows().fillna({"b": 0.0}))


def test_a_file_in_the_import_folder_becomes_a_challenger(pumps):
    sensor = imports.build_sensor(pumps.project)
    where = ledger.folder(pumps.home, "pumps")
    where.mkdir(parents=True)
    with DagsterInstance.ephemeral() as instance:

        def tick():
            resources = {"home": default_resources(pumps.home)["home"]}
            with build_sensor_context(instance=instance, resources=resources) as context:
                return sensor(context)

        assert isinstance(tick(), SkipReason)
        file = where / "bought.onnx"
        file.write_bytes(linear_onnx(["no", "yes"]).SerializeToString())
        (where / "evil.skops").write_bytes(b"\x80\x04cposix\nsystem\n.")
        assert isinstance(tick(), SkipReason)  # it may still be on its way
        before = time.time() - 60
        for path in where.iterdir():
            os.utime(path, (before, before))
        assert isinstance(tick(), RunRequest)
        job = build_definitions(pumps.home).get_job_def("pumps__imports")
        assert job.execute_in_process(instance=instance).success
        assert isinstance(tick(), SkipReason)
    (made,) = list_bundles(pumps.home.models("pumps"))
    assert (made.estimator, made.provenance["imported_by"]) == ("imported onnx", "import folder")
    found = {record["name"]: record["status"] for record in ledger.records(pumps.home, "pumps")}
    assert found == {"bought.onnx": "accepted", "evil.skops": "refused"}
