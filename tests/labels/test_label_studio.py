"""Faults of Label Studio: each is told, and none costs a label."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.labels.test_backends import PROJECT
from tidemill.errors import Conflict, InvalidInput, NotReady, TidemillError, Unauthorized
from tidemill.labels.label_config import label_config
from tidemill.labels.label_studio import LabelStudio
from tidemill.project import Column

MARK = "tidemill:home:demo;"


def answered_by(handler: Callable[[httpx.Request], httpx.Response]) -> LabelStudio:
    backend = LabelStudio(PROJECT, ["no", "yes"], url="http://studio", token="t", mark=MARK)
    backend._server._http = httpx.Client(base_url="http://studio", transport=httpx.MockTransport(handler))
    return backend


def holding(project: int | None, *annotations: dict[str, Any]) -> LabelStudio:
    """A server with one project of ours, or none, whose one task r1 has these annotations."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/projects":
            found = (
                [] if project is None else [{"id": project, "description": f"{MARK} stamp={project:016x}"}]
            )
            return httpx.Response(200, json={"results": found})
        if request.url.path == "/api/users":
            return httpx.Response(200, json=[{"id": 1, "email": "ada@example.org"}])
        task = {"data": {"tidemill_row": "r1"}, "meta": {}, "annotations": list(annotations)}
        return httpx.Response(200, json=[task])

    return answered_by(handler)


def annotation(number: int, *labels: str) -> dict[str, Any]:
    moment = "2026-05-02T09:00:00.000000Z"
    return {
        "id": number,
        "unique_id": f"u{number}",
        "result": [{"from_name": "label", "value": {"choices": list(labels)}}] if labels else [],
        "was_cancelled": False,
        "completed_by": 1,
        "created_at": moment,
        "updated_at": moment,
    }


def test_a_deleted_project_is_told_and_a_new_one_read_from_its_start() -> None:
    first = holding(7, annotation(1, "yes"), annotation(2, "no")).pull("")
    assert len(first.annotations) == 2
    with pytest.raises(Conflict, match="gone"):
        holding(None).pull(first.cursor)
    empty = holding(8).pull(first.cursor)
    assert (list(empty.annotations), list(empty.deleted)) == ([], [])
    later = holding(8, annotation(3, "yes")).pull(empty.cursor)
    assert [each.id for each in later.annotations] == [f"{8:016x}/u3"]
    at_once = holding(8, annotation(3, "yes")).pull(first.cursor)
    assert ([each.id for each in at_once.annotations], list(at_once.deleted)) == ([f"{8:016x}/u3"], [])


@pytest.mark.parametrize(
    ("labels", "words"),
    [((), "no answer"), (("yes", "no"), "2 answers"), (("maybe",), "its old name")],
)
def test_an_answer_that_is_no_label_is_told(labels: tuple[str, ...], words: str) -> None:
    found = holding(7, annotation(1, *labels)).pull("")
    assert not found.annotations
    (unusable,) = found.unusable
    assert words in unusable.problem


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (httpx.Response(401), Unauthorized, "token"),
        (httpx.Response(500), NotReady, "failed"),
        (httpx.Response(404, text="gone"), Conflict, "refused"),
        (httpx.Response(200, text="<html>"), NotReady, "Another program"),
    ],
)
def test_a_server_that_is_not_ours_or_fails(
    reply: httpx.Response, error: type[TidemillError], words: str
) -> None:
    with pytest.raises(error, match=words) as told:
        answered_by(lambda _: reply).pull(json.dumps({"project": 7, "at": "", "ids": [1]}))
    assert told.value.remedy


def test_a_server_that_is_down() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(NotReady, match="does not answer"):
        answered_by(refuse).state()


def test_a_contract_that_shows_nothing_is_refused() -> None:
    bare = PROJECT.model_copy(
        update={"columns": {**PROJECT.columns, "x": Column(type="float", role="ignore")}}
    )
    with pytest.raises(InvalidInput, match="nothing to show"):
        label_config(bare, ["no", "yes"])


def test_a_cursor_does_not_grow_with_the_answers() -> None:
    many = holding(7, *(annotation(number, "yes") for number in range(500))).pull("")
    assert many.there is not None
    assert len(many.there) == 500
    assert len(many.cursor) < 200


def test_a_cursor_that_held_ids_is_read_once_more() -> None:
    old = json.dumps({"project": 7, "at": "2027-01-01T00:00:00.000000Z", "ids": [1, 2]})
    found = holding(7, annotation(1, "yes")).pull(old)
    assert [each.id for each in found.annotations] == [f"{7:016x}/u1"]
    assert list(found.deleted) == ["1", "2"]
