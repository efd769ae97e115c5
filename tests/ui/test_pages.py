"""Every page through Streamlit's own test runner: without data, with data, without an API, with a failing one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_api import AT, CHALLENGER, FakeApi, Problem, comparison, file_record, inbox_source
from streamlit.testing.v1 import AppTest

from ui import client

OpenPage = Callable[..., AppTest]
TextOf = Callable[[AppTest], str]

PAGES = ("overview", "data", "label", "training", "models", "predict", "batch", "monitor")
WHEN_EMPTY = {
    "overview": "Send a CSV or Excel file",
    "data": "No table yet",
    "label": "There is no data to label yet",
    "training": "There is no data to learn from yet",
    "models": "No model yet",
    "predict": "No model is live",
    "batch": "No model is live",
    "monitor": "No drift report yet",
}
WHEN_FILLED = {
    "overview": ["Breast cancer", "Wine cultivars", "369 rows, version 2", "One alert is open", "version 2"],
    "data": ["Rows 369", "mean_radius"],
    "label": ["Look at the radius first", "300 of 369", "2 uncertain", "With your name"],
    "training": ["Random forest", "Evaluation", "All held-out test rows have the same label"],
    "models": ["Version 2", "0.991", "Passed", "better on held-out rows", "Dummy model"],
    "predict": ["usual value"],
    "batch": ["Score the file"],
    "monitor": ["The inputs have drifted", "Drift", "mean_radius", "The model's answers", "ROC AUC", "Worse"],
}


def primary_buttons(app: AppTest) -> list[str]:
    return [button.label for button in app.button if button.proto.type == "primary"]


@pytest.mark.parametrize("name", PAGES)
def test_page_without_data_says_what_to_do(
    name: str, fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.__dict__.update(FakeApi.empty().__dict__)

    app = open_page(name)

    assert not app.exception
    assert not app.error
    assert WHEN_EMPTY[name] in text_of(app)


@pytest.mark.parametrize("name", PAGES)
def test_page_with_data_shows_it(name: str, open_page: OpenPage, text_of: TextOf) -> None:
    app = open_page(name)

    assert not app.exception
    assert not app.error
    said = text_of(app)
    assert [part for part in WHEN_FILLED[name] if part not in said] == []
    assert len(primary_buttons(app)) <= 1
    assert len(app.metric) <= 4


@pytest.mark.parametrize("name", PAGES)
def test_page_without_api_says_how_to_start_it(
    name: str, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(name)
    monkeypatch.setenv("TIDEMILL_API_URL", "http://127.0.0.1:9")

    app.run()

    assert not app.exception
    assert len(app.error) == 1
    assert "The API does not answer" in app.error[0].value
    assert "tidemill up" in app.error[0].value


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_a_problem_of_the_api_once(name: str, fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(name)
    fake_api.fail = Problem(507, "The disk is full", "/data", "Make room.")

    app.run()

    assert not app.exception
    assert len(app.error) == 1
    assert "The disk is full" in app.error[0].value
    assert "Make room." in app.error[0].value
    assert any("req-1" in caption.value for caption in app.caption)


def test_without_a_project_the_page_shows_how_to_make_one(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.projects.clear()

    for name in PAGES:
        app = open_page(name)
        assert not app.exception
        assert "./tidemill init" in text_of(app)


def test_without_a_key_the_page_says_where_it_comes_from(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIDEMILL_API_KEY")

    app = open_page("overview")

    assert "no key" in app.error[0].value


def test_the_key_is_not_in_the_text_of_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_API_KEY", "hidden-key")

    assert "hidden-key" not in repr(client.places())


def test_project_of_the_address_is_chosen_and_kept_between_pages(open_page: OpenPage) -> None:
    app = open_page("data", project="wine")

    assert app.selectbox(key="project_picker").value == "wine"
    assert app.query_params["project"] == "wine"


def test_unknown_project_of_the_address_falls_back_to_a_known_one(open_page: OpenPage) -> None:
    app = open_page("overview", project="wien")

    assert app.query_params["project"] == "breast_cancer"
    assert "no project wien" in app.toast[0].value


def test_choosing_a_project_changes_the_address(open_page: OpenPage) -> None:
    app = open_page("overview")

    app.selectbox(key="project_picker").select("wine").run()

    assert app.query_params["project"] == "wine"


def test_project_file_that_cannot_be_used_is_shown_with_its_fault(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.projects["wine"] |= {"problem": "line 4, columns.age: wrong", "task": None, "target": None}

    app = open_page("overview")

    assert not app.exception
    assert "line 4, columns.age: wrong" in text_of(app)


def test_next_step_leads_to_its_page(open_page: OpenPage) -> None:
    app = open_page("overview")

    app.button(key="next_wine").click().run()

    assert app.title[0].value == "Data"
    assert app.selectbox(key="project_picker").value == "wine"
    assert not app.exception


# Data


def test_a_sent_file_is_stored_and_its_outcome_shown(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.next_upload = {"status": "accepted", "rows": 10, "accepted": 8, "rejected": 2}
    app = open_page("data")

    app.file_uploader[0].upload("new.csv", b"a,b\n1,2\n", "text/csv")
    app.button[0].click().run()

    assert not app.exception
    assert fake_api.files[0]["name"] == "new.csv"
    assert fake_api.files[0]["bytes"] == 8
    said = text_of(app)
    assert "8 of 10 rows" in said
    assert "2 rows were" in said


def test_a_refused_file_says_why_and_what_to_do(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.next_upload = {"status": "refused", "problem": fake_api.files[0]["problem"], "rejected": None}
    app = open_page("data")

    app.file_uploader[0].upload("bad.csv", b"x\n", "text/csv")
    app.button[0].click().run()

    said = text_of(app)
    assert "was refused" in said
    assert "Add the column" in said
    assert "worst_area" in said


def test_sending_without_a_file_asks_for_one(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page("data")

    app.button[0].click().run()

    assert "Choose a file" in app.warning[0].value
    assert ("POST", "/v1/projects/breast_cancer/files") not in fake_api.seen


def test_a_problem_of_the_upload_leaves_the_page_usable(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page("data")
    app.file_uploader[0].upload("new.csv", b"a\n", "text/csv")
    fake_api.fail_at["files"] = Problem(413, "The file is too large", "new.csv", "Use the inbox.")

    app.button[0].click().run()

    assert "too large" in app.error[0].value


@pytest.mark.parametrize("view", ["Preview", "Columns", "Versions", "Contract", "Origin"])
def test_each_view_of_a_table(view: str, open_page: OpenPage) -> None:
    app = open_page("data")

    app.segmented_control[1].set_value(view).run()

    assert not app.exception
    assert not app.error
    assert len(app.dataframe) >= 1


def test_versions_are_listed_and_compared(open_page: OpenPage, text_of: TextOf) -> None:
    app = open_page("data")
    app.segmented_control[1].set_value("Versions").run()
    history = app.dataframe[0].value
    assert history["Version"].tolist() == [2, 1]
    assert history["Added"].tolist()[0] == 69

    next(button for button in app.button if button.label == "Compare").click().run()

    assert not app.exception
    assert not app.error
    assert "Changed 1" in text_of(app)
    assert app.dataframe[1].value.to_dict("records")[0]["After"] == "15"


def test_file_history_shows_states_and_reasons(open_page: OpenPage, text_of: TextOf) -> None:
    app = open_page("data")

    app.segmented_control[0].set_value("Files").run()

    said = text_of(app)
    assert "hospital_a.csv" in said
    assert "Refused" in said
    assert "Add the column" in said


def test_sources_are_shown_with_their_states_and_what_to_mend(
    open_page: OpenPage, text_of: TextOf, fake_api: FakeApi
) -> None:
    at = AT.format(0)
    told = {
        "title": "The SFTP server does not answer",
        "detail": "me@lab:22: timed out",
        "remedy": "Start it.",
    }
    fake_api.sources += [
        inbox_source(
            name="lab", kind="sftp", where="sftp://me@lab/x/*.csv", state="away", since=at, error=told
        )
        | {"last_look": at, "taken": 12, "problems": [told | {"name": "bad.csv", "title": "No right"}]},
        inbox_source(name="orders", kind="sql", where="postgresql://db/orders", state=None),
    ]
    app = open_page("data")

    app.segmented_control[0].set_value("Sources").run()

    assert not app.exception
    said = text_of(app)
    for words in ("SFTP", "Away", "timed out", "Start it", "bad.csv", "No right", "Not looked at yet"):
        assert words in said


def test_a_partly_refused_file_says_how_it_was_read_and_how_to_mend_it(
    open_page: OpenPage, text_of: TextOf
) -> None:
    app = open_page("data")

    app.segmented_control[0].set_value("Files").run()
    app.selectbox[0].set_value("f1").run()

    assert not app.exception
    said = text_of(app)
    assert "Read as format csv, encoding utf-8, delimiter tab" in said
    assert "first three columns may stay" in said


# Training


def test_starting_a_training_shows_its_steps_and_blocks_a_second(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    app = open_page("training")

    app.text_input[0].input("new data")
    app.button[0].click().run()

    assert not app.exception
    assert fake_api.trainings[0]["status"] == "running"
    assert "Now" in text_of(app)
    assert "19 of 57 fits" in text_of(app)
    assert app.button[0].disabled


def test_a_failed_training_shows_the_reason(fake_api: FakeApi, open_page: OpenPage, text_of: TextOf) -> None:
    fake_api.trainings.reverse()

    app = open_page("training")

    assert "each of the 12 rows" in text_of(app)


def test_a_training_is_cancelled_and_tried_again(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    app = open_page("training")
    app.button[0].click().run()
    assert "by the dashboard" in text_of(app)

    button(app, "Cancel").click().run()
    assert not app.exception
    assert fake_api.trainings[0]["status"] == "canceled"
    assert "Cancelled by owner." in text_of(app)

    button(app, "Try again").click().run()
    assert not app.exception
    assert fake_api.trainings[0]["retry_of"] == "t9"
    assert "by another try" in text_of(app)


def test_a_queued_training_says_what_it_waits_for(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.trainings[0] |= {"status": "queued", "percent": 0, "waiting_for": "Training t8 goes on."}

    assert "Training t8 goes on." in text_of(open_page("training"))


def button(app: AppTest, label: str) -> Any:
    return next(each for each in app.button if each.label == label)


# Models


@pytest.mark.parametrize(
    "view", ["Measurements", "Weak spots", "What it leans on", "Gate", "Candidates", "Card", "Origin"]
)
def test_each_view_of_a_model(view: str, open_page: OpenPage) -> None:
    app = open_page("models")

    app.segmented_control[0].set_value(view).run()

    assert not app.exception
    assert not app.error


def test_an_unmeasured_model_is_shown_as_such(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.models[0] |= {"metrics": {}, "gate": None}

    app = open_page("models")

    assert not app.exception
    assert "Not judged" in text_of(app)


def test_an_older_version_can_be_made_live(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page("models")
    next(box for box in app.selectbox if box.label == "Version").select(1).run()

    reason = next(box for box in app.text_input if "kept in the history" in box.placeholder)
    reason.input("a test")
    next(button for button in app.button if button.label == "Make version 1 live").click().run()

    assert not app.exception
    assert fake_api.deployment["champion"] == 1
    assert fake_api.deployment["history"][0]["reason"] == "a test"


def test_a_version_the_gate_refused_can_be_made_live_by_decision(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    next(model for model in fake_api.models if model["version"] == 1)["gate"]["passed"] = False
    app = open_page("models")
    next(box for box in app.selectbox if box.label == "Version").select(1).run()
    assert "has not passed the gate" in text_of(app)

    reason = next(box for box in app.text_input if "kept in the history" in box.placeholder)
    reason.input("agreed with the clinic")
    next(button for button in app.button if button.label == "Make version 1 live").click().run()

    assert not app.exception
    assert fake_api.deployment["champion"] == 1


def test_a_change_needs_a_reason(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page("models")

    next(button for button in app.button if button.label == "Go back to version 1").click().run()

    assert "reason" in app.warning[0].value
    assert fake_api.deployment["champion"] == 2


def test_going_back_puts_the_version_before_live(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page("models")

    app.text_input[0].input("worse in practice")
    next(button for button in app.button if button.label == "Go back to version 1").click().run()

    assert fake_api.deployment["champion"] == 1


def press(app: AppTest, label: str, why: str) -> None:
    """Fill in the reason of the form that ends with the button `label`, and press it."""
    button = next(found for found in app.button if found.label == label)
    fields = {found.form_id: found for found in app.text_input if found.form_id}
    fields[button.form_id].input(why)
    button.click().run()


def test_a_version_goes_into_shadow_and_becomes_a_canary(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page("models")
    next(box for box in app.selectbox if box.label == "Version").select(1).run()
    press(app, "Put version 1 into shadow", "to compare")
    assert not app.exception
    assert fake_api.deployment["challenger"]["stage"] == "shadow"

    press(app, "Make version 1 a canary", "it agrees")
    assert not app.exception
    assert fake_api.deployment["challenger"]["percent"] == 10
    assert fake_api.deployment["champion"] == 2


def test_the_challenger_is_shown_beside_the_live_model(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.deployment["challenger"] = CHALLENGER
    assert "begins in a few seconds" in text_of(open_page("models"))

    fake_api.comparison = comparison(
        dropped=12, errors={"count": 2, "share": 0.02, "last": "TimeoutError: <b>"}
    )
    text = text_of(open_page("models"))

    for shown in (
        "is in shadow",
        "100 records",
        "97.0%",
        "12 records could not be kept up with",
        "TimeoutError",
    ):
        assert shown in text
    assert "share of wrong labels" in text


def test_a_challenger_is_paused_and_withdrawn(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.deployment["challenger"] = CHALLENGER
    app = open_page("models")
    press(app, "Pause it", "a holiday")
    assert fake_api.deployment["challenger"]["paused"]
    press(app, "Go on", "back")
    assert not fake_api.deployment["challenger"]["paused"]
    press(app, "Withdraw it", "enough")
    assert fake_api.deployment["challenger"] is None
    assert [event["action"] for event in fake_api.deployment["history"][:3]] == [
        "withdraw",
        "resume",
        "pause",
    ]
    assert not app.exception


# Predict


def test_the_form_holds_usual_values_and_gives_an_answer(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    app = open_page("predict")
    assert app.number_input(key="field_mean_radius").value == pytest.approx(17.55, abs=0.1)
    assert app.selectbox(key="field_scanner").value == "A1"

    app.button[0].click().run()

    assert not app.exception
    sent = fake_api.predictions[0]["input"]
    assert isinstance(sent["visits"], int)
    assert sent["contrast"] is True
    assert sent["examined_on"] == "2026-03-01"
    assert "diagnosis" not in sent
    assert "Model version 2" in text_of(app)
    assert (
        "What moved the answer towards malignant, in log-odds: from -0.5 of the usual record to 0.5."
        in text_of(app)
    )


def test_a_model_without_reasons_answers_without_them(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.explains = False
    before = len(fake_api.predictions)
    app = open_page("predict")
    app.button[0].click().run()
    assert not app.exception
    assert "cannot say how each field moved its answer" in text_of(app)
    assert len(fake_api.predictions) == before + 1


def test_an_empty_field_is_left_out(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.fail_at["tables"] = Problem(404, "There is no such table")
    app = open_page("predict")
    assert app.number_input(key="field_mean_radius").value is None

    app.number_input(key="field_visits").set_value(3)
    app.button[0].click().run()

    assert fake_api.predictions[0]["input"] == {"visits": 3}


def test_the_truth_of_a_recent_answer_can_be_sent(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page("predict")
    app.segmented_control[0].set_value("Recent answers").run()
    labelled = next(box for box in app.selectbox if box.label == "True class")

    labelled.select("malignant")
    app.button[0].click().run()

    assert not app.exception
    assert fake_api.truths == [{"prediction_id": fake_api.predictions[0]["id"], "label": "malignant"}]


# Score a file


def test_a_file_is_scored_followed_and_its_result_offered(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    app = open_page("batch")
    app.file_uploader[0].upload("patients.csv", b"patient_id,visits\nP1,3\nP2,many\n", "text/csv")
    app.selectbox[1].select("Parquet")
    app.checkbox[0].check()
    app.button[0].click().run()

    assert not app.exception
    sent = fake_api.batches["b1"]
    assert (sent["name"], sent["format"], sent["log"], sent["model_version"]) == (
        "patients.csv",
        "parquet",
        True,
        2,
    )
    assert app.query_params["batch"] == "b1"
    assert "waits for its turn" in text_of(app)

    sent.update(status="running", rows=1)
    app.run()
    assert "1 row so far" in text_of(app)

    sent.update(status="succeeded", rows=2, errors=1, ended_at=AT.format(12))
    app.run()
    assert "2 rows by model version 2" in text_of(app)
    assert "1 row breaks the contract" in text_of(app)
    assert [button.label for button in app.get("download_button")] == ["Download the result"]


def test_a_file_that_cannot_be_scored_says_why(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    app = open_page("batch")
    app.file_uploader[0].upload("patients.csv", b"x\n", "text/csv")
    app.button[0].click().run()
    problem = {"title": "Columns are missing", "detail": "visits", "remedy": "Add them."}
    fake_api.batches["b1"].update(status="failed", problem=problem)
    app.run()
    said = text_of(app)
    assert [part for part in ("was not scored", *problem.values()) if part not in said] == []


def test_scoring_without_a_file_asks_for_one(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page("batch")
    app.button[0].click().run()
    assert "Choose a file" in app.warning[0].value
    assert not fake_api.batches


def test_a_batch_that_is_gone_is_told(open_page: OpenPage) -> None:
    app = open_page("batch")
    app.query_params["batch"] = "b9"
    app.run()
    assert "There is no such batch" in app.error[0].value


# Monitor


def test_an_alert_can_be_acknowledged(fake_api: FakeApi, open_page: OpenPage, text_of: TextOf) -> None:
    app = open_page("monitor")

    app.button(key="acknowledge_7").click().run()

    assert fake_api.alerts[0]["state"] == "acknowledged"
    assert "Acknowledged" in text_of(app)


def test_a_drift_check_can_be_started(fake_api: FakeApi, open_page: OpenPage, text_of: TextOf) -> None:
    app = open_page("monitor")

    next(button for button in app.button if button.label == "Check now").click().run()

    assert not app.exception
    assert fake_api.runs[0]["status"] == "queued"
    assert "Waiting for its turn" in text_of(app)


def test_one_failing_part_of_the_monitor_leaves_the_others(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.fail_at["quality"] = Problem(500, "The log cannot be read")

    app = open_page("monitor")

    assert len(app.error) == 1
    assert "The inputs have drifted" in text_of(app)


def test_a_file_on_its_way_is_shown_with_its_share(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    progress = {"phase": "reading", "rows": 1200, "bytes": 25, "total_bytes": 100, "share": 0.25}
    counts = {
        "status": "processing",
        "rows": None,
        "accepted": None,
        "rejected": None,
        "dataset_version": None,
    }
    fake_api.files.insert(0, file_record("f9", "large.csv", progress=progress, **counts))
    page = open_page("data")
    bar = page.get("progress")[0].proto
    assert bar.value == 25
    assert "large.csv" in bar.text
    assert "being read: 1,200 rows so far" in bar.text
    fake_api.files[0] |= {"status": "received", "progress": None}
    assert "has arrived and waits to be read" in text_of(open_page("data"))
