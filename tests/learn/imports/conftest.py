"""A home with one project that has labelled features, and models of other people's for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tidemill.home import Home
from tidemill.labels.column import labels_from_column
from tidemill.learn.bundle_info import BundleInfo
from tidemill.learn.features import build_features
from tidemill.learn.imports.take import import_bytes
from tidemill.project import Project, load_project
from tidemill.store.state import State, open_state
from tidemill.store.tables import TableStore

BINARY = """\
name: pumps
task: binary
columns:
  key: {type: string, role: id}
  a: {type: float}
  b: {type: float}
  c: {type: integer}
  d: {type: boolean}
  broken: {type: category, role: target, values: ["no", "yes"]}
labels: {positive: "yes"}
"""


@dataclass(frozen=True)
class Place:
    home: Home
    state: State
    project: Project
    features: pd.DataFrame
    features_sha256: str = ""

    @property
    def matrix(self) -> Any:
        return self.features[list(self.project.feature_columns)].astype(float).to_numpy()

    @property
    def truth(self) -> Any:
        return self.features["_label"].astype(str).to_numpy()

    def take(self, name: str, data: bytes, **options: Any) -> BundleInfo:
        return import_bytes(self.home, self.state, self.project, name, data, actor="anna", **options)


def place(root: Path, text: str, raw: pd.DataFrame) -> Place:
    home = Home(root).ensure()
    name = text.split("\n")[0].removeprefix("name: ")
    home.project_file(name).parent.mkdir(parents=True)
    home.project_file(name).write_text(text)
    project = load_project(home, name)
    store = TableStore(home.tables(name))
    raw = raw.assign(_row=[f"r{index}" for index in range(len(raw))])
    store.publish_frame("raw", raw)
    labels = labels_from_column(raw, project, 1)
    store.publish_frame("labels", labels, parents={"raw": 1})
    features = build_features(raw, labels, project)
    table = store.publish_frame("features", features, parents={"raw": 1, "labels": 1})
    return Place(home, open_state(home, None), project, features, table.sha256)


def rows(count: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "key": [f"k{index}" for index in range(count)],
            "a": random.normal(size=count),
            "b": random.normal(size=count),
            "c": random.integers(0, 9, size=count),
            "d": random.random(count) < 0.5,
        }
    )
    frame.loc[::11, "b"] = np.nan
    frame["broken"] = np.where(frame["a"] + random.normal(scale=0.3, size=count) > 0, "yes", "no")
    return frame


@pytest.fixture(scope="module")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place(tmp_path_factory.mktemp("home"), BINARY, rows())
