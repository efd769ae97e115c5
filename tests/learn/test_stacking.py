"""Stacked models: what they may learn from, that they answer alone and alike everywhere, and what is refused."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest

from tests.corpus.hostile_models import linear_onnx
from tests.learn.imports.conftest import BINARY, Place, place, rows
from tidemill.errors import InvalidInput, NotFound
from tidemill.learn.assess import assess
from tidemill.learn.bundle import load_model, load_reference, write_bundle
from tidemill.learn.bundle_info import BundleInfo, load_info, warnings_of
from tidemill.learn.earlier import open_earlier
from tidemill.learn.features import TRAIN
from tidemill.learn.rebuild import rebuild
from tidemill.learn.stacking import open_stack
from tidemill.learn.training import train
from tidemill.project import Project
from tidemill.serve.scorer import open_scorer

QUICK = {"trials": 1, "folds": 2, "candidates": ["linear"]}


def with_training(project: Project, **training: object) -> Project:
    return Project.model_validate(
        {
            **project.model_dump(mode="json"),
            "training": {**project.training.model_dump(mode="json"), **training},
        }
    )


def made(at: Place, features: pd.DataFrame | None = None, **training: object) -> BundleInfo:
    """A version trained on `features` with this training section, as the asset makes it."""
    project = with_training(at.project, **{**QUICK, **training})
    table = at.features if features is None else features
    models = at.home.models(project.name)
    done = train(table, project, earlier=open_earlier(models, project, table))
    provenance = {
        "features": "features@1",
        "features_sha256": at.features_sha256 if features is None else None,
        "dataset": "raw@1",
        "labels": "labels@1",
    }
    info = write_bundle(models, project=project, training=done, provenance=provenance, reference=table)
    return assess(at.home, at.state, project, info.version, table).info


@pytest.fixture(scope="module")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Version 1 is trained here, version 2 was imported."""
    at = place(tmp_path_factory.mktemp("home"), BINARY, rows().fillna({"b": 0.0}))
    made(at)
    at.take("bought.onnx", linear_onnx(["no", "yes"]).SerializeToString())
    return at


def records(at: Place) -> list[dict[str, object]]:
    frame = at.features[list(at.project.feature_columns)].astype(object)
    found = frame.where(frame.notna(), None).head(40).to_dict("records")
    return [{str(name): value for name, value in record.items()} for record in found]


@pytest.mark.parametrize("version", [1, 2])
def test_a_stacked_model_answers_alone_and_alike_everywhere(pumps: Place, tmp_path, version: int) -> None:
    info = made(pumps, stack=[version])
    alone = tmp_path / "models"
    shutil.copytree(info.folder, alone / str(info.version))
    project = with_training(pumps.project, stack=[version])
    scorer = open_scorer(alone, info.version, project)
    asked = records(pumps)
    batch = scorer.score(asked)
    one_by_one = [scorer.score([record])[0] for record in asked]
    np.testing.assert_allclose([s.score for s in batch], [s.score for s in one_by_one], rtol=0, atol=1e-12)
    assert [s.label for s in batch] == [s.label for s in one_by_one]
    model = load_model(alone, info.version)
    told = model.predict_proba(pumps.features.head(40))[:, 1]
    np.testing.assert_allclose([s.score for s in batch], told, rtol=0, atol=1e-12)
    assert f"asks model {version} first" in info.provenance["scorer"]["reason"]
    assert f"answers of model {version}" in info.card


def test_it_takes_what_it_is_given_out_of_sample(pumps: Place) -> None:
    stack = open_stack(pumps.home.models("pumps"), with_training(pumps.project, stack=[1]), pumps.features)
    assert stack is not None
    reference = load_reference(pumps.home.models("pumps"), 1).set_index("_row")["_score"]
    shown = 1 / (1 + np.exp(-stack.scores.set_index("_row")["_stacked_1"]))
    np.testing.assert_allclose(shown, reference.loc[shown.index], atol=2e-6)
    said = stack.said[0]
    assert (said["seen_rows"], said["left_out"], said["warning"]) == (len(reference), 0, None)
    # Asked in use, the model that had seen these rows answers something else.
    train_rows = pumps.features[pumps.features["_split"] == TRAIN]
    types = {name: column.type for name, column in pumps.project.feature_columns.items()}
    used = stack.frame(types).transform(train_rows)["_stacked_1"].to_numpy()
    assert np.abs(used - stack.scores["_stacked_1"].to_numpy()).max() > 1e-3


def test_an_imported_one_is_warned_of(pumps: Place) -> None:
    info = made(pumps, stack=[2])
    (warning,) = warnings_of(info)
    assert "bought.onnx" in warning
    assert "is not known" in warning
    assert "trained elsewhere: whether rows it learnt from" in info.card
    assert "trained elsewhere: whether rows it learnt from" in info.card_html


@pytest.mark.parametrize("stack", [[1], [2, 1]])
def test_a_stacked_model_is_rebuilt_without_the_versions_it_took(tmp_path, stack: list[int]) -> None:
    at = place(tmp_path / "home", BINARY, rows().fillna({"b": 0.0}))
    made(at)
    at.take("bought.onnx", linear_onnx(["no", "yes"]).SerializeToString())
    info = made(at, stack=stack)
    for version in stack:
        shutil.rmtree(at.home.models("pumps") / str(version))
    found = rebuild(at.home, "pumps", info.version)
    assert found.equal, found.text


def test_many_classes_are_learnt_from_rows_that_are_new_to_it(tmp_path) -> None:
    text = (
        BINARY.replace("binary", "multiclass")
        .replace(', values: ["no", "yes"]', "")
        .replace('labels: {positive: "yes"}\n', "")
    )
    table = rows(600).fillna({"b": 0.0})
    table["broken"] = np.digitize(table["a"], [-0.5, 0.5]).astype(str)
    at = place(tmp_path / "home", text, table)
    old = at.features.iloc[:300].reset_index(drop=True)
    made(at, old)
    with pytest.raises(InvalidInput, match="Too few rows are left"):
        made(at, old, stack=[1])
    info = made(at, stack=[1])
    seen = int((old["_split"] == TRAIN).sum())
    assert info.provenance["stack"][0]["left_out"] == seen
    cast = load_model(at.home.models("pumps"), info.version).named_steps["cast"]
    assert cast.members[0]["columns"] == ["_stacked_1_0", "_stacked_1_1", "_stacked_1_2"]
    kept = pd.read_parquet(io.BytesIO((info.folder / "stacked.parquet").read_bytes()))
    assert not set(kept["_row"]) & set(old.loc[old["_split"] == TRAIN, "_row"])


def test_a_regression_is_stacked_by_its_number(tmp_path) -> None:
    text = (
        BINARY.replace("binary", "regression")
        .replace('category, role: target, values: ["no", "yes"]', "float, role: target")
        .replace('labels: {positive: "yes"}\n', "")
    )
    table = rows()
    table["broken"] = 3 * table["a"] + table["c"]
    at = place(tmp_path / "home", text, table)
    made(at)
    info = made(at, stack=[1])
    assert info.evaluation is not None
    assert info.evaluation["metrics"]["r2"]["value"] > 0.5
    assert rebuild(at.home, "pumps", info.version).equal


def test_what_cannot_be_stacked_says_why(pumps: Place) -> None:
    models = pumps.home.models("pumps")

    def opened(project: Project, features: pd.DataFrame = pumps.features) -> None:
        open_stack(models, project, features)

    with pytest.raises(NotFound, match="There is no model 99"):
        opened(with_training(pumps.project, stack=[99]))
    layered = made(pumps, stack=[1])
    with pytest.raises(InvalidInput, match="one layer is the most"):
        opened(with_training(pumps.project, stack=[layered.version]))
    other = with_training(pumps.project, stack=[1]).model_dump(mode="json")
    other["columns"]["a"]["type"] = "integer"
    with pytest.raises(InvalidInput, match="it takes a, which the contract lacks"):
        opened(Project.model_validate(other))
    with pytest.raises(InvalidInput, match="another task, binary"):
        opened(Project.model_validate({**other, "task": "multiclass", "labels": {}}))
    swapped = pumps.features.assign(_split=pumps.features["_split"].map({"train": "test", "test": "train"}))
    with pytest.raises(InvalidInput, match="learnt from rows that are held out now"):
        opened(with_training(pumps.project, stack=[1]), swapped)
    assert load_info(models, 1).version == 1
