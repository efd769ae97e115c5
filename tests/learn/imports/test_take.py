"""Sound models of other people's: looked at, registered, judged, served, whatever made them."""

import warnings

import numpy as np
import onnx
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from tests.corpus.hostile_models import graph_of, linear_onnx
from tidemill.errors import Conflict, InvalidInput
from tidemill.home import Home
from tidemill.learn.bundle import load_model, load_reference
from tidemill.learn.bundle_info import load_info
from tidemill.learn.imports import ledger
from tidemill.learn.imports.inspect import fit, inspect
from tidemill.learn.imports.refusal import ModelRefused
from tidemill.learn.imports.take import import_pending
from tidemill.learn.proof import records_of
from tidemill.project import Project
from tidemill.serve.compiled import CompiledScorer
from tidemill.serve.scorer import open_scorer
from tidemill.store.tables import TableStore

from .conftest import BINARY, Place, place, rows


def by_columns() -> bytes:
    """As skl2onnx writes a pipeline: an input a column, probabilities as mappings."""
    names = ["c", "a"]
    nodes = [
        helper.make_node("Concat", names, ["x"], axis=1),
        helper.make_node(
            "LinearClassifier", ["x"], ["label", "raw"], domain="ai.onnx.ml", post_transform="SOFTMAX",
            coefficients=[0.0, -1.0, 0.0, 1.0], intercepts=[0.0, 0.0], classlabels_strings=["no", "yes"],
        ),
        helper.make_node("ZipMap", ["raw"], ["p"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    kind = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
        helper.make_value_info("p", helper.make_sequence_type_proto(kind)),
    ]
    return bytes(graph_of(nodes, inputs, outputs).SerializeToString())


def filled_onnx() -> bytes:
    """A matrix of numbers, gaps filled."""
    model = linear_onnx(["no", "yes"], name="filled")
    imputer = helper.make_node(
        "Imputer", ["x"], ["filled"], domain="ai.onnx.ml", imputed_value_floats=[0.0] * 4,
        replaced_value_float=float("nan"),
    )  # fmt: skip
    model.graph.node.insert(0, imputer)
    model.graph.input[0].name = "x"
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def sklearn_file(pumps: Place) -> bytes:
    frame = pumps.features[["b", "a", "c"]].astype(float)
    model = make_pipeline(SimpleImputer(), GradientBoostingClassifier(n_estimators=5)).fit(frame, pumps.truth)
    return bytes(skops.io.dumps(model))


def lightgbm_file(pumps: Place) -> bytes:
    import lightgbm

    data = lightgbm.Dataset(pumps.matrix, pumps.truth == "yes", feature_name=["a", "b", "c", "d"])
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    return lightgbm.train(settings, data, 20).model_to_string().encode()


def xgboost_file(pumps: Place, raw_format: str) -> bytes:
    import xgboost

    data = xgboost.DMatrix(pumps.matrix, (pumps.truth == "yes").astype(int))
    settings = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
    return bytes(xgboost.train(settings, data, 20).save_raw(raw_format))


def catboost_file(pumps: Place, tmp_path) -> bytes:
    import catboost

    model = catboost.CatBoostClassifier(iterations=10, depth=3, verbose=0, allow_writing_files=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(pumps.features[["a", "b", "c"]].astype(float), pumps.truth).save_model(tmp_path / "m.cbm")
    return (tmp_path / "m.cbm").read_bytes()


MAKERS = {
    "matrix.onnx": (lambda _pumps, _tmp: filled_onnx(), "onnxruntime"),
    "columns.onnx": (lambda _pumps, _tmp: by_columns(), "onnxruntime"),
    "boosting.skops": (lambda pumps, _tmp: sklearn_file(pumps), "scikit-learn"),
    "light.txt": (lambda pumps, _tmp: lightgbm_file(pumps), "compiled"),
    "extreme.json": (lambda pumps, _tmp: xgboost_file(pumps, "json"), "compiled"),
    "extreme.ubj": (lambda pumps, _tmp: xgboost_file(pumps, "ubj"), "compiled"),
    "cat.cbm": (catboost_file, "catboost"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_sound_model_becomes_a_challenger(name, pumps, tmp_path):
    make, served = MAKERS[name]
    info = pumps.take(name, make(pumps, tmp_path))
    provenance = info.provenance
    assert provenance["origin"] == "imported"
    assert (provenance["file"], provenance["imported_by"]) == (name, "anna")
    assert (provenance["dataset"], provenance["features"]) == ("raw@1", "features@1")
    assert len(provenance["checked_in"]) >= 3
    assert provenance["scorer"]["form"] == served, provenance["scorer"]
    assert sorted(info.classes) == ["no", "yes"]
    assert info.positive == "yes"
    assert info.gate is not None
    assert info.evaluation["rows"] == (pumps.features["_split"] == "test").sum()
    assert "trained elsewhere" in info.card
    models = pumps.home.models("pumps")
    scorer = open_scorer(models, info.version, pumps.project)
    assert isinstance(scorer, CompiledScorer) == (served == "compiled")
    model = load_model(models, info.version)
    truth = model.predict_proba(pumps.features)[:, list(model.classes_).index("yes")]
    answers = scorer.score(records_of(pumps.features, pumps.project))
    assert np.abs(np.array([answer.score for answer in answers]) - truth).max() <= 1e-6
    assert answers[0].label == ("yes" if truth[0] >= 0.5 else "no")
    reference = load_reference(models, info.version)
    assert {"_row", "_label", "_score", "_prediction", "a", "d"} <= set(reference.columns)
    assert len(reference) == (pumps.features["_split"] == "train").sum()


def test_a_good_model_passes_the_gates_that_a_trained_one_passes(pumps):
    info = pumps.take("light.txt", lightgbm_file(pumps))
    assert info.gate["passed"]
    assert info.metrics["roc_auc"]["value"] > 0.8


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (linear_onnx(["no", "yes"], columns=3).SerializeToString(), {}, "takes 3 columns"),
        (linear_onnx(["no", "yes"]).SerializeToString(), {"columns": ["a", "b", "c", "z"]}, "z"),
        (linear_onnx(["left", "right"]).SerializeToString(), {}, "left, right"),
        (linear_onnx(["a", "b", "c"]).SerializeToString(), {}, "a, b, c"),
        (linear_onnx(None).SerializeToString(), {}, "predicts a number"),
    ],
)
def test_what_does_not_fit_the_contract_is_refused(data, options, said, pumps):
    request = {"labels": ["no", "yes"], "model_file": "model.onnx", **options}
    with pytest.raises(ModelRefused, match="does not fit") as refused:
        fit(inspect("onnx", data), request, pumps.project)
    assert said in refused.value.detail
    assert refused.value.extra["reason"] == "contract-mismatch"


def test_a_model_that_takes_no_gaps_says_so_and_refuses_such_records(pumps):
    info = pumps.take("columns.onnx", by_columns())
    assert "cannot answer about gaps" in info.card
    scorer = open_scorer(pumps.home.models("pumps"), info.version, pumps.project)
    assert scorer.score([{"a": 3.0, "b": None, "c": 1, "d": True}])[0].label == "yes"
    with pytest.raises(InvalidInput, match="no answer") as refused:
        scorer.score([{"a": None, "b": 1.0, "c": 1, "d": True}])
    assert "missing values: a" in refused.value.detail


def test_a_file_in_the_import_folder_is_taken_once(pumps):
    where = ledger.folder(pumps.home, "pumps")
    where.mkdir(parents=True, exist_ok=True)
    record = ledger.drop(pumps.home, "pumps", "matrix.onnx", filled_onnx(), {"by": "key anna"})
    assert record["status"] == "received"
    (taken,) = import_pending(pumps.home, pumps.state, pumps.project, actor="folder")
    assert (taken["status"], taken["by"], taken["id"]) == ("accepted", "key anna", record["id"])
    assert (
        load_info(pumps.home.models("pumps"), taken["model_version"]).provenance["imported_by"] == "key anna"
    )
    assert import_pending(pumps.home, pumps.state, pumps.project, actor="folder") == []
    assert ledger.records(pumps.home, "pumps")[0] == taken


def test_a_project_without_features_says_so(tmp_path):
    home = Home(tmp_path).ensure()
    empty = Place(home, None, Project.parse(BINARY, tmp_path / "pumps.yaml"), None)  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="no features"):
        empty.take("model.onnx", filled_onnx())
    assert TableStore(home.tables("pumps")).current("features") is None


def test_a_regression_and_several_classes(tmp_path):
    text = BINARY.replace("binary", "regression").replace(
        'broken: {type: category, role: target, values: ["no", "yes"]}', "broken: {type: float, role: target}"
    )
    raw = rows()
    valves = place(
        tmp_path / "r", text.replace('labels: {positive: "yes"}\n', ""), raw.assign(broken=raw["a"] * 2)
    )
    import xgboost

    truth = valves.features["_label"].to_numpy(float)
    trained = xgboost.train({"nthread": 1}, xgboost.DMatrix(valves.matrix, truth), 10)
    info = valves.take("number.json", bytes(trained.save_raw("json")))
    assert (info.provenance["scorer"]["form"], info.classes, info.threshold) == ("compiled", [], None)
    text = BINARY.replace("binary", "multiclass").replace('"no", "yes"', "low, mid, high")
    three = raw.assign(broken=np.where(raw["a"] < -0.5, "low", np.where(raw["a"] < 0.5, "mid", "high")))
    grades = place(tmp_path / "m", text.replace('labels: {positive: "yes"}\n', ""), three)
    import lightgbm

    codes = np.searchsorted(["high", "low", "mid"], grades.truth)
    settings = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    trees = lightgbm.train(settings, lightgbm.Dataset(grades.matrix, codes), 10)
    info = grades.take("three.txt", trees.model_to_string().encode())
    assert info.provenance["scorer"]["form"] == "compiled"
    assert info.metrics["accuracy"]["value"] > 0.8
    assert "the model numbers its classes: taken for high, low, mid" in info.card
