"""What people do to a real Label Studio: each fault is told, names its object and the way out, costs no label."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.api.conftest import add_project
from tests.label_studio_server import Server
from tests.labels.test_backends import chosen
from tidemill.errors import Conflict, NotReady, TidemillError, Unauthorized
from tidemill.home import Home
from tidemill.labels import ledger, sources
from tidemill.labels.backend import LabelTask, Suggestion
from tidemill.labels.label_studio import LabelStudio
from tidemill.labels.label_studio_login import SESSION, log_in
from tidemill.labels.progress import agreement, progress
from tidemill.ops import label_studio, ports
from tidemill.project import Project, load_project
from tidemill.store.state import open_state

FILE = """\
name: shop
task: binary
columns:
  x: {type: float}
  y: {type: category, role: target, values: ["no", "yes"]}
labels: {kind: label-studio}
"""


class Shop:
    """A home with one project whose people answer on the server that all tests of this file share."""

    def __init__(self, home: Home, server: Server) -> None:
        self.home, self.server, self.state = home, server, open_state(home)
        server.lend(home)
        add_project(home, FILE, "shop")
        self.http = httpx.Client(
            base_url=server.url,
            headers={"Authorization": f"Token {server.token}"},
            timeout=60,
            trust_env=False,
        )

    @property
    def project(self) -> Project:
        return load_project(self.home, "shop")

    def push(
        self, *rows: str, version: int | None = None, says: str = "yes", annotators: int = 1
    ) -> dict[str, str]:
        suggestion = Suggestion(says, 0.8, version) if version is not None else None
        asked = [LabelTask(row, {"x": 1.0}, suggestion, "uncertain", annotators) for row in rows]
        with self.backend() as backend:
            ids = backend.push(asked)
        ledger.record_tasks(self.state, "shop", "label-studio", asked, ids)
        return ids

    @contextmanager
    def backend(self) -> Iterator[LabelStudio]:
        opened = sources.label_studio_of(self.home, self.project)
        yield opened
        opened.close()

    def sync(self) -> ledger.Synced:
        return sources.sync(self.home, self.state, self.project)

    def answer(self, task: str, *labels: str, **more: object) -> int:
        result = [chosen(label) for label in labels]
        made = self.http.post(
            f"/api/tasks/{task}/annotations", json={"result": result, "lead_time": 1.5, **more}
        )
        assert made.status_code == 201, made.text
        return int(made.json()["id"])

    def labels(self) -> dict[str, object]:
        return {each.row: each.label for each in ledger.answers(self.state, "shop") if each.is_label}

    def origins(self) -> dict[str, str]:
        return {each.row: each.origin for each in ledger.answers(self.state, "shop")}

    def number(self) -> int:
        with self.backend() as backend:
            return int(backend.page().split("/")[2])

    def trouble(self) -> TidemillError | None:
        return sources.trouble(self.home, self.state, self.project)


@pytest.fixture
def shop(home: Home, label_studio_server: Server) -> Iterator[Shop]:
    made = Shop(home, label_studio_server)
    yield made
    made.http.close()


@pytest.fixture
def labelled(shop: Shop) -> Shop:
    """Rows r1 and r2 were answered about and taken over; r3 waits."""
    ids = shop.push("r1", "r2", "r3")
    shop.answer(ids["r1"], "yes")
    shop.answer(ids["r2"], "no")
    assert shop.sync().new == 2
    return shop


def test_a_server_that_is_down_is_told_and_the_labels_stay(labelled: Shop) -> None:
    (labelled.home.run / "ports.json").write_text(json.dumps({"label_studio": ports.any_free("127.0.0.1")}))
    told = labelled.trouble()
    assert isinstance(told, NotReady)
    assert "does not answer" in told.title
    assert "./tidemill logs label-studio" in told.remedy
    with pytest.raises(NotReady):
        labelled.sync()
    assert labelled.labels() == {"r1": "yes", "r2": "no"}
    assert progress(labelled.home, labelled.state, labelled.project)["answers"] == 2
    labelled.server.lend(labelled.home)
    assert labelled.trouble() is None
    assert labelled.sync().changes == 0


def test_a_wrong_token_is_told_with_its_file(labelled: Shop) -> None:
    file = labelled.home.secrets / "label-studio.token"
    file.write_text("0" * 40)
    told = labelled.trouble()
    assert isinstance(told, Unauthorized)
    assert str(file) in told.remedy
    with pytest.raises(Unauthorized):
        labelled.sync()
    assert labelled.labels() == {"r1": "yes", "r2": "no"}


def test_a_project_deleted_by_hand_is_told_and_made_anew(labelled: Shop) -> None:
    labelled.http.delete(f"/api/projects/{labelled.number()}").raise_for_status()
    told = labelled.trouble()
    assert isinstance(told, Conflict)
    assert "shop" in told.detail
    with pytest.raises(Conflict, match="gone"):
        labelled.sync()
    assert labelled.labels() == {"r1": "yes", "r2": "no"}
    ids = labelled.push("r3")
    assert labelled.trouble() is None
    labelled.answer(ids["r3"], "yes")
    assert (labelled.sync().new, labelled.sync().changes) == (1, 0)
    assert labelled.labels() == {"r1": "yes", "r2": "no", "r3": "yes"}


def test_a_project_of_our_number_on_another_server_is_not_ours(labelled: Shop) -> None:
    """A server replaced by one with other data: the number is a stranger's project, or another project of ours."""
    number = labelled.number()
    known = labelled.http.get(f"/api/projects/{number}").json()["description"]
    labelled.http.patch(f"/api/projects/{number}", json={"description": "somebody else's"}).raise_for_status()
    with pytest.raises(Conflict, match="gone"):
        labelled.sync()
    # Now one with our mark, the same number and the same ids of answers, but made at another time.
    other = known.replace(known[-16:], "f" * 16)
    labelled.http.patch(f"/api/projects/{number}", json={"description": other}).raise_for_status()
    assert (labelled.sync().new, labelled.sync().changes) == (2, 0)
    kept = [each for each in ledger.answers(labelled.state, "shop") if each.is_label]
    assert len({each.id for each in kept}) == 4
    assert labelled.labels() == {"r1": "yes", "r2": "no"}
    assert progress(labelled.home, labelled.state, labelled.project)["finished"] == 2


def test_an_answer_deleted_there_is_deleted_here_and_kept_in_history(labelled: Shop) -> None:
    task = labelled.push("r1")["r1"]
    (there,) = labelled.http.get(f"/api/tasks/{task}/annotations").json()
    labelled.http.delete(f"/api/annotations/{there['id']}").raise_for_status()
    assert (labelled.sync().deleted, labelled.sync().changes) == (1, 0)
    assert labelled.labels() == {"r2": "no"}
    (gone,) = [each for each in ledger.answers(labelled.state, "shop") if each.deleted_at]
    assert gone.label == "yes"


def test_a_class_that_was_renamed_is_told_and_comes_back_with_its_name(labelled: Shop) -> None:
    file = labelled.home.project_file("shop")
    file.write_text(FILE.replace('"no", "yes"', '"no", "ja"'))
    assert labelled.sync().unusable == 1
    (told,) = [each for each in ledger.answers(labelled.state, "shop") if each.problem]
    assert told.problem is not None
    assert (told.row, "'yes'" in told.problem, "its old name" in told.problem) == ("r1", True, True)
    assert labelled.labels() == {"r2": "no"}
    task = labelled.push("r4")["r4"]  # the screen has the new name
    labelled.answer(task, "ja")
    labelled.sync()
    file.write_text(FILE)
    labelled.sync()
    assert labelled.labels() == {"r1": "yes", "r2": "no"}


@pytest.mark.parametrize(("given", "words"), [([], "no answer"), (["yes", "no"], "2 answers")])
def test_an_answer_that_is_no_label_is_told_and_can_be_mended(
    labelled: Shop, given: list[str], words: str
) -> None:
    number = labelled.answer(labelled.push("r3")["r3"], *given)
    assert labelled.sync().unusable == 1
    assert progress(labelled.home, labelled.state, labelled.project)["unusable"] == 1
    (told,) = [each for each in ledger.answers(labelled.state, "shop") if each.problem]
    assert words in str(told.problem)
    assert "press Update" in str(told.problem)
    labelled.http.patch(f"/api/annotations/{number}", json={"result": [chosen("no")]}).raise_for_status()
    assert labelled.sync().edited == 1
    assert labelled.labels() == {"r1": "yes", "r2": "no", "r3": "no"}


def test_a_later_models_suggestion_is_the_one_that_an_answer_is_held_against(shop: Shop) -> None:
    ids = shop.push("r1", "r2", "r3", "r4", version=1, says="yes")
    first = shop.http.get(f"/api/tasks/{ids['r4']}").json()["predictions"][0]["id"]
    shop.answer(ids["r1"], "yes")
    assert shop.push("r2", "r3", "r4", version=2, says="no") == {row: ids[row] for row in ("r2", "r3", "r4")}
    known = shop.http.get(f"/api/projects/{shop.number()}").json()
    assert known["model_version"] == "version 2"
    for _ in range(2):  # asked again, nothing is said twice
        shop.push("r2", "r3", "r4", version=2, says="no")
        said = shop.http.get(f"/api/tasks/{ids['r2']}").json()["predictions"]
        assert [each["model_version"] for each in said] == ["version 1", "version 2"]
    shop.answer(ids["r2"], "no")
    shop.answer(ids["r3"], "yes")
    shop.answer(ids["r4"], "yes", parent_prediction=first)  # had the first model's suggestion before them
    shop.sync()
    assert shop.origins() == {"r1": "accepted", "r2": "accepted", "r3": "changed", "r4": "accepted"}


def test_a_model_that_was_rolled_back_is_shown_again(shop: Shop) -> None:
    ids = shop.push("r1", version=2, says="no")
    shop.push("r1", version=1, says="yes")
    shop.answer(ids["r1"], "yes")
    shop.sync()
    assert shop.origins() == {"r1": "accepted"}


def test_two_people_come_without_a_login_and_are_told_apart(shop: Shop) -> None:
    ids = shop.push("r1", "r2", annotators=2)
    said = {"ada": {"r1": "yes", "r2": "no"}, "Bob Ray": {"r1": "yes", "r2": "yes"}}
    for person, answers in said.items():
        for row, label in answers.items():
            # A session each time: the second one finds the account that the first one made.
            with session(shop, person) as browser:
                made = browser.post(f"/api/tasks/{ids[row]}/annotations", json={"result": [chosen(label)]})
                assert made.status_code == 201, made.text
    assert shop.sync().new == 4
    found = progress(shop.home, shop.state, shop.project)
    assert found["by_annotator"] == {"Bob Ray": 2, "ada": 2}
    assert found["finished"] == 2
    kappa = next(each for each in agreement(shop.state, shop.project) if each["name"] == "cohen_kappa")
    assert (kappa["annotators"], kappa["rows"]) == (["Bob Ray", "ada"], 2)
    shown = {each["email"]: each["first_name"] for each in shop.http.get("/api/users").json()}
    assert shown["%42ob%20%52ay@tidemill.local"] == "Bob Ray"


@contextmanager
def session(shop: Shop, person: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shop.server.url, trust_env=False, timeout=60) as browser:
        browser.cookies.set(SESSION, log_in(shop.home, person))
        browser.get("/projects/")
        browser.headers["X-CSRFToken"] = browser.cookies.get("csrftoken", "")
        yield browser


def test_an_account_whose_password_is_not_ours_is_told(shop: Shop) -> None:
    log_in(shop.home, "eve")
    (shop.home.secrets / "label-studio.people").write_text("1" * 64)
    with pytest.raises(NotReady, match="did not let us in") as told:
        log_in(shop.home, "eve")
    assert "label-studio.people" in told.value.remedy
    assert "eve@tidemill.local" in told.value.detail


def test_the_webhook_is_registered_where_the_api_is_now(shop: Shop) -> None:
    file = shop.home.run / "ports.json"
    for port in (18700, 18701, 18701):
        file.write_text(json.dumps({"label_studio": shop.server.port, "api": port}))
        shop.push("r1")
        (hook,) = shop.http.get("/api/webhooks/", params={"project": shop.number()}).json()
        assert hook["url"] == f"http://127.0.0.1:{port}/v1/projects/shop/label-studio/webhook"
        assert hook["headers"] == {"X-Tidemill-Secret": label_studio.secret(shop.home, "webhook")}


def test_a_task_made_by_hand_is_told(labelled: Shop) -> None:
    made = labelled.http.post("/api/tasks", json={"project": labelled.number(), "data": {"c0": "by hand"}})
    labelled.answer(str(made.json()["id"]), "yes")
    labelled.sync()
    (told,) = [each for each in ledger.answers(labelled.state, "shop") if each.problem]
    assert "none of ours" in str(told.problem)
    assert labelled.labels() == {"r1": "yes", "r2": "no"}


def test_tasks_that_a_slow_server_made_twice_are_made_one(labelled: Shop) -> None:
    number, known = labelled.number(), labelled.push("r1", "r3")
    again = [{"data": {"tidemill_row": row, "c0": "1.0"}} for row in ("r1", "r2", "r3")]
    labelled.http.post(f"/api/projects/{number}/import", json=again).raise_for_status()
    assert labelled.http.get(f"/api/projects/{number}").json()["task_number"] == 6
    assert labelled.push("r1", "r3") == known
    assert labelled.http.get(f"/api/projects/{number}").json()["task_number"] == 3
    assert labelled.sync().changes == 0
    assert labelled.labels() == {"r1": "yes", "r2": "no"}
