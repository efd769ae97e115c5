"""Models made elsewhere over HTTP: what is sent lies in the import folder, whole, or is refused with a reason."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.test_client import check
from tests.api.test_errors import is_problem
from tidemill.client import ApiError, Client
from tidemill.home import Home
from tidemill.learn.imports import ledger
from tidemill.learn.imports.refusal import refused
from tidemill.ops.runs import TAG_ACTOR

PATH = "/v1/projects/pets/models/imports"
TREES = b"tree\nversion=v4\n"


def waiting(home: Home) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in ledger.pending(home, "pets", settle=5.0)}


def test_a_sent_model_waits_for_its_job_and_is_followed(client: Client, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "my trees.txt"
    file.write_bytes(TREES)
    sent = client.import_model("pets", file, columns=["weight", "age"], classes=["no", "yes"])
    check("import_model", sent)
    assert (sent["status"], sent["by"]) == ("received", "owner")
    assert (sent["columns"], sent["classes"]) == (["weight", "age"], ["no", "yes"])
    assert waiting(home) == {"my trees.txt": TREES}

    ledger.note(home, "pets", file.name, TREES, "accepted", model_version=3)
    found = client.model_import("pets", sent["id"])
    check("model_import", found)
    assert (found["status"], found["model_version"]) == ("accepted", 3)
    check("model_imports", client.model_imports("pets"))
    assert client.model_imports("pets") == [found]


def test_its_job_starts_at_once(http: httpx.Client, home: Home, runs: Any) -> None:
    http.post(PATH, params={"name": "a.txt"}, content=TREES)
    assert [(run.job, run.tags[TAG_ACTOR]) for run in runs.runs.values()] == [("imports", "owner")]
    ledger.note(home, "pets", "a.txt", TREES, "accepted", model_version=3)
    http.post(PATH, params={"name": "b.txt"}, content=TREES)
    assert len(runs.runs) == 1


def test_dagster_away_leaves_it_to_the_sensor(http: httpx.Client, home: Home, runs: Any) -> None:
    runs.away = True
    assert http.post(PATH, params={"name": "a.txt"}, content=TREES).status_code == 202
    assert waiting(home) == {"a.txt": TREES}


def test_a_refusal_tells_its_reason_and_the_file_may_come_again(http: httpx.Client, home: Home) -> None:
    first = http.post(PATH, params={"name": "a.txt"}, content=TREES)
    assert (first.status_code, first.headers["location"]) == (202, first.json()["url"])
    problem = ledger.problem_of(refused("format", "it has no trees"))
    ledger.note(home, "pets", "a.txt", TREES, "refused", problem=problem)
    told = http.get(first.json()["url"]).json()
    assert (told["status"], told["problem"]["reason"]) == ("refused", "format")
    assert http.post(PATH, params={"name": "a.txt"}, content=TREES).json()["status"] == "received"


def test_bytes_that_are_a_model_already_give_the_record(http: httpx.Client, home: Home) -> None:
    ledger.note(home, "pets", "a.txt", TREES, "accepted", model_version=3)
    again = http.post(PATH, params={"name": "b.txt"}, content=TREES)
    assert (again.status_code, again.json()["model_version"]) == (200, 3)
    assert waiting(home) == {}


def test_a_form_does_too(http: httpx.Client, home: Home) -> None:
    sent = http.post(PATH, files={"file": ("a.txt", TREES)})
    assert (sent.status_code, sent.json()["columns"]) == (202, None)
    assert waiting(home) == {"a.txt": TREES}


def test_a_waiting_file_is_not_overwritten(http: httpx.Client, home: Home) -> None:
    http.post(PATH, params={"name": "a.txt"}, content=TREES)
    other = http.post(PATH, params={"name": "a.txt"}, content=TREES + b"x")
    assert is_problem(other)["status"] == 409
    assert waiting(home) == {"a.txt": TREES}
    assert {record["size"]: record["status"] for record in http.get(PATH).json()["imports"]} == {
        len(TREES): "received",
        len(TREES) + 1: "refused",
    }


@pytest.mark.parametrize("name", ["../a.txt", "/etc/a.txt", "..", ".a.txt", "a\\b.txt", "a.txt\n", "a\0.txt"])
def test_a_name_is_never_a_path(http: httpx.Client, home: Home, name: str) -> None:
    raw = http.post(PATH, params={"name": name}, content=TREES)
    assert is_problem(raw)["type"] == "urn:tidemill:problem:model-refused"
    assert raw.json()["reason"] == "name"
    assert waiting(home) == {}


def test_a_name_in_a_form_is_never_a_path(http: httpx.Client, home: Home) -> None:
    assert is_problem(http.post(PATH, files={"file": ("../a.txt", TREES)}))["reason"] == "name"
    assert list(ledger.folder(home, "pets").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("a.pkl", b"\x80\x04", "pickle"),
        ("a.onnx", b"\x80\x04\x95", "pickle"),
        ("a.csv", b"a,b\n", "format"),
        ("a.txt", b"", "empty"),
        ("a.txt", b"hello", "magic"),
    ],
)
def test_what_is_no_model_leaves_nothing(
    http: httpx.Client, home: Home, name: str, body: bytes, reason: str
) -> None:
    assert is_problem(http.post(PATH, params={"name": name}, content=body))["reason"] == reason
    folder = ledger.folder(home, "pets")
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_model_over_the_limit_is_a_413(http: httpx.Client, home: Home) -> None:
    large = TREES + b" " * 200_000
    assert is_problem(http.post(PATH, params={"name": "a.txt"}, content=large))["status"] == 413
    chunked = http.post(PATH, params={"name": "a.txt"}, content=iter([TREES, large]))
    assert is_problem(chunked)["status"] == 413
    assert list(ledger.folder(home, "pets").iterdir()) == []


def test_an_import_that_never_was(client: Client) -> None:
    for odd in ("0" * 16, "..%2f", "x"):
        with pytest.raises(ApiError) as caught:
            client.model_import("pets", odd)
        assert caught.value.status == 404
