"""What cannot be trained fails its run, clearly: no version is made, and the champion goes on answering."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dagster import AssetKey, AssetSelection, DagsterInstance, materialize

from assets import data, deployments, features, labels, models
from assets.automation import STEPS
from assets.definitions import default_resources
from tests.assets.conftest import add_project
from tidemill.home import Home
from tidemill.learn.bundle_info import versions
from tidemill.project import load_project
from tidemill.serve.deployment import current
from tidemill.store.state import open_state
from tidemill.store.tables import TableStore

# The dummy's answer is beaten by chance or not: what is looked at here is what comes after a model is live.
SHOP = """\
name: shop
task: binary
columns:
  customer: {type: string, role: id}
  months: {type: integer}
  left: {type: category, role: target}
labels: {positive: "yes"}
training: {candidates: [linear], trials: 1, folds: 2}
"""
COST = SHOP.replace("shop", "cost").replace("binary", "regression").replace('labels: {positive: "yes"}\n', "")
COST = COST.replace("left: {type: category", "left: {type: float")
NOT_A_NUMBER = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Nothing(ClassifierMixin, BaseEstimator):
    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), np.nan)

    def predict(self, X):
        return self.classes_[np.zeros(len(X), dtype=int)]
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    # MLflow, on first use.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]


def rows(name: str) -> pd.DataFrame:
    """Whose months are many, stays (or pays more)."""
    months = np.random.default_rng(1).integers(0, 60, 120)
    left = np.where(months < 30, "yes", "no") if name == "shop" else months * 2.0 + 1.0
    keys = [f"c{number}" for number in range(120)]
    return pd.DataFrame({"_row": keys, "customer": keys, "months": pd.array(months, "Int64"), "left": left})


def publish(home: Home, name: str, table: pd.DataFrame) -> None:
    TableStore(home.tables(name)).publish_frame("raw", pa.Table.from_pandas(table, preserve_index=False))


def run(home: Home, name: str, project: Any) -> Any:
    """A training as its job runs it, on the raw table that is there."""
    stations = (data, labels, features, models, deployments)
    parts = [part for station in stations for part in station.build(project)]
    chosen = AssetSelection.assets(*(AssetKey([name, step]) for step in STEPS["training"]))
    with DagsterInstance.ephemeral() as instance:
        return materialize(
            parts,
            instance=instance,
            resources=default_resources(home),
            selection=chosen,
            raise_on_error=False,
        )


def reason_of(result: Any) -> str:
    """What the failed step says, and what that came from."""
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    error, told = failed.event_specific_data.error, []
    while error is not None:
        told.append(error.message)
        error = error.cause
    return "\n".join(told)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose two projects have a champion each, version 1."""
    home = Home.find(tmp_path_factory.mktemp("home")).ensure()
    for name, text in (("shop", SHOP), ("cost", COST)):
        add_project(home, name, text)
        publish(home, name, rows(name))
        assert run(home, name, load_project(home, name)).success
    return home


Change = Callable[[pd.DataFrame], pd.DataFrame]
TABLES: dict[str, tuple[str, Change, str]] = {
    "one class only": ("shop", lambda table: table.assign(left="yes"), "have the same label"),
    "all missing": (
        "shop",
        lambda table: table.assign(months=pd.array([None] * len(table), "Int64")),
        "Every feature of every row to train on is empty",
    ),
    "constant target": ("cost", lambda table: table.assign(left=7.5), "have the same label"),
    "3 rows": ("shop", lambda table: table.head(3), "too few labelled rows"),
    "new classes": (
        "shop",
        lambda table: table.assign(left=["perhaps", *table["left"][1:]]),
        "A binary task has two classes",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_rows_that_cannot_be_learnt_from(live: Home, case: str) -> None:
    name, change, said = TABLES[case]
    publish(live, name, change(rows(name)))
    refused(live, name, load_project(live, name), said)


def test_a_metric_that_is_no_number(live: Home) -> None:
    file = live.project_file("shop")
    before = file.read_text()
    publish(live, "shop", rows("shop"))
    (file.parent / "model.py").write_text(NOT_A_NUMBER)
    try:
        file.write_text(before.replace("[linear]", "[model.Nothing]"))
        refused(live, "shop", load_project(live, "shop"), "No candidate could be trained")
    finally:
        put_back(file, before)


def test_a_search_budget_of_nothing(live: Home) -> None:
    file = live.project_file("shop")
    before, project = file.read_text(), load_project(live, "shop")
    publish(live, "shop", rows("shop"))
    try:
        file.write_text(before.replace("trials: 1", "trials: 0"))
        refused(live, "shop", project, "training.trials")
    finally:
        put_back(file, before)


def put_back(file: Path, text: str) -> None:
    (file.parent / "model.py").unlink(missing_ok=True)
    file.write_text(text)


def refused(home: Home, name: str, project: Any, said: str) -> None:
    """The run fails and says so; versions and deployment are what they were."""
    result = run(home, name, project)
    assert not result.success
    assert said in reason_of(result)
    assert list(versions(home.models(name))) == [1]
    deployed = current(open_state(home), name)
    assert deployed is not None
    assert (deployed.champion, deployed.revision) == (1, 1)
