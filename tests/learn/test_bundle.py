"""Bundles: whole or absent, read back as written, refused when they are not what was written."""

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from tidemill.errors import Corrupt
from tidemill.learn import bundle, bundle_publish
from tidemill.learn.bundle_info import list_bundles, load_info
from tidemill.learn.gate import decide
from tidemill.learn.persistence import ALLOWED, from_bytes, to_bytes
from tidemill.learn.pipeline import make_pipeline
from tidemill.store.durable import sha256_of

from .conftest import publish


@pytest.mark.parametrize("name", ["binary", "multiclass", "regression"])
def test_what_is_read_is_what_was_written(name, request, tmp_path):
    trained = request.getfixturevalue(name)
    info = publish(tmp_path / "models", trained, reference=trained.features)
    assert (info.version, info.estimator, info.metrics) == (1, trained.training.best.estimator, {})
    assert info.baseline == trained.training.baseline.metrics
    assert info.provenance["dataset"] == "raw@1"
    assert {"commit", "seed", "libraries"} <= set(info.provenance)
    model = bundle.load_model(tmp_path / "models", 1)
    predict = "predict_proba" if trained.project.is_classification else "predict"
    original = getattr(trained.training.best.pipeline, predict)(trained.features)
    assert np.array_equal(getattr(model, predict)(trained.features), original)
    assert sorted(info.files) == [
        "contract.yaml", "environment.json", "metrics.json", "model.skops", "reference.parquet", "scorer.npz",
    ]  # fmt: skip
    proof = info.provenance["scorer"]
    assert (proof["form"], proof["label_flips"]) == ("compiled", 0)
    assert proof["max_abs_difference"] <= 1e-9
    assert proof["records"] > 50
    assert "Served compiled" in info.card
    for file, sha256 in info.files.items():
        assert sha256_of(info.folder / file) == sha256


def fitted(candidate, trained):
    """The pipeline of a candidate; a training keeps only that of the best."""
    rows = trained.features[trained.features["_split"] == "train"]
    pipeline = make_pipeline(trained.project, candidate.estimator, candidate.params, len(rows))
    return pipeline.fit(rows[list(trained.project.feature_columns)], rows["_label"].astype(str))


def test_every_candidate_survives_its_file(binary):
    for candidate in binary.training.candidates:
        pipeline = fitted(candidate, binary)
        again = from_bytes(to_bytes(pipeline), "a test")
        expected = pipeline.predict_proba(binary.features)
        assert np.array_equal(again.predict_proba(binary.features), expected)


def test_the_reference_has_train_rows_with_out_of_fold_scores(binary, tmp_path):
    publish(tmp_path, binary, reference=binary.features)
    reference = bundle.load_reference(tmp_path, 1)
    assert len(reference) == binary.training.rows
    features = list(binary.project.feature_columns)
    assert list(reference.columns) == ["_row", "_label", *features, "_score", "_prediction"]
    assert np.array_equal(reference["_score"], binary.training.oof["_score"])


def test_the_evaluation_is_laid_beside(binary, tmp_path):
    info = publish(tmp_path, binary)
    assert "Not judged yet" in info.card
    written = (info.folder / "bundle.json").read_bytes()
    decision = decide(binary.evaluation, binary.project)
    info = bundle.add_evaluation(tmp_path, 1, binary.evaluation, decision)
    assert (info.folder / "bundle.json").read_bytes() == written
    assert info == load_info(tmp_path, 1)
    assert info.gate["passed"] is True
    assert info.metrics["roc_auc"]["value"] == binary.evaluation.metrics["roc_auc"].value
    assert info.baseline == binary.evaluation.baseline
    assert "beats the dummy model" in info.card
    assert "raw@1" in info.card


def test_versions_count_up_also_for_two_at_once(binary, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        versions = [future.version for future in pool.map(lambda _: publish(tmp_path, binary), range(4))]
    assert sorted(versions) == [1, 2, 3, 4]
    assert [info.version for info in list_bundles(tmp_path)] == [1, 2, 3, 4]


def test_a_crash_before_the_rename_leaves_nothing(binary, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_publish, "model_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish(tmp_path, binary)
    assert list_bundles(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [".publish.lock"]


@pytest.mark.parametrize("file", ["model.skops", "reference.parquet"])
@pytest.mark.parametrize("harm", ["change", "remove"])
def test_tampering_is_refused(binary, tmp_path, file, harm):
    info = publish(tmp_path, binary, reference=binary.features)
    path = info.folder / file
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    load = bundle.load_model if file == "model.skops" else bundle.load_reference
    with pytest.raises(Corrupt, match="not what was written"):
        load(tmp_path, 1)


class Trap(BaseEstimator):
    """Leaves a mark wherever it is built, restored or used."""

    sprung: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.sprung.append("built")

    def __setstate__(self, state: dict[str, object]) -> None:
        self.sprung.append("restored")

    def predict(self, _: object) -> None:
        self.sprung.append("used")


def test_a_type_outside_the_list_is_refused_without_being_built():
    data = skops.io.dumps(Pipeline([("cast", Trap()), ("encode", Trap()), ("model", Trap())]))
    Trap.sprung.clear()
    with pytest.raises(Corrupt, match="refused") as caught:
        from_bytes(data, "demo version 1")
    assert "Trap" in caught.value.detail
    assert Trap.sprung == []


def test_a_call_smuggled_into_the_schema_is_refused_without_being_made(tmp_path):
    mark = tmp_path / "mark"
    schema = {
        "__class__": "system",
        "__module__": "os",
        "__loader__": "ReduceNode",
        "__reduce__": {"args": {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode"}},
        "content": f"touch {mark}",
        "protocol": 2,
    }
    for loader in ("ReduceNode", "FunctionNode", "ObjectNode", "TypeNode", "PartialNode", "OperatorFuncNode"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("schema.json", json.dumps(schema | {"__loader__": loader}))
        with pytest.raises(Corrupt):
            from_bytes(buffer.getvalue(), "demo version 1")
    assert not mark.exists()


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_what_is_no_skops_file_is_refused(data):
    with pytest.raises(Corrupt, match="refused"):
        from_bytes(data, "demo version 1")


def test_a_listed_type_that_is_no_pipeline_of_ours_is_refused(binary):
    model = binary.training.best.pipeline
    for other in (model[-1], Pipeline(model.steps[1:]), [1, 2]):
        with pytest.raises(Corrupt, match="refused"):
            from_bytes(skops.io.dumps(other), "demo version 1")


@pytest.mark.parametrize("estimator", ["random_forest", "hist_gradient_boosting"])
@pytest.mark.parametrize("harm", ["outside", "backwards", "feature"])
def test_a_tree_that_points_outside_is_refused(binary, estimator, harm):
    [candidate] = [found for found in binary.training.candidates if found.estimator == estimator]
    pipeline = from_bytes(to_bytes(fitted(candidate, binary)), "a test")
    model = pipeline[-1]
    if estimator == "random_forest":
        tree = model.estimators_[0].tree_
        state = tree.__getstate__()
        name = "feature" if harm == "feature" else "left_child"
        state["nodes"][name][0] = {"outside": 10_000_000, "backwards": 0, "feature": 10_000}[harm]
        tree.__setstate__(state)
    else:
        nodes = model._predictors[0][0].nodes
        name = "feature_idx" if harm == "feature" else "left"
        nodes[name][0] = {"outside": 10_000_000, "backwards": 0, "feature": 10_000}[harm]
    data = skops.io.dumps(pipeline)
    assert set(skops.io.get_untrusted_types(data=data)) <= set(ALLOWED)
    with pytest.raises(Corrupt, match="refused"):
        from_bytes(data, "demo version 1")


def test_without_a_proof_the_card_says_that_scikit_learn_serves(binary, tmp_path):
    info = publish(tmp_path / "models", binary)
    assert "scorer.npz" not in info.files
    assert "there is no compiled scorer, because there were no rows to prove one on" in info.card
