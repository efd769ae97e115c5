"""The station labels as Dagster runs it: from answers to features, and no version without a change."""

from typing import Any

import pytest
from dagster import DagsterInstance, materialize

from assets import data, features, labels
from assets.definitions import default_resources
from tests.assets.conftest import add_project
from tidemill.home import Home
from tidemill.labels.backend import LabelTask
from tidemill.labels.built_in import BuiltIn
from tidemill.project import load_project
from tidemill.store.state import open_state
from tidemill.store.tables import TableStore

SHOP = """\
name: shop
task: binary
columns:
  customer: {type: string, role: id}
  months: {type: integer, min: 0}
  left: {type: category, role: target, values: ["no", "yes"]}
labels: {kind: KIND, positive: "yes"}
"""


def make(home: Home, kind: str) -> TableStore:
    add_project(home, "shop", SHOP.replace("KIND", kind))
    file = home.inbox("shop") / "customers.csv"
    file.parent.mkdir(parents=True)
    lines = [f"c{number},{number},{'yes' if number % 2 else 'no'}" for number in range(6)]
    file.write_text("\n".join(["customer,months,left", *lines, "c6,6,", "c7,7,"]) + "\n")
    return TableStore(home.tables("shop"))


def run(home: Home) -> Any:
    project = load_project(home, "shop")
    stations = [part for station in (data, labels, features) for part in station.build(project)]
    with DagsterInstance.ephemeral() as instance:
        return materialize(stations, instance=instance, resources=default_resources(home))


def versions(store: TableStore) -> dict[str, int]:
    return {name: store.require(name).version for name in store.names() if name != "features"}


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_answers_become_labels_and_features(home: Home) -> None:
    store = make(home, "built-in")
    assert run(home).success
    assert versions(store) == {"annotations": 1, "labels": 1, "production_rows": 1, "raw": 1}
    assert store.require("labels").rows == 6
    assert store.require("production_rows").schema == {"_row": "string", "months": "int64"}

    assert run(home).success
    assert versions(store) == {"annotations": 1, "labels": 1, "production_rows": 1, "raw": 1}

    page = BuiltIn(open_state(home), "shop")
    page.push([LabelTask("c6", {"customer": "c6", "months": 6})])
    page.answer("c6", "yes", "ada", 3.0)
    assert run(home).success
    assert versions(store) == {"annotations": 2, "labels": 2, "production_rows": 2, "raw": 1}
    assert store.require("labels").parents == {"raw": 1, "annotations": 2, "production_rows": 2}
    found = store.require("features").to_pandas().set_index("_row")["_label"]
    assert found["c6"] == "yes"
    assert len(found) == 7


def test_labels_of_a_column_are_made_once_for_each_version_of_the_data(home: Home) -> None:
    store = make(home, "column")
    assert run(home).success
    assert run(home).success
    assert versions(store) == {"labels": 1, "raw": 1}
