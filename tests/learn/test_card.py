"""The model card: everything that was found is in it, nothing hostile gets out of it, nothing outside is needed."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.learn.conftest import Trained, publish
from tidemill.learn.bundle import add_evaluation, project_facts
from tidemill.learn.bundle_info import BundleInfo
from tidemill.learn.card import card_of, model_card, model_card_html
from tidemill.learn.card_charts import intervals, ticks
from tidemill.learn.card_parts import Charts
from tidemill.learn.comparison import compare
from tidemill.learn.gate import decide
from tidemill.learn.studies import study

VOID = {"meta", "br", "line", "rect", "circle", "polyline"}


class Checker(HTMLParser):
    """Whether tags close in order, and what is referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def judged(folder: Path, trained: Trained, **settings: object) -> BundleInfo:
    """A bundle with all studies, compared with itself as the live model."""
    publish(folder, trained)
    project = trained.project.model_copy(
        update={"evaluation": trained.project.evaluation.model_copy(update=settings)}
    )
    best = trained.training.best
    found = study(best.pipeline, trained.features, project, trained.evaluation, cv_scores=best.cv_scores)
    beside = compare(best.pipeline, best.pipeline, trained.features, project, project, version=7)
    return add_evaluation(folder, 1, replace(found, comparison=beside), decide(found, project, beside))


@pytest.mark.parametrize("name", ["binary", "multiclass", "regression"])
def test_the_card_is_one_page_that_needs_nothing_else(name, request, tmp_path):
    trained = request.getfixturevalue(name)
    first = next(iter(trained.project.feature_columns))
    info = judged(tmp_path, trained, slices=[first], fairness=[first])
    page = (info.folder / "card.html").read_text()
    checker = checked(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(checker.seen)
    assert not {name for name, _ in checker.attributes} & {"href", "src", "onload", "onclick"}
    assert "url(" not in page
    assert "@media print" in page
    assert "prefers-color-scheme: dark" in page
    assert info.card == (info.folder / "card.md").read_text()
    facts = project_facts(trained.project)
    for section in card_of(info, facts).sections:
        assert f"## {section.title}" in info.card
        for block in section.blocks:
            for chart in block.charts if isinstance(block, Charts) else ():
                ElementTree.fromstring(chart.svg)
    for word in ("Where it is weaker", "What it leans on", "How groups are treated", "Promotion gate"):
        assert word in page
        assert word in info.card
    assert "Live model 7" in page


def test_a_card_without_evaluation_says_so(binary, tmp_path):
    info = publish(tmp_path, binary)
    assert "not evaluated" in info.card
    assert "Not judged" in (info.folder / "card.html").read_text()


def test_names_from_the_data_are_text_and_nothing_else(binary, tmp_path):
    info = judged(tmp_path, binary)
    evil = "<script>alert(1)</script> | [x](http://evil) ![y](z) `code` **bold**"
    slices = [{**one, "column": evil, "name": evil} for one in info.evaluation["slices"]]
    hostile = replace(
        info, classes=[evil, "b"], positive=evil, evaluation={**info.evaluation, "slices": slices}
    )
    facts = {**project_facts(binary.project), "title": evil, "description": evil, "features": {evil: "float"}}
    page = model_card_html(hostile, facts)
    assert "script" not in checked(page).seen
    assert "<script>" not in page
    text = model_card(hostile, facts)
    assert not re.search(r"(?<!\\)[<\[]", text)
    tables = [line for line in text.splitlines() if line.startswith("| ") and "evil" in line]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 7 for line in tables)


def test_a_refusal_and_its_size_are_on_the_card(binary, tmp_path):
    publish(tmp_path, binary)
    strict = binary.project.model_copy(
        update={"gates": binary.project.gates.model_copy(update={"minimum": {"roc_auc": 0.9999}})}
    )
    info = add_evaluation(tmp_path, 1, binary.evaluation, decide(binary.evaluation, strict))
    page = (info.folder / "card.html").read_text()
    assert "Refused by its promotion gate" in page
    [reason] = info.gate["reasons"]
    assert reason.split(": ")[1].split(" (")[0] in page


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.5, 1]),
        (0.54, 0.98, [0.6, 0.8]),
        (-3, 170, [0, 50, 100, 150]),
        (0, 2e6, [0, 5e5, 1e6, 1.5e6, 2e6]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_a_chart_of_equal_values_is_drawn():
    one = {"value": 1.0, "low": 1.0, "high": 1.0}
    ElementTree.fromstring(intervals([("a & b < c", one, True)], 1.0, "x"))
