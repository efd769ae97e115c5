import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tidemill.client import ApiError, Client
from tidemill.data.ingest import ingest_pending
from tidemill.home import Home
from tidemill.project import load_project

RECORDS = "/v1/projects/pets/records"
LINES = {"Content-Type": "application/x-ndjson"}
ROW = {"pet_id": "p1", "kind": "cat", "weight": 4.5, "age": 3, "chipped": True, "born": None, "sick": "no"}


def waiting(home: Home) -> list[Path]:
    inbox = home.inbox("pets")
    return sorted(inbox.iterdir()) if inbox.is_dir() else []


def refused(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    return document


def test_rows_become_a_file_that_is_taken_in(app: FastAPI, client: Client, home: Home, runs: Any) -> None:
    answer = client.send_records("pets", [ROW, ROW | {"pet_id": "p2", "weight": -1}, ROW | {"pet_id": "p3"}])
    assert (answer["status"], answer["name"]) == ("received", f"records-{answer['id'][:12]}.ndjson")
    assert [run.job for run in runs.runs.values()] == ["ingest"]
    project = load_project(home, "pets")
    rejecting = project.model_copy(update={"rejects": project.rejects.model_copy(update={"max_share": 0.5})})
    ingest_pending(home, app.state.context.state, rejecting)
    record = client.file("pets", answer["id"])
    assert (record["status"], record["rows"], record["rejected"]) == ("accepted", 3, 1)
    assert record["dataset"] == "raw@1"
    assert "weight" in client.rejects("pets", answer["id"])
    again = client.send_records("pets", [ROW, ROW | {"pet_id": "p2", "weight": -1}, ROW | {"pet_id": "p3"}])
    assert (again["id"], again["status"], again["dataset"]) == (answer["id"], "accepted", "raw@1")
    assert waiting(home) == []
    assert len(runs.runs) == 1
    rows = client.table("pets", "raw")
    assert dict(zip(rows["columns"], rows["rows"][0], strict=True))["chipped"] is True


def test_the_same_rows_again_are_the_same_file(http: httpx.Client) -> None:
    first = http.post(RECORDS, json={"records": [ROW]})
    other_order = dict(reversed(ROW.items()))
    del other_order["born"]
    again = http.post(RECORDS, content=json.dumps(other_order) + "\n\n", headers=LINES)
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]


def test_a_number_keeps_its_digits(http: httpx.Client, home: Home) -> None:
    body = b'{"records":[{"pet_id":12345678901234567890,"weight":1.10,"age":null,"chipped":false}]}'
    assert http.post(RECORDS, content=body).status_code == 202
    row = json.loads(waiting(home)[0].read_text())
    assert (row["pet_id"], row["weight"], row["chipped"]) == ("12345678901234567890", "1.10", "false")
    assert list(row) == ["pet_id", "kind", "weight", "age", "chipped", "born", "sick"]


def test_a_column_that_the_contract_does_not_have(http: httpx.Client, home: Home) -> None:
    for answer in (
        http.post(RECORDS, json={"records": [ROW, ROW | {"colour": "red"}]}),
        http.post(RECORDS, content=json.dumps(ROW | {"colour": "red"}), headers=LINES),
    ):
        document = refused(answer, 409)
        assert document["type"] == "urn:tidemill:problem:contract-changed"
        assert document["diff"]["added"] == ["colour"]
    assert waiting(home) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"records":[{"weight":NaN}]}', "NaN"),
        (b'{"records":[{"weight":1,"weight":2}]}', "twice"),
        (b'{"records":[{"kind":"\\ud800"}]}', "surrogate"),
        (b'{"records":[{"kind":["cat"]}]}', "records[0]: the value of 'kind' is a list"),
        (b'{"records":[{"kind":"cat"},7]}', "records[1]: a row is an object"),
        (b'{"records":[' + b"[" * 50_000, "too deeply"),
        (b'{"records":[]}', "holds none"),
        (b'{"records":{}}', "a list"),
        (b'{"rows":[{}]}', "records"),
        (b"[]", "records"),
        (b"", "empty"),
        (b"\x1f\x8b\x08", "not UTF-8"),
        (b'{"records":[{"weight":1e999}]}', "too large"),
    ],
)
def test_what_are_no_records(http: httpx.Client, home: Home, body: bytes, why: str) -> None:
    assert why in refused(http.post(RECORDS, content=body), 422)["detail"]
    assert waiting(home) == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"weight":NaN}', "line 2: NaN"),
        (b'{"kind":"\\udfff"}', "surrogate"),
        (b'{"kind":{"a":1}}', "a list or an object"),
        (b'{"kind":' + b"[" * 50_000, "too deeply"),
        (b"kind,weight", "line 2"),
        (b'{"kind":"\xff"}', "not UTF-8"),
    ],
)
def test_one_bad_line_and_nothing_is_taken(http: httpx.Client, home: Home, line: bytes, why: str) -> None:
    answer = http.post(RECORDS, content=json.dumps(ROW).encode() + b"\n" + line + b"\n", headers=LINES)
    assert why in refused(answer, 422)["detail"]
    assert waiting(home) == []


def test_limits(app: FastAPI, http: httpx.Client, home: Home) -> None:
    context = app.state.context
    context.settings = context.settings.model_copy(update={"max_sent_rows": 3})
    four = "\n".join(json.dumps(ROW) for _ in range(4))
    assert refused(http.post(RECORDS, content=four, headers=LINES), 413)["limit"] == 3
    assert refused(http.post(RECORDS, json={"records": [ROW] * 4}), 413)["limit"] == 3
    refused(http.post(RECORDS, json={"records": [ROW | {"kind": "x" * 100_000}]}), 413)

    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield b" " * 999 + b"\n"

    refused(http.post(RECORDS, content=endless(), headers=LINES), 413)
    assert waiting(home) == []


def test_a_cell_of_a_megabyte_over_many_pieces(app: FastAPI, http: httpx.Client, home: Home) -> None:
    context = app.state.context
    context.settings = context.settings.model_copy(update={"max_upload_bytes": 5_000_000})
    large = json.dumps(ROW | {"kind": "é" * 1_000_000}, ensure_ascii=False)
    small = [json.dumps(ROW | {"pet_id": f"q{number}"}) for number in range(5000)]
    assert http.post(RECORDS, content="\n".join([large, *small]), headers=LINES).status_code == 202
    lines = waiting(home)[0].read_text("utf-8").splitlines()
    assert len(lines) == 5001
    assert json.loads(lines[0])["kind"] == "é" * 1_000_000
    assert json.loads(lines[-1])["pet_id"] == "q4999"


def test_a_project_that_takes_no_such_file(http: httpx.Client, home: Home) -> None:
    file = home.project_file("pets")
    file.write_text(file.read_text() + "sources: [{kind: inbox, pattern: '*.csv'}]\n")
    assert "*.csv" in refused(http.post(RECORDS, json={"records": [ROW]}), 422)["detail"]


def test_the_client_sends_what_a_data_frame_holds(client: Client, home: Home) -> None:
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame(
        {"pet_id": ["a", "b"], "weight": [1.5, np.nan], "born": pd.to_datetime(["2020-01-02", None])}
    )
    client.send_records("pets", frame.to_dict("records"))
    rows = [json.loads(line) for line in waiting(home)[0].read_text().splitlines()]
    assert [row["weight"] for row in rows] == ["1.5", None]
    assert rows[0]["born"].startswith("2020-01-02")
    with pytest.raises(ApiError, match="no rows"):
        client.send_records("pets", [])
