from typing import Any

import pytest
from fastapi import FastAPI

from tidemill.client import ApiError, Client
from tidemill.home import Home
from tidemill.serve.deployment import deploy

SICK = {"weight": 19.0}


def test_without_models(client: Client) -> None:
    assert client.models("pets") == {"models": [], "champion": None}
    assert client.deployment("pets")["revision"] == 0
    with pytest.raises(ApiError) as caught:
        client.predict("pets", SICK)
    assert (caught.value.status, caught.value.is_retryable) == (503, True)


@pytest.mark.usefixtures("deployed")
def test_models_newest_first_with_the_live_one(client: Client) -> None:
    found = client.models("pets")
    assert [(model["version"], model["champion"]) for model in found["models"]] == [(2, False), (1, True)]
    assert found["champion"] == 1
    model = client.model("pets", 1)
    assert model["gate"] is not None
    assert model["gate"]["passed"]
    assert {"value", "low", "high"} <= set(model["metrics"]["roc_auc"])
    assert model["candidates"][0]["chosen"]
    assert model["card"].startswith("#")
    assert (model["classes"], model["positive"], model["threshold"]) == (["no", "yes"], "yes", 0.5)


@pytest.mark.usefixtures("models")
def test_the_card_is_a_page_or_markdown(client: Client, home: Home) -> None:
    page = client.model_card("pets", 1)
    assert page.startswith("<!doctype html>")
    assert client.model_card("pets", 1, "markdown") == client.model("pets", 1)["card"]
    with pytest.raises(ApiError) as caught:
        client.model_card("pets", 99)
    assert caught.value.status == 404
    (home.models("pets") / "1" / "card.html").unlink()
    with pytest.raises(ApiError, match="no card as a page") as caught:
        client.model_card("pets", 1)
    assert caught.value.status == 404


@pytest.mark.usefixtures("models")
def test_deploying_by_hand_and_going_back(client: Client) -> None:
    done = client.deploy("pets", 1, "first", expected_revision=0)
    assert (done["champion"], done["revision"]) == (1, 1)
    with pytest.raises(ApiError, match="has not passed its gate") as caught:
        client.deploy("pets", 2, "hopeful")
    assert caught.value.status == 409
    assert "minimum roc_auc" in caught.value.detail
    assert client.deploy("pets", 2, "I know better", 1, despite_gate=True)["previous"] == 1
    assert client.predict("pets", SICK)["model_version"] == 2
    back = client.rollback("pets", "I did not")
    assert back["champion"] == 1
    assert [event["action"] for event in back["history"]] == ["rollback", "deploy", "deploy"]
    assert back["history"][0]["actor"] == "owner"
    assert client.predict("pets", SICK)["model_version"] == 1
    with pytest.raises(ApiError, match="no earlier model"):
        client.rollback("pets", "further")


@pytest.mark.usefixtures("models")
def test_the_loser_of_a_race_is_told(client: Client) -> None:
    client.deploy("pets", 1, "first", expected_revision=0)
    with pytest.raises(ApiError, match="changed meanwhile") as caught:
        client.deploy("pets", 2, "late", expected_revision=0, despite_gate=True)
    assert (caught.value.status, caught.value.problem["revision"]) == (409, 1)


@pytest.mark.usefixtures("models")
def test_no_such_model(client: Client) -> None:
    for act in (lambda: client.model("pets", 9), lambda: client.deploy("pets", 9, "x")):
        with pytest.raises(ApiError, match="There is no model 9"):
            act()


def test_a_broken_bundle_is_not_deployed(client: Client, models: Any) -> None:
    (models / "1" / "model.skops").write_bytes(b"not what was written")
    with pytest.raises(ApiError, match="is not what was written"):
        client.deploy("pets", 1, "x")
    assert client.deployment("pets")["champion"] is None


@pytest.mark.usefixtures("models")
def test_a_deployment_by_another_process_is_followed(app: FastAPI, client: Client, home: Home) -> None:
    deploy(app.state.context.state, "pets", 1, actor="dagster", reason="gate passed")
    assert client.predict("pets", SICK)["model_version"] == 1
    assert home.models("pets").is_dir()
