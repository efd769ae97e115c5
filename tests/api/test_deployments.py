"""Changing what answers, over HTTP."""

from typing import Any

import pytest

from tidemill.client import ApiError, Client


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
