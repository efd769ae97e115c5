"""Every source of labels through the same checks: the built-in page, a column of the data, and Label Studio.

Each back end comes with a harness that does what people do there. `Harness.asks` is False where nobody can be
asked.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import httpx
import pandas as pd
import pytest

from tests.label_studio_server import Server
from tidemill.errors import Conflict, InvalidInput
from tidemill.home import Home
from tidemill.labels import ledger
from tidemill.labels.backend import LabelBackend, LabelTask, Suggestion
from tidemill.labels.built_in import BuiltIn
from tidemill.labels.column import ColumnBackend
from tidemill.labels.label_studio import LabelStudio
from tidemill.project import Column, Project
from tidemill.store.state import State, open_state

ROWS = ("r1", "r2", "r3")
PROJECT = Project(
    name="demo",
    task="binary",
    columns={
        "x": Column(type="float"),
        "y": Column(type="category", role="target", values=["no", "yes"]),
    },
)


class Harness(ABC):
    """A back end with the people who use it. Rows `r1` to `r3` exist, unlabelled; r1 has the suggestion `yes`."""

    asks = True
    skips = True

    def __init__(self, state: State) -> None:
        self.state = state

    @abstractmethod
    def backend(self) -> LabelBackend:
        """The back end, as a program would open it now."""

    @abstractmethod
    def answer(self, row: str, label: str | None, annotator: str = "ada") -> None:
        """Someone answers, or changes their answer; None skips."""

    @abstractmethod
    def delete(self, row: str, annotator: str = "ada") -> None:
        """Someone takes their answer back."""

    def close(self) -> None:  # noqa: B027 - most start nothing
        """End what was started."""


class BuiltInHarness(Harness):
    def backend(self) -> BuiltIn:
        return BuiltIn(self.state, "demo")

    def answer(self, row: str, label: str | None, annotator: str = "ada") -> None:
        self.backend().answer(row, label, annotator, 1.5)

    def delete(self, row: str, annotator: str = "ada") -> None:
        ledger.delete(self.state, "demo", "built-in", [f"{annotator}|{row}"])


class ColumnHarness(Harness):
    asks = False
    skips = False

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.cells: dict[str, str | None] = dict.fromkeys(ROWS)
        self.version = 1

    def backend(self) -> ColumnBackend:
        raw = pd.DataFrame({"_row": list(self.cells), "x": 0.0, "y": pd.array(list(self.cells.values()))})
        return ColumnBackend(raw, PROJECT, self.version, "2026-05-02T09:00:00.000+00:00")

    def answer(self, row: str, label: str | None, annotator: str = "ada") -> None:  # noqa: ARG002
        self.cells[row] = label
        self.version += 1

    def delete(self, row: str, annotator: str = "ada") -> None:  # noqa: ARG002
        self.cells[row] = None
        self.version += 1


class LabelStudioHarness(Harness):
    """People who answer through Label Studio's own API, each test in a project of its own."""

    count = itertools.count(1)

    def __init__(self, state: State, server: Server) -> None:
        super().__init__(state)
        self.server = server
        self.opened: list[LabelStudio] = []
        self.mark = f"tidemill:test:{next(self.count)};"
        self.http = httpx.Client(
            base_url=server.url,
            headers={"Authorization": f"Token {server.token}"},
            timeout=60,
            trust_env=False,
        )

    def backend(self) -> LabelStudio:
        opened = LabelStudio(
            PROJECT, ["no", "yes"], url=self.server.url, token=self.server.token, mark=self.mark
        )
        self.opened.append(opened)
        return opened

    def answer(self, row: str, label: str | None, annotator: str = "ada") -> None:
        result = [] if label is None else [chosen(label)]
        self.send(row, {"result": result, "was_cancelled": label is None, "lead_time": 1.5}, annotator)

    def send(self, row: str, body: dict[str, object], annotator: str = "ada") -> None:
        task, person = self.task(row), self.person(annotator)
        own = [each for each in self.annotations(task) if each["completed_by"] == person]
        where = f"/api/annotations/{own[0]['id']}" if own else f"/api/tasks/{task}/annotations"
        reply = self.http.request("PATCH" if own else "POST", where, json={**body, "completed_by": person})
        assert reply.is_success, reply.text

    def delete(self, row: str, annotator: str = "ada") -> None:
        for each in self.annotations(self.task(row)):
            if each["completed_by"] == self.person(annotator):
                self.http.delete(f"/api/annotations/{each['id']}").raise_for_status()

    def task(self, row: str) -> str:
        backend = self.backend()
        return backend.push([LabelTask(row, {"x": 1.0})])[row]

    def annotations(self, task: str) -> list[dict[str, object]]:
        return list(self.http.get(f"/api/tasks/{task}/annotations").json())

    def person(self, name: str) -> int:
        email = f"{name}@example.org"
        known = {each["email"]: each["id"] for each in self.http.get("/api/users").json()}
        if email not in known:
            made = self.http.post("/api/users", json={"email": email, "username": name})
            assert made.is_success, made.text
            return int(made.json()["id"])
        return int(known[email])

    def close(self) -> None:
        for each in self.opened:
            each.close()
        self.http.close()


def chosen(label: str) -> dict[str, object]:
    return {"from_name": "label", "to_name": "c0", "type": "choices", "value": {"choices": [label]}}


HARNESSES: dict[str, Callable[[State], Harness]] = {"built-in": BuiltInHarness, "column": ColumnHarness}


def tasks(annotators: int = 1) -> list[LabelTask]:
    suggestion = Suggestion("yes", 0.8, 3)
    return [
        LabelTask(row, {"x": 1.0}, suggestion if row == "r1" else None, "random", annotators) for row in ROWS
    ]


@pytest.fixture(params=[*HARNESSES, "label-studio"])
def any_harness(request: pytest.FixtureRequest, home: Home) -> Iterator[Harness]:
    state = open_state(home)
    if request.param == "label-studio":
        made: Harness = LabelStudioHarness(state, request.getfixturevalue("label_studio_server"))
    else:
        made = HARNESSES[request.param](state)
    yield made
    made.close()


@pytest.fixture
def harness(any_harness: Harness) -> Harness:
    """A back end where rows were asked about, if anybody can be asked."""
    if any_harness.asks:
        any_harness.backend().push(tasks())
    return any_harness


@pytest.fixture
def asking(any_harness: Harness) -> Harness:
    if not any_harness.asks:
        pytest.skip("nobody can be asked here")
    return any_harness


def labels(harness: Harness) -> dict[str, object]:
    return {each.row: each.label for each in harness.backend().pull("").annotations}


def test_nothing_was_answered_at_first(harness: Harness) -> None:
    found = harness.backend().pull("")
    assert (list(found.annotations), list(found.deleted), list(found.unusable)) == ([], [], [])
    assert isinstance(found.cursor, str)
    assert harness.backend().state().annotations == 0


def test_asking_twice_makes_one_task(asking: Harness) -> None:
    backend = asking.backend()
    first = backend.push(tasks())
    again = backend.push([*tasks(), LabelTask("r4", {"x": 2.0})])
    assert set(first) == set(ROWS)
    assert {row: again[row] for row in ROWS} == first
    assert len(set(again.values())) == 4
    assert backend.state().tasks == 4


def test_a_suggestion_that_was_lost_is_given_when_asked_again(
    home: Home, label_studio_server: Server
) -> None:
    harness = LabelStudioHarness(open_state(home), label_studio_server)
    bare = harness.backend().push([LabelTask(row, {"x": 1.0}) for row in ROWS])
    for _ in range(2):
        assert harness.backend().push(tasks()) == bare
        shown = {row: harness.http.get(f"/api/tasks/{bare[row]}").json()["predictions"] for row in ROWS}
        assert {row: len(found) for row, found in shown.items()} == {"r1": 1, "r2": 0, "r3": 0}
    harness.close()


def test_where_nobody_can_be_asked_it_is_said(any_harness: Harness) -> None:
    if any_harness.asks:
        pytest.skip("people can be asked here")
    with pytest.raises(Conflict) as refused:
        any_harness.backend().push(tasks())
    assert "built-in" in refused.value.remedy


def test_an_answer_comes_with_row_label_and_person(harness: Harness) -> None:
    harness.answer("r2", "no")
    (found,) = harness.backend().pull("").annotations
    assert (found.row, found.label) == ("r2", "no")
    assert found.annotator
    assert found.origin in ("manual", "column")
    assert ledger.utc(found.created_at) <= ledger.utc(found.updated_at)


def test_a_cursor_goes_on_from_where_it_was(harness: Harness) -> None:
    harness.answer("r1", "yes")
    first = harness.backend().pull("")
    harness.answer("r2", "no")
    later = harness.backend().pull(first.cursor)
    assert "r2" in {each.row for each in later.annotations}
    rest = harness.backend().pull(later.cursor)
    assert {each.id for each in rest.annotations} <= {each.id for each in later.annotations}


def test_an_edit_keeps_the_answers_id(harness: Harness) -> None:
    harness.answer("r1", "yes")
    first = harness.backend().pull("")
    harness.answer("r1", "no")
    again = harness.backend().pull(first.cursor)
    assert [(each.id, each.label) for each in again.annotations] == [(first.annotations[0].id, "no")]
    assert labels(harness) == {"r1": "no"}


def test_an_answer_taken_back_is_gone(harness: Harness) -> None:
    harness.answer("r1", "yes")
    harness.answer("r2", "yes")
    first = harness.backend().pull("")
    gone = next(each.id for each in first.annotations if each.row == "r1")
    harness.delete("r1")
    found = harness.backend().pull(first.cursor)
    assert labels(harness) == {"r2": "yes"}
    absent = found.there is not None and gone.startswith(found.within) and gone not in found.there
    assert gone in found.deleted or absent or not harness.asks


def test_a_skipped_row_has_no_label(harness: Harness) -> None:
    if not harness.skips:
        pytest.skip("an empty cell is no answer")
    harness.answer("r1", None)
    (found,) = harness.backend().pull("").annotations
    assert found.label is None
    assert harness.backend().state().annotations == 0


def test_an_answer_remembers_what_was_suggested(asking: Harness) -> None:
    asking.backend().push(tasks())
    asking.answer("r1", "yes")
    asking.answer("r2", "yes")
    origins = {each.row: each.origin for each in asking.backend().pull("").annotations}
    assert origins == {"r1": "accepted", "r2": "manual"}
    asking.answer("r1", "no")
    origins = {each.row: each.origin for each in asking.backend().pull("").annotations}
    assert origins["r1"] == "changed"


def test_several_people_answer_about_one_row(asking: Harness) -> None:
    asking.backend().push(tasks(annotators=2))
    asking.answer("r1", "yes", "ada")
    assert asking.backend().state().finished == 0
    asking.answer("r1", "no", "bob")
    state = asking.backend().state()
    assert (state.tasks, state.finished, state.annotations) == (3, 1, 2)
    assert sorted(state.by_annotator.values()) == [1, 1]


def test_the_ledger_loses_and_doubles_nothing(harness: Harness) -> None:
    for row, label in (("r1", "yes"), ("r2", "no"), ("r1", "no"), ("r3", "yes")):
        harness.answer(row, label)
        ledger.sync(harness.state, "demo", harness.backend())
        assert ledger.sync(harness.state, "demo", harness.backend()).changes == 0
    kept = {each.row: each.label for each in ledger.answers(harness.state, "demo") if each.is_label}
    assert kept == {"r1": "no", "r2": "no", "r3": "yes"}
    assert len(ledger.answers(harness.state, "demo")) == 3


def test_opening_and_closing_changes_nothing(harness: Harness) -> None:
    harness.answer("r1", "yes")
    harness.backend().close()
    assert labels(harness) == {"r1": "yes"}


# What only the built-in page does.


@pytest.fixture
def page(home: Home) -> BuiltIn:
    made = BuiltIn(open_state(home), "demo")
    made.push(tasks())
    return made


def test_each_row_is_given_out_until_it_has_enough_answers(page: BuiltIn) -> None:
    seen = []
    while (task := page.next_task("ada")) is not None:
        seen.append(task.row)
        page.answer(task.row, "yes", "ada")
    assert sorted(seen) == list(ROWS)
    assert page.next_task("bob") is None


def test_two_people_get_rows_in_different_orders(home: Home) -> None:
    page = BuiltIn(open_state(home), "demo")
    page.push([LabelTask(f"row{number}", {}) for number in range(40)])
    first = [page.next_task(name) for name in ("ada", "bob", "cyd", "dan")]
    assert len({task.row for task in first if task}) > 1


def test_a_skipped_row_goes_to_others(page: BuiltIn) -> None:
    for row in ROWS:
        page.answer(row, None, "ada")
    assert page.next_task("ada") is None
    assert page.next_task("bob") is not None


def test_the_last_answer_can_be_taken_back(page: BuiltIn) -> None:
    page.answer("r1", "yes", "ada")
    page.answer("r2", "no", "ada")
    page.answer("r3", "no", "bob")
    undone = page.undo("ada")
    assert undone is not None
    assert undone.row == "r2"
    assert {each.row for each in page.pull("").annotations} == {"r1", "r3"}
    assert page.undo("nobody") is None
    page.answer("r2", "yes", "ada")
    assert page.state().annotations == 3


def test_two_people_are_not_shown_one_row_at_once(page: BuiltIn) -> None:
    first, second, third = (page.next_task(name) for name in ("ada", "bob", "cyd"))
    assert first is not None
    assert second is not None
    assert third is not None
    assert {first.row, second.row, third.row} == set(ROWS)
    assert page.next_task("dan") is None
    assert page.next_task("ada") == first  # shown again, not another one
    page.answer(first.row, None, "ada")  # a skip lets others have it
    freed = page.next_task("dan")
    assert freed is not None
    assert freed.row == first.row


def test_a_row_for_two_people_is_shown_to_two(home: Home) -> None:
    page = BuiltIn(open_state(home), "demo")
    page.push([LabelTask("only", {}, annotators=2)])
    shown = [page.next_task(name) for name in ("ada", "bob", "cyd")]
    assert [each is not None for each in shown] == [True, True, False]


@pytest.mark.parametrize(("row", "annotator"), [("r9", "ada"), ("r1", "  ")])
def test_an_answer_needs_a_task_and_a_name(page: BuiltIn, row: str, annotator: str) -> None:
    with pytest.raises(InvalidInput):
        page.answer(row, "yes", annotator)
