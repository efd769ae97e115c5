"""The labelling page: one row at a time, and what becomes of answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_api import FakeApi, Problem, annotator_report, label_task
from streamlit.testing.v1 import AppTest

OpenPage = Callable[..., AppTest]
TextOf = Callable[[AppTest], str]


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


@pytest.fixture
def page(open_page: OpenPage) -> AppTest:
    """The page with a person at it."""
    return open_page("label").text_input(key="annotator_name").set_value("ada").run()


def test_one_row_is_shown_in_the_contracts_order_with_what_the_model_says(
    page: AppTest, text_of: TextOf
) -> None:
    said = text_of(page)
    assert not page.exception
    assert said.index("Patient id") < said.index("Mean radius") < said.index("Scanner")
    assert "Model version 2 says malignant, 54% sure" in said
    assert "2 rows to go · the model is unsure of it" in said
    kinds = {button.label: button.proto.type for button in page.button}
    assert (kinds["malignant"], kinds["benign"]) == ("primary", "secondary")
    keys = {button.label: button.proto.shortcut for button in page.button}
    assert [keys[label] for label in ("benign", "malignant", "Skip", "Take back my last answer")] == [
        "1",
        "2",
        "s",
        "u",
    ]


def test_an_answer_is_sent_and_the_next_row_shown(page: AppTest, fake_api: FakeApi, text_of: TextOf) -> None:
    page = press(page, "benign")
    (sent,) = fake_api.answers
    assert (sent["row"], sent["label"], sent["annotator"]) == ("P7", "benign", "ada")
    assert 0 <= sent["lead_seconds"] < 60
    assert "P8" in text_of(page)
    assert "Model version" not in text_of(page)  # this row has no suggestion
    page = press(page, "Skip")
    assert fake_api.answers[-1]["label"] is None
    assert "Every row has its answers" in text_of(page)


def test_the_last_answer_is_taken_back(page: AppTest, fake_api: FakeApi, text_of: TextOf) -> None:
    page = press(press(page, "benign"), "Take back my last answer")
    assert fake_api.answers == []
    assert "P7" in text_of(page)
    page = press(page, "Take back my last answer")
    assert "no answer of yours" in page.toast[0].value


def test_more_rows_are_asked_about(page: AppTest, fake_api: FakeApi) -> None:
    page.number_input[0].set_value(3)
    page = press(page, "Ask about more rows")
    assert fake_api.labelling["tasks"] == 5
    assert "Round 2 asks about 3 rows. No model yet." in page.toast[0].value


def test_a_number_is_typed(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.labelling["classes"] = None
    fake_api.waiting = [label_task("P7", None)]
    app = open_page("label").text_input(key="annotator_name").set_value("ada").run()
    app.number_input(key="number_P7").set_value(2.5)
    press(app, "Answer")
    assert fake_api.answers[0]["label"] == 2.5


def test_many_classes_are_a_list(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.labelling["classes"] = [f"c{index}" for index in range(20)]
    fake_api.waiting = [label_task("P7", None)]
    app = open_page("label").text_input(key="annotator_name").set_value("ada").run()
    app.selectbox(key="choice_P7").set_value("c7")
    press(app, "Answer")
    assert fake_api.answers[0]["label"] == "c7"


def test_people_and_their_agreement_are_shown(page: AppTest, fake_api: FakeApi, text_of: TextOf) -> None:
    fake_api.answers.append({"row": "P7", "label": "benign", "annotator": "bob"})
    page = press(page, "benign")
    said = text_of(page)
    assert annotator_report("ada")["annotator"] in said
    assert "3 of 4" in said
    assert "Krippendorff's alpha" in said
    assert "0.81 (0.7 to 0.9)" in said


@pytest.mark.parametrize(
    ("kind", "words"),
    [("column", "Labels are the column diagnosis"), ("label-studio", "answer in Label Studio")],
)
def test_where_people_do_not_answer_here_it_says_so(
    kind: str, words: str, fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.labelling["kind"] = kind
    app = open_page("label")
    assert words in text_of(app)
    assert not [button for button in app.button if button.label in ("benign", "malignant")]


def test_a_link_into_label_studio_is_made_when_it_is_wanted(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.labelling["kind"] = "label-studio"
    app = open_page("label")
    assert next(button for button in app.button if button.label == "Open Label Studio").disabled
    app.text_input(key="annotator_name").set_value("ada").run()
    assert not app.get("link_button")
    app = press(app, "Open Label Studio")
    (link,) = app.get("link_button")
    assert link.proto.url.endswith("/v1/label-studio/open?ticket=t1")


def test_what_is_wrong_with_label_studio_is_told_and_the_rest_of_the_page_stays(
    fake_api: FakeApi, open_page: OpenPage, text_of: TextOf
) -> None:
    fake_api.labelling |= {
        "kind": "label-studio",
        "trouble": {
            "title": "Label Studio does not answer",
            "detail": "http://127.0.0.1:8704: ConnectError",
            "remedy": "See `./tidemill logs label-studio`.",
        },
    }
    app = open_page("label")
    (warning,) = app.warning
    assert "does not answer" in warning.value
    assert "logs label-studio" in warning.value
    assert "Rows asked about" in text_of(app)


def test_a_refused_answer_says_why_and_the_row_stays(
    page: AppTest, fake_api: FakeApi, text_of: TextOf
) -> None:
    refuse = Problem(422, "The answer is no label of this project", "'benign'", "Choose one of those.")
    original = fake_api._post_labels

    def post(rest: list[str], query: dict[str, str], body: bytes) -> tuple[int, object]:
        if rest[0] == "answers":
            raise refuse
        return original(rest, query, body)

    fake_api._post_labels = post  # type: ignore[method-assign]
    page = press(page, "benign")
    assert "no label of this project" in page.error[0].value
    assert "P7" in text_of(page)
