"""Predictions that people labelled: rows to learn from, and ground truth, once."""

import uuid

import pandas as pd
import pytest

from tidemill.home import Home
from tidemill.labels.production import all_rows, prediction_of, production_rows, report_truths, row_of
from tidemill.learn.features import build_features
from tidemill.monitor.performance import Quality
from tidemill.monitor.watch import quality_of
from tidemill.project import Project
from tidemill.store.events import EventLog
from tidemill.store.history import recent
from tidemill.store.state import now
from tidemill.store.tables import TableStore

FILE = """\
name: ward
task: binary
columns:
  patient: {type: string, role: id}
  age: {type: integer, min: 0, max: 120}
  site: {type: category, values: [north, south]}
  seen: {type: date}
  asked: {type: datetime, role: time}
  ill: {type: boolean, role: target, optional: true}
labels: built-in
training: {split: {kind: time}}
"""


@pytest.fixture
def project(home: Home) -> Project:
    file = home.project_file("ward")
    file.parent.mkdir(parents=True)
    file.write_text(FILE)
    return Project.load(file)


def predict(home: Home, *inputs: dict[str, object], entity: str | None = None) -> list[str]:
    events = [
        {
            "id": str(uuid.uuid4()), "at": now(), "project": "ward", "model_version": 1, "role": "champion",
            "request_id": "r", "entity_id": entity, "input": given, "label": "true", "score": 0.6,
            "probabilities": {"false": 0.4, "true": 0.6}, "flags": [], "latency_ms": 1.0,
        }
        for given in inputs
    ]  # fmt: skip
    log = EventLog(home, "ward", "predictions")
    log.append(events)
    log.close()
    return [str(event["id"]) for event in events]


GIVEN = {"age": 50, "site": "north", "seen": "2026-04-30"}


def test_row_keys_name_their_prediction() -> None:
    assert prediction_of(row_of("abc")) == "abc"
    assert prediction_of("abc") is None


def test_a_labelled_prediction_becomes_a_row_typed_as_the_data_is(home: Home, project: Project) -> None:
    first, second, _ = predict(home, GIVEN, {"age": None, "site": "south", "seen": None}, GIVEN)
    found = production_rows(home, project, [row_of(second), row_of(first), "r1", row_of(str(uuid.uuid4()))])
    assert found["_row"].to_pylist() == sorted([row_of(first), row_of(second)])
    assert [str(found.schema.field(name).type) for name in ("age", "seen", "asked")] == [
        "int64",
        "date32[day]",
        "timestamp[us]",
    ]
    assert found["asked"].null_count == 0


def test_what_the_contract_refuses_now_and_what_is_in_the_data_is_left_out(
    home: Home, project: Project
) -> None:
    (wrong,) = predict(home, {"age": "old", "site": "north"})
    (known,) = predict(home, GIVEN, entity="p7")
    assert production_rows(home, project, [row_of(wrong), row_of(known)], ["p7"]).num_rows == 0
    assert production_rows(home, project, [row_of(known)], ["p8"]).num_rows == 1


def test_features_are_made_of_both(home: Home, project: Project) -> None:
    import pyarrow as pa

    from tidemill.data.accept import raw_schema

    store = TableStore(home.tables("ward"))
    moment = pd.Timestamp("2026-01-01").to_pydatetime()
    row = {
        "_row": "p1",
        "_file": "f",
        "_line": 2,
        "patient": "p1",
        "age": 7,
        "site": "north",
        "asked": moment,
    }
    raw = store.publish_frame("raw", pa.Table.from_pylist([row], schema=raw_schema(project)))
    ids = predict(home, GIVEN, {**GIVEN, "age": 51})
    rows = production_rows(home, project, map(row_of, ids))
    production = store.publish_frame("production_rows", rows)
    labels = pd.DataFrame({"_row": ["p1", *map(row_of, ids)], "label": ["true", "false", "true"]})
    built = build_features(all_rows(raw, production).to_pandas(), labels, project)
    assert sorted(built["age"]) == [7, 50, 51]
    # The split by time knows when production rows came: they are the newest.
    assert set(built.loc[built["_split"] == "test", "_row"]) <= set(map(row_of, ids))
    assert all_rows(raw, None).num_rows == 1


def test_labels_are_ground_truth_of_their_predictions_once(home: Home, project: Project) -> None:
    one, two = predict(home, GIVEN, GIVEN)
    labels = pd.DataFrame({"_row": [row_of(one), row_of(two), "p1"], "label": ["true", "false", "true"]})
    assert report_truths(home, "ward", labels) == 2
    assert report_truths(home, "ward", labels) == 0
    found: Quality = quality_of(home, project)
    assert (found.rows, found.matched, found.unknown_labels) == (2, 2, 0)
    changed = labels.assign(label=["false", "false", "true"])
    assert report_truths(home, "ward", changed) == 1
    assert report_truths(home, "ward", changed) == 0
    assert len(recent(home, "ward", "ground_truth")) == 3
    assert report_truths(home, "ward", labels.iloc[2:]) == 0
