"""Labelling over the API: a round, tasks one by one, answers, and how it stands."""

import numpy as np
import pandas as pd
import pytest

from tests.api.conftest import PROJECT, add_project
from tidemill.client import ApiError, Client
from tidemill.home import Home
from tidemill.store.tables import TableStore


@pytest.fixture
def pets(client: Client, home: Home) -> Client:
    """Forty pets, ten of them labelled; people label the others."""
    add_project(home, PROJECT.replace("labels: {", "labels: {kind: built-in, annotators: 2, "))
    rng = np.random.default_rng(1)
    names = [f"p{index}" for index in range(40)]
    weight = rng.uniform(1, 20, 40)
    frame = pd.DataFrame(
        {
            "_row": names,
            "pet_id": names,
            "kind": "cat",
            "weight": weight,
            "age": 3,
            "chipped": True,
            "born": pd.Timestamp("2020-01-01").date(),
            "sick": [("yes" if weight[index] > 10 else "no") if index < 10 else None for index in range(40)],
        }
    )
    TableStore(home.tables("pets")).publish_frame("raw", frame)
    return client


def test_a_round_is_answered_row_by_row(pets: Client) -> None:
    assert pets.labelling("pets")["tasks"] == 0
    assert pets.projects()[0]["next_step"]["action"] == "label"
    started = pets.start_round("pets", budget=3, strategy="random")
    assert (started["round"], started["tasks"]) == (1, 3)

    first = pets.next_task("pets", "ada")
    assert first["task"] is not None
    assert (first["open"], first["tasks"]) == (3, 3)
    assert list(first["task"]["fields"]) == ["pet_id", "kind", "weight", "age", "chipped", "born"]
    row = first["task"]["row"]

    given = pets.answer("pets", row, "yes", "ada", 4.5)
    assert (given["label"], given["origin"], given["lead_seconds"]) == ("yes", "manual", 4.5)
    assert pets.answer("pets", row, "no", "ada")["id"] == given["id"]
    assert pets.answer("pets", row, "no", "bob")["label"] == "no"

    found = pets.labelling("pets")
    assert (found["kind"], found["classes"], found["annotators_wanted"]) == ("built-in", ["no", "yes"], 2)
    assert (found["answers"], found["finished"], found["by_annotator"]) == (2, 1, {"ada": 1, "bob": 1})
    assert found["rounds"][0]["reasons"] == started["reasons"]
    assert pets.projects()[0]["next_step"]["text"].startswith("2 rows wait")


def test_a_row_is_skipped_and_an_answer_taken_back(pets: Client) -> None:
    pets.start_round("pets", budget=1)
    task = pets.next_task("pets", "ada")["task"]
    assert task is not None
    assert pets.answer("pets", task["row"], None, "ada")["label"] is None
    assert pets.next_task("pets", "ada")["task"] is None
    assert pets.labelling("pets")["skipped"] == 1
    undone = pets.undo_answer("pets", "ada")
    assert undone is not None
    assert undone["row"] == task["row"]
    assert pets.next_task("pets", "ada")["task"] == task
    assert pets.undo_answer("pets", "ada") is None


def test_agreement_and_people_are_told(pets: Client) -> None:
    pets.start_round("pets", budget=8)
    for number in range(8):
        task = pets.next_task("pets", "ada")["task"]
        assert task is not None
        pets.answer("pets", task["row"], "yes" if number % 2 else "no", "ada", 2.0)
        pets.answer("pets", task["row"], "yes" if number % 2 or number == 4 else "no", "bob", 3.0)
    names = {found["name"]: found for found in pets.agreement("pets")}
    assert set(names) == {"krippendorff_alpha_nominal", "fleiss_kappa", "cohen_kappa"}
    assert names["cohen_kappa"]["value"] == pytest.approx(0.75)
    assert names["cohen_kappa"]["annotators"] == ["ada", "bob"]
    ada, bob = pets.annotators("pets")
    assert (ada["answers"], ada["median_seconds"], bob["agreement"]) == (8, 2.0, 7 / 8)
    assert pets.label_stability("pets")["stop"] is False


@pytest.mark.parametrize(
    ("label", "words"), [("maybe", "one of no, yes"), (7, "one of no, yes"), ("", "one of no, yes")]
)
def test_an_answer_that_is_no_label_is_refused(pets: Client, label: object, words: str) -> None:
    pets.start_round("pets", budget=1)
    task = pets.next_task("pets", "ada")["task"]
    assert task is not None
    with pytest.raises(ApiError) as refused:
        pets.answer("pets", task["row"], label, "ada")  # type: ignore[arg-type]
    assert refused.value.status == 422
    assert words in refused.value.detail
    assert pets.labelling("pets")["answers"] == 0


def test_a_row_nobody_asked_about_is_refused(pets: Client) -> None:
    with pytest.raises(ApiError) as refused:
        pets.answer("pets", "p39", "yes", "ada")
    assert refused.value.status == 422


def test_where_labels_are_a_column_nobody_is_asked(client: Client) -> None:
    assert client.labelling("pets")["kind"] == "column"
    for ask in (lambda: client.next_task("pets", "ada"), lambda: client.start_round("pets")):
        with pytest.raises(ApiError) as refused:
            ask()
        assert refused.value.status == 409
        assert "built-in" in refused.value.remedy
