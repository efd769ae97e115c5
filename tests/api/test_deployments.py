"""Changing what answers, over HTTP."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tidemill.client import ApiError, Client
from tidemill.store.sql import query


@pytest.mark.usefixtures("deployed")
def test_a_challenger_through_its_stages(client: Client) -> None:
    found = client.shadow("pets", 2, "to compare", expected_revision=1)
    assert found["challenger"] == {
        "version": 2,
        "stage": "shadow",
        "percent": None,
        "paused": False,
        "since": 2,
        "since_at": found["changed_at"],
    }
    with pytest.raises(ApiError, match="has not passed its gate"):
        client.canary("pets", 2, "hopeful")
    found = client.canary("pets", 2, "all the same", 2, despite_gate=True)
    assert found["challenger"] is not None
    assert found["challenger"]["percent"] == 10  # project.yaml's
    found = client.pause("pets", "a holiday", 3)
    assert found["challenger"] is not None
    assert found["challenger"]["paused"]
    client.resume("pets", "back", 4)
    with pytest.raises(ApiError, match="changed meanwhile") as caught:
        client.withdraw("pets", "late", 4)
    told: Any = caught.value.problem
    assert caught.value.status == 409
    assert (told["changed_by"], told["revision"], told["champion"]) == ("owner", 5, 1)
    assert told["reason"] == "back"
    found = client.withdraw("pets", "enough", 5)
    assert (found["champion"], found["challenger"]) == (1, None)
    assert [event["action"] for event in found["history"]] == [
        "withdraw",
        "resume",
        "pause",
        "canary",
        "shadow",
        "deploy",
    ]
    with pytest.raises(ApiError, match="no challenger"):
        client.pause("pets", "nothing")


@pytest.mark.usefixtures("deployed")
def test_what_cannot_challenge(client: Client) -> None:
    with pytest.raises(ApiError, match="There is no model 9"):
        client.shadow("pets", 9, "x")
    with pytest.raises(ApiError, match="champion already"):
        client.canary("pets", 1, "x")
    with pytest.raises(ApiError, match="right shape"):
        client.canary("pets", 2, "x", percent=101, despite_gate=True)


@pytest.mark.usefixtures("deployed")
def test_a_compiled_canary_answers_the_same_entities_on_both_ways(
    app: FastAPI, client: Client, http: httpx.Client
) -> None:
    """One record takes the short way, a list the ordinary one."""
    client.canary("pets", 2, "a half", percent=50, despite_gate=True)
    app.state.context.service("pets").follow()
    app.state.context.keys.renew()
    records = [{"pet_id": f"p{number}", "weight": 10.0} for number in range(40)]
    one_by_one = [client.predict("pets", record) for record in records]
    at_once = client.predict_many("pets", records)
    roles = [(one["role"], one["model_version"]) for one in one_by_one]
    assert roles == [(one["role"], one["model_version"]) for one in at_once]
    assert set(roles) == {("champion", 1), ("canary", 2)}
    logged = {event["id"]: event["role"] for event in client.predictions("pets", limit=1000)}
    assert {one["id"]: one["role"] for one in [*one_by_one, *at_once]} == logged
    assert http.post("/v1/projects/pets/predictions", json={"weight": "x"}).status_code == 422


@pytest.mark.usefixtures("deployed")
def test_a_compiled_canary_that_breaks_is_answered_for(
    app: FastAPI, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.canary("pets", 2, "everyone", percent=100, despite_gate=True)
    service = app.state.context.service("pets")
    service.follow()
    app.state.context.keys.renew()

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("of the canary")

    live = service.canary_for([{}], "r").live
    monkeypatch.setattr(live.plain, "_one", broken)
    monkeypatch.setattr(live.scorer, "score", broken)
    answers = [client.predict("pets", {"pet_id": "p1", "weight": 1.0})]
    answers += client.predict_many("pets", [{"pet_id": "p2", "weight": 1.0}])
    assert [(one["role"], one["model_version"]) for one in answers] == [("champion", 1)] * 2
    found = query(
        app.state.context.home, "pets", "SELECT prediction_id, error FROM challenger ORDER BY logged_at"
    )
    assert found.rows == [[one["id"], "ZeroDivisionError: of the canary"] for one in answers]
