"""A model made elsewhere under real services: sent, registered, judged, promoted, and it answers."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tidemill.client import Client
from tidemill.learn.features import TRAIN
from tidemill.learn.persistence import to_bytes
from tidemill.store.tables import TableStore

from .conftest import Box, until

pytestmark = pytest.mark.services


def test_a_sent_model_becomes_a_challenger_and_answers_once_promoted(
    box: Box, client: Client, tmp_path: Path
) -> None:
    features = TableStore(box.home.tables("breast_cancer")).current("features")
    assert features is not None
    rows = features.to_pandas()
    rows = rows[rows["_split"] == TRAIN]
    names = [
        name for name in rows.columns if not name.startswith("_") and rows[name].dtype == np.dtype("float64")
    ]
    model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=40, random_state=1))
    model.fit(rows[names].astype(np.float64), rows["_label"].astype(str).to_numpy(dtype=str))
    file = tmp_path / "bought.skops"
    file.write_bytes(to_bytes(model))

    sent = client.import_model("breast_cancer", file)
    assert sent["status"] == "received"
    taken = until(
        lambda: (found := client.model_import("breast_cancer", sent["id"]))["status"] != "received" and found,
        "the model to be looked at",
        60,
    )
    assert taken["problem"] is None, taken["problem"]
    assert taken["status"] == "accepted"
    version = taken["model_version"]
    before = client.deployment("breast_cancer")
    assert version not in (None, before["champion"])
    found = client.model("breast_cancer", version)
    assert found["gate"] is not None
    assert found["gate"]["passed"]
    client.deploy("breast_cancer", version, "journey", before["revision"])
    record = rows.iloc[0].drop([name for name in rows.columns if name.startswith("_")]).to_dict()
    answer = client.predict("breast_cancer", record)
    assert answer["model_version"] == version
    client.rollback("breast_cancer", "journey")
