"""Idempotency-Key on routes that do nothing of their own about it; tests/api/test_training.py has the others."""

import httpx
import pytest
from fastapi import FastAPI

from tidemill.ops.keys import create_key

PETS = "/v1/projects/pets"
RECORD = {"kind": "cat", "weight": 3.0}
KEYED = {"Idempotency-Key": "k-1"}

pytestmark = pytest.mark.usefixtures("deployed")


def test_a_prediction_asked_for_again_is_the_same_one(http: httpx.Client) -> None:
    assert http.post(f"{PETS}/predictions", json=RECORD).status_code == 200  # the short way is open now
    first = http.post(f"{PETS}/predictions", json=RECORD, headers=KEYED)
    again = http.post(f"{PETS}/predictions", json=RECORD, headers=KEYED)
    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(http.get(f"{PETS}/predictions").json()["predictions"]) == 2


def test_another_body_or_query_under_the_same_key_is_refused(http: httpx.Client) -> None:
    assert http.post(f"{PETS}/predictions", json=RECORD, headers=KEYED).status_code == 200
    for path, record in (
        (f"{PETS}/predictions", {**RECORD, "weight": 4.0}),
        (f"{PETS}/predictions?explain=true", RECORD),
    ):
        refused = http.post(path, json=record, headers=KEYED)
        assert (refused.status_code, refused.json()["title"]) == (
            422,
            "That Idempotency-Key stands for another request",
        )


def test_a_change_of_what_answers_is_made_once(http: httpx.Client) -> None:
    asked = {"reason": "better", "despite_gate": True}
    first = http.post(f"{PETS}/models/2/deploy", json=asked, headers=KEYED)
    again = http.post(f"{PETS}/models/2/deploy", json=asked, headers=KEYED)
    assert first.status_code == again.status_code == 200, first.text
    assert first.json()["revision"] == again.json()["revision"]
    assert http.get(f"{PETS}/deployment").json()["revision"] == first.json()["revision"]


def test_what_was_refused_may_be_tried_again_with_its_key(http: httpx.Client) -> None:
    assert http.post(f"{PETS}/predictions", json={"weight": "heavy"}, headers=KEYED).status_code == 422
    assert http.post(f"{PETS}/predictions", json={"weight": "heavy"}, headers=KEYED).status_code == 422


def test_a_replay_needs_the_right_too(app: FastAPI, http: httpx.Client) -> None:
    assert http.post(f"{PETS}/rollback", json={"reason": "x"}, headers=KEYED).status_code == 409
    key = create_key(app.state.context.state, "looker")
    app.state.context.keys.renew()
    looker = {"Authorization": f"Bearer {key}", **KEYED}
    assert http.post(f"{PETS}/rollback", json={"reason": "x"}, headers=looker).status_code == 403
    stranger = {"Authorization": "Bearer tm_x", **KEYED}
    assert http.post(f"{PETS}/rollback", json={"reason": "x"}, headers=stranger).status_code == 401


@pytest.mark.parametrize("key", ["two words", "x" * 201])
def test_a_key_that_is_none_is_refused(http: httpx.Client, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    refused = http.post(f"{PETS}/predictions", json=RECORD, headers=headers)  # type: ignore[arg-type]
    assert (refused.status_code, refused.json()["title"]) == (422, "That Idempotency-Key cannot be used")


def test_every_post_says_that_it_takes_a_key_or_is_known_by_its_content(app: FastAPI) -> None:
    without = {
        path.removeprefix("/v1/projects/{project}")
        for path, methods in app.openapi()["paths"].items()
        if "post" in methods
        and all(each["name"].lower() != "idempotency-key" for each in methods["post"].get("parameters", []))
    }
    by_content = {"/files", "/records", "/uploads", "/models/imports", "/batch-predictions"}
    tickets = {"/label-studio/link", "/label-studio/webhook", "/v1/mlflow/link"}
    assert without == by_content | tickets
