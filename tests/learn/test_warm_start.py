"""Warm starts: settings that are tried first, and trees that are gone on from, by each library that can."""

import json
import shutil
from typing import Any

import numpy as np
import pytest

from tests.learn.imports.conftest import BINARY, Place, place, rows
from tests.learn.test_stacking import made, with_training
from tidemill.errors import InvalidInput
from tidemill.learn.adjusting import AdjustedModel
from tidemill.learn.boosters import Continued, make_booster, native_bytes
from tidemill.learn.bundle import load_model, load_reference
from tidemill.learn.bundle_info import load_info, warnings_of
from tidemill.learn.rebuild import rebuild
from tidemill.learn.warm_start import open_warm_start

LIBRARIES = ["lightgbm", "xgboost", "catboost"]


@pytest.fixture(scope="module")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Version 1 is a linear model of the first 200 rows."""
    at = place(tmp_path_factory.mktemp("home"), BINARY, rows(400).fillna({"b": 0.0}))
    made(at, early(at), candidates=["linear"], trials=2)
    return at


def early(at: Place) -> Any:
    return at.features.iloc[:200].reset_index(drop=True)


def trees_of(library: str, fitted: Any) -> int:
    if library == "lightgbm":
        return int(fitted.booster_.num_trees())
    return int(fitted.get_booster().num_boosted_rounds() if library == "xgboost" else fitted.tree_count_)


def test_the_settings_of_a_version_are_tried_first(pumps: Place) -> None:
    models = pumps.home.models("pumps")
    then = load_info(models, 1).params
    info = made(pumps, candidates=["linear"], trials=2, seed=pumps.project.training.seed, warm_start=1)
    search = json.loads((info.folder / "metrics.json").read_text())
    tried = [trial["params"] for trial in search["candidates"][0]["trials"]]
    assert tried[0] == then
    assert info.provenance["warm_start"] == {
        "version": 1,
        "estimator": "linear",
        "warning": None,
        "kind": "settings",
        "params": then,
    }
    assert "tried the settings of model 1" in info.card
    shutil.copytree(models / "1", models / ".one")
    shutil.rmtree(models / "1")
    assert rebuild(pumps.home, "pumps", info.version).equal
    (models / ".one").rename(models / "1")


@pytest.mark.parametrize("library", LIBRARIES)
def test_trees_are_gone_on_from_on_rows_that_are_new(tmp_path, library: str) -> None:
    at = place(tmp_path / "home", BINARY, rows(400))
    first = made(at, early(at), candidates=[library])
    models = at.home.models("pumps")
    start = load_model(models, 1)
    with pytest.raises(InvalidInput, match="Too few new rows"):
        made(at, early(at), candidates=[library], warm_start={"version": 1, "boost": True})
    info = made(at, candidates=[library], warm_start={"version": 1, "boost": True})
    model = load_model(models, info.version)
    old = trees_of(library, _fitted(start))
    assert trees_of(library, _fitted(model)) == old + info.params["trees"]
    seen = len(load_reference(models, 1))
    assert info.provenance["warm_start"]["rows"] == info.provenance["train_rows"]
    assert info.provenance["train_rows"] == len(load_reference(models, info.version)) - seen
    assert "Goes on from the trees of model 1" in info.card
    assert info.metrics["roc_auc"]["value"] > 0.9
    shutil.rmtree(first.folder)
    found = rebuild(at.home, "pumps", info.version)
    assert found.equal, found.text


def _fitted(pipeline: Any) -> Any:
    last = pipeline.steps[-1][1]
    return (last.model if isinstance(last, AdjustedModel) else last).model_


@pytest.mark.parametrize("library", LIBRARIES)
def test_trees_made_elsewhere_are_gone_on_from_with_a_warning(tmp_path, library: str) -> None:
    at = place(tmp_path / "home", BINARY, rows())
    model = make_booster(library, True, {"trees": 20, "depth": 3, "random_state": 1})
    model.fit(at.matrix, at.truth)
    ending = {"lightgbm": "txt", "xgboost": "ubj", "catboost": "cbm"}[library]
    at.take(f"bought.{ending}", native_bytes(library, model.model_))
    info = made(at, candidates=[library], warm_start={"version": 1, "boost": True})
    again = load_model(at.home.models("pumps"), info.version)
    assert trees_of(library, _fitted(again)) == 20 + info.params["trees"]
    assert "is not known" in warnings_of(info)[0]
    assert rebuild(at.home, "pumps", info.version).equal


def test_a_regression_goes_on_too() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 3))
    y = x[:, 0] * 3 + random.normal(scale=0.1, size=300)
    for library in LIBRARIES:
        first = make_booster(library, False, {"trees": 10, "depth": 3, "random_state": 1}).fit(
            x[:150], y[:150]
        )
        start = Continued(library, native_bytes(library, first.model_), [])
        more = make_booster(library, False, {"trees": 60, "depth": 3, "random_state": 1}, 150, start)
        more.fit(x[150:], y[150:])
        assert trees_of(library, more.model_) == 70
        before, after = (np.abs(model.predict(x[150:]) - y[150:]).mean() for model in (first, more))
        assert after < before / 2


def test_what_gives_no_beginning_says_why(pumps: Place) -> None:
    models = pumps.home.models("pumps")

    def opened(**training: Any) -> None:
        open_warm_start(models, with_training(pumps.project, **training), pumps.features)

    with pytest.raises(InvalidInput, match=r"it is linear, which training\.candidates does not name"):
        opened(candidates=["random_forest"], warm_start=1)
    with pytest.raises(InvalidInput, match="it is linear, and the candidate is lightgbm"):
        opened(candidates=["lightgbm"], warm_start={"version": 1, "boost": True})
