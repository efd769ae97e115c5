from typing import Any

import pandas as pd
import pytest
from fastapi import FastAPI

from api.overview import next_step
from tidemill.client import ApiError, Client
from tidemill.home import Home
from tidemill.monitor.alerts import raise_alert
from tidemill.store.tables import TableStore

COUNTS: dict[str, Any] = {
    "rows": 10,
    "dataset_version": 1,
    "models": 1,
    "champion": 1,
    "predictions": 5,
    "truths": 5,
    "open_alerts": 0,
    "open_tasks": 0,
    "unlabelled": False,
}


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"rows": None}, "upload"),
        ({"models": 0, "champion": None}, "train"),
        ({"champion": None}, "train"),
        ({"predictions": 0}, "predict"),
        ({"truths": 0}, "send_truth"),
        ({"open_alerts": 2}, "look_at_alerts"),
        ({"open_tasks": 1}, "label"),
        ({"unlabelled": True, "models": 0, "champion": None}, "label"),
        ({}, "all_well"),
    ],
)
def test_there_is_one_next_step(changes: dict[str, Any], action: str) -> None:
    step = next_step("pets", COUNTS | changes, None, "/home/inbox/pets")
    assert step["action"] == action
    assert step["text"].endswith((".", "target."))


def test_a_project_from_nothing_to_data(client: Client, home: Home) -> None:
    found = client.projects()
    assert [(one["name"], one["title"], one["rows"]) for one in found] == [("pets", "Pets", None)]
    assert str(home.inbox("pets")) in found[0]["next_step"]["text"]
    frame = pd.DataFrame({"_row": ["p1"], "weight": [float("nan")], "born": [pd.Timestamp("2020-01-01")]})
    TableStore(home.tables("pets")).publish_frame("raw", frame)
    assert client.projects()[0]["rows"] == 1
    assert client.projects()[0]["next_step"]["action"] == "train"
    assert [table["name"] for table in client.tables("pets")] == ["raw"]
    assert client.table("pets", "raw") == {
        "table": "raw",
        "version": 1,
        "columns": ["_row", "weight", "born"],
        "rows": [["p1", None, "2020-01-01T00:00:00"]],
    }


def test_details_come_from_the_file(client: Client) -> None:
    found = client.project("pets")
    weight = next(column for column in found["columns"] if column["name"] == "weight")
    assert (weight["type"], weight["min"], weight["max"], weight["nulls"]) == ("float", 0, 100, False)
    assert found["training"]["metric"] == "roc_auc"
    assert found["labels"]["positive"] == "yes"


def test_a_broken_project_file_is_a_problem_not_an_error(client: Client, home: Home) -> None:
    home.project_file("pets").write_text("name: pets\ntask: nonsense\n")
    found = client.project("pets")
    assert found["problem"] is not None
    assert "line 2, task" in found["problem"]
    assert found["columns"] == []
    assert "Mend" in found["next_step"]["text"]


def test_alerts_are_shown_and_acknowledged(app: FastAPI, client: Client) -> None:
    raise_alert(
        app.state.context.state, "pets", "drift", "model 1", "4 columns have drifted", "warning", {"n": 4}
    )
    assert client.projects()[0]["open_alerts"] == 1
    (alert,) = client.alerts("pets", state="open")
    assert alert["detail"] == {"n": 4}
    assert client.acknowledge("pets", alert["id"])["state"] == "acknowledged"
    assert client.alerts("pets", state="open") == []
    assert len(client.alerts("pets")) == 1
    with pytest.raises(ApiError, match="There is no"):
        client.acknowledge("pets", 999)


def test_a_store_that_cannot_be_read_is_its_projects_problem_only(client: Client, home: Home) -> None:
    pointer = home.tables("pets") / "raw" / "current.json"
    pointer.parent.mkdir(parents=True)
    pointer.write_text("{")
    (found,) = client.projects()
    assert found["problem"] is not None
    assert "pointer of table raw" in found["problem"]
