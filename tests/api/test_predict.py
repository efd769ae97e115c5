import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tidemill.client import ApiError, Client
from tidemill.home import Home
from tidemill.ops.keys import create_key
from tidemill.store.history import count

PETS = "/v1/projects/pets"
SICK = {"pet_id": "p1", "kind": "cat", "weight": 19.0, "age": 3, "chipped": True, "born": "2020-01-01"}
WELL = {**SICK, "pet_id": "p2", "weight": 2.0}

pytestmark = pytest.mark.usefixtures("deployed")


def test_one_record(client: Client) -> None:
    answer = client.predict("pets", SICK)
    assert answer["label"] == "yes"
    assert answer["score"] is not None
    assert answer["probabilities"] == pytest.approx({"yes": answer["score"], "no": 1 - answer["score"]})
    assert answer["model_version"] == 1
    assert client.predict("pets", WELL)["label"] == "no"


def test_many_records_in_both_forms(client: Client, http: httpx.Client) -> None:
    answers = client.predict_many("pets", [SICK, WELL])
    assert [answer["label"] for answer in answers] == ["yes", "no"]
    listed = http.post(f"{PETS}/predictions", json=[SICK, WELL]).json()["predictions"]
    assert [answer["label"] for answer in listed] == ["yes", "no"]


def test_what_was_answered_is_in_the_log(client: Client, http: httpx.Client, home: Home) -> None:
    answer = http.post(f"{PETS}/predictions", json=SICK, headers={"X-Request-Id": "r-1"}).json()
    found = client.prediction("pets", answer["id"])
    assert (found["request_id"], found["entity_id"]) == ("r-1", "p1")
    assert found["input"] == {key: value for key, value in SICK.items() if key != "pet_id"}
    assert found["label"] == answer["label"]
    assert found["truth"] is None
    newest = client.predictions("pets", limit=1)
    assert [one["id"] for one in newest] == [answer["id"]]
    assert count(home, "pets", "predictions") == 1


def test_faults_name_record_and_field_and_nothing_is_logged(client: Client, home: Home) -> None:
    with pytest.raises(ApiError) as caught:
        client.predict_many("pets", [SICK, {**SICK, "weight": "heavy", "knd": "cat"}])
    error = caught.value
    assert error.status == 422
    assert {(one["record"], one["field"]) for one in error.problem["faults"]} == {(1, "weight"), (1, "knd")}
    assert "kind" in str(error.problem["faults"])
    assert count(home, "pets", "predictions") == 0


def test_one_bad_record_keeps_no_other_from_its_answer_when_parts_are_asked_for(
    client: Client, home: Home
) -> None:
    bad = [{**SICK, "weight": "heavy", "knd": "cat"}, 5, {}]
    found = client.predict_each("pets", [SICK, *bad, WELL])
    assert found["errors"] == 3
    assert [one["status"] for one in found["predictions"]] == [200, 422, 422, 422, 200]
    first, second, third, fourth, last = found["predictions"]
    assert (first["label"], last["label"]) == ("yes", "no")  # type: ignore[typeddict-item]
    assert {fault["field"] for fault in second["faults"]} == {"weight", "knd"}  # type: ignore[typeddict-item]
    assert third["faults"][0]["field"] == ""  # type: ignore[typeddict-item]
    assert fourth["faults"][0]["message"] == "a value is required"  # type: ignore[typeddict-item]
    logged = {one["id"] for one in client.predictions("pets")}
    assert logged == {first["id"], last["id"]}  # type: ignore[typeddict-item]
    everything = client.predict_each("pets", bad)
    assert (everything["errors"], len(everything["predictions"])) == (3, 3)
    assert count(home, "pets", "predictions") == 2


def test_one_record_has_no_parts(http: httpx.Client) -> None:
    assert "status" not in http.post(f"{PETS}/predictions?partial=true", json=SICK).json()
    assert http.post(f"{PETS}/predictions?partial=true", json={"weight": "x"}).status_code == 422


def test_an_answer_can_be_explained(client: Client, http: httpx.Client) -> None:
    plain, answer = client.predict("pets", SICK), client.predict("pets", SICK, explain=True)
    assert "explanation" not in plain
    found = answer["explanation"]
    assert (found["label"], found["unit"], found["calibrated"]) == ("yes", "log-odds", False)
    assert set(found["contributions"]) == {"kind", "weight", "age", "chipped", "born"}
    assert found["margin"] == pytest.approx(found["base_value"] + sum(found["contributions"].values()))
    assert answer["score"] == pytest.approx(1 / (1 + math.exp(-found["margin"])))
    assert max(found["contributions"], key=lambda name: abs(found["contributions"][name])) == "weight"
    first, second = client.predict_many("pets", [SICK, WELL], explain=True)
    assert first["explanation"] == found
    assert second["explanation"]["contributions"]["weight"] < 0
    parts = http.post(f"{PETS}/predictions?explain=true&partial=true", json=[WELL, {}]).json()["predictions"]
    assert parts[0]["explanation"] == second["explanation"]
    assert "explanation" not in client.prediction("pets", answer["id"])


def test_a_model_without_a_compiled_form_says_that_it_cannot_explain(
    models: Path, app: FastAPI, client: Client, home: Home
) -> None:
    file = models / "1" / "bundle.json"
    document = json.loads(file.read_text())
    del document["files"]["scorer.npz"]
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(document))
    aside.replace(file)  # the application may be reading it
    app.state.context._services.clear()  # or have read it
    assert client.predict("pets", SICK)["label"] == "yes"
    with pytest.raises(ApiError, match="not available for this model") as caught:
        client.predict("pets", SICK, explain=True)
    assert (caught.value.status, caught.value.problem["type"]) == (
        409,
        "urn:tidemill:problem:not-explainable",
    )
    assert count(home, "pets", "predictions") == 1


@pytest.mark.parametrize("query", ["explain=maybe", "partial=2", "explain="])
def test_a_wrong_wish_is_told(http: httpx.Client, query: str) -> None:
    assert http.post(f"{PETS}/predictions?{query}", json=SICK).status_code == 422


def test_frames_with_holes_can_be_sent(client: Client) -> None:
    assert client.predict("pets", {**SICK, "age": float("nan")})["label"] == "yes"


def test_no_more_records_than_the_setting(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.predict_many("pets", [SICK] * 51)
    assert (caught.value.status, caught.value.problem["limit"]) == (413, 50)


def test_no_such_prediction(client: Client) -> None:
    for name in ("x", "6f9c2d0e-6f0c-4c57-9a55-0f3b8c7b0a11", "' OR 1=1 --"):
        with pytest.raises(ApiError, match="There is no such prediction"):
            client.prediction("pets", name)


def test_predictions_and_log_writes_are_counted(client: Client, http: httpx.Client) -> None:
    client.predict_many("pets", [SICK, WELL])
    text = http.get("/metrics").text
    assert 'tidemill_predictions_total{model_version="1",project="pets"} 2.0' in text
    assert 'tidemill_log_append_seconds_count{project="pets"} 1.0' in text


def test_truth_by_prediction_and_by_entity(client: Client) -> None:
    first, second = client.predict_many("pets", [SICK, WELL])
    assert client.send_truth("pets", "yes", prediction_id=first["id"]) == {
        "accepted": 1,
        "matched": 1,
        "unmatched": 0,
    }
    receipt = client.send_truths(
        "pets", [{"entity_id": "p2", "label": "no"}, {"entity_id": "stranger", "label": "no"}]
    )
    assert receipt == {"accepted": 2, "matched": 1, "unmatched": 1}
    truth = client.prediction("pets", first["id"])["truth"]
    assert truth is not None
    assert (truth["label"], truth["source"], truth["matched_by"]) == ("yes", "owner", "prediction")
    other = client.prediction("pets", second["id"])["truth"]
    assert other is not None
    assert (other["label"], other["matched_by"]) == ("no", "entity")
    quality = client.quality("pets")
    assert (quality["rows"], quality["matched"]) == (2, 2)
    assert quality["metrics"]["accuracy"]["value"] == 1.0


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"entity_id": "p1", "label": "maybe"}, "one of no, yes"),
        ({"entity_id": "p1", "label": True}, "one of no, yes"),
        ({"label": "yes"}, "name the prediction"),
        ({"entity_id": "p1", "prediction_id": "x", "label": "yes"}, "name the prediction"),
        ({"prediction_id": "x", "label": "yes"}, "not the id of a prediction"),
        ({"entity_id": "p1", "label": "yes", "observed_at": "soon"}, "it must be a time"),
        ({"entity_id": "p1", "label": ["yes"]}, "label"),
        ({"entity_id": "p1", "label": "yes", "extra": 1}, "no such field"),
    ],
)
def test_truths_that_cannot_be_taken(client: Client, home: Home, truth: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        client.send_truths("pets", [{"entity_id": "p1", "label": "yes"}, truth])  # type: ignore[list-item]
    assert caught.value.status == 422
    assert message in str(caught.value.problem["faults"])
    assert {fault["truth"] for fault in caught.value.problem["faults"]} == {1}
    assert count(home, "pets", "ground_truth") == 0


def test_a_revoked_key_is_refused(app: FastAPI, http: httpx.Client) -> None:
    state = app.state.context.state
    robot = {"Authorization": f"Bearer {create_key(state, 'robot')}"}
    app.state.context.keys._read_at = float("-inf")
    assert http.get("/v1/projects", headers=robot).status_code == 200
    from tidemill.ops.keys import revoke_key

    revoke_key(state, "robot")
    app.state.context.keys._read_at -= 5.0
    assert http.get("/v1/projects", headers=robot).status_code == 401


def test_a_full_disk_is_a_507(app: FastAPI, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemill.errors import StorageFull

    def full(_: object) -> None:
        raise StorageFull("The disk is full", detail="log", remedy="Free some space.")

    http.post(f"{PETS}/predictions", json=SICK)
    monkeypatch.setattr(app.state.context.log("pets", "predictions"), "write", full)
    answer = http.post(f"{PETS}/predictions", json=SICK)
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:tidemill:problem:storage-full")
    assert "retry-after" in answer.headers
