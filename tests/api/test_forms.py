"""Predictions in every form of body and answer: the same records, the same answers, the same log."""

import csv
import gzip
import io
import json
import zlib
from typing import Any

import httpx
import pyarrow as pa
import pytest

from api.forms import UnsupportedMediaType, form_of, wanted_form
from tidemill.home import Home
from tidemill.store.history import count, recent

PATH = "/v1/projects/pets/predictions"
SICK = {"pet_id": "p1", "kind": "cat", "weight": 19.0, "age": 3, "chipped": True, "born": "2020-01-01"}
WELL = {**SICK, "pet_id": "p2", "weight": 2.0, "age": None}
ODD = {**SICK, "pet_id": "p3", "kind": "=bird"}
NDJSON, CSV, ARROW = "application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream"

pytestmark = pytest.mark.usefixtures("deployed")


def stream(records: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(records)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def comma(records: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue().encode()


def lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


WRITERS = {NDJSON: lines, CSV: comma, ARROW: stream}


def rows_of(answer: httpx.Response) -> list[dict[str, Any]]:
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == CSV:
        return list(csv.DictReader(io.StringIO(answer.text)))
    if kind == ARROW:
        return list(pa.ipc.open_stream(answer.content).read_all().to_pylist())
    if kind == NDJSON:
        return [json.loads(line) for line in answer.text.splitlines()]
    document = answer.json()
    return list(document.get("predictions", [document]))


@pytest.mark.parametrize("kind", WRITERS)
def test_each_form_gets_the_answers_of_json_in_its_own_form(
    http: httpx.Client, home: Home, kind: str
) -> None:
    records = [SICK, WELL, ODD]
    wanted = http.post(PATH, json=records).json()["predictions"]
    answer = http.post(PATH, content=WRITERS[kind](records), headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == kind
    rows = rows_of(answer)
    assert [row["label"] for row in rows] == [row["label"] for row in wanted]
    assert [float(row["score"]) for row in rows] == [row["score"] for row in wanted]
    logged = recent(home, "pets", "predictions", 10)
    assert len(logged) == 6
    assert {row["id"] for row in rows} < {row["id"] for row in logged}
    for entity in ("p1", "p2", "p3"):
        first, second = (row for row in logged if row["entity_id"] == entity)
        assert first["input"] == second["input"]
        assert first["flags"] == second["flags"]


def test_columns_of_a_table_answer(http: httpx.Client) -> None:
    answer = http.post(f"{PATH}?partial=true&explain=true", content=comma([ODD, {**SICK, "weight": "heavy"}]),
                       headers={"Content-Type": CSV})  # fmt: skip
    first, second = rows_of(answer)
    assert (first["status"], second["status"]) == ("200", "422")
    assert first["flags"] == "unknown_category:kind"
    assert float(first["probability_yes"]) == float(first["score"])
    assert float(first["contribution_weight"]) > 0
    assert second["faults"] == "weight: it must be a number, without quotes"
    assert second["label"] == second["id"] == ""
    answer = http.post(f"{PATH}?partial=true", content=lines([ODD, {}]),
                       headers={"Content-Type": NDJSON, "Accept": ARROW})  # fmt: skip
    first, second = rows_of(answer)
    assert first["flags"] == [
        {"field": "kind", "problem": "unknown_category", "action": "flagged", "found": None}
    ]
    assert second["faults"] == [{"field": "weight", "found": "nothing", "message": "a value is required"}]


def test_rows_that_cannot_be_read_keep_their_place(http: httpx.Client, home: Home) -> None:
    body = lines([SICK]) + b"{broken\n" + lines([WELL])
    refused = http.post(PATH, content=body, headers={"Content-Type": NDJSON})
    assert refused.status_code == 422
    assert [(one["record"], one["field"]) for one in refused.json()["faults"]] == [(1, "")]
    assert count(home, "pets", "predictions") == 0
    taken = http.post(f"{PATH}?partial=true", content=body, headers={"Content-Type": NDJSON})
    assert [row["status"] for row in rows_of(taken)] == [200, 422, 200]
    assert count(home, "pets", "predictions") == 2


@pytest.mark.parametrize("kind", [*WRITERS, "application/json"])
def test_accept_chooses_the_form_of_the_answer(http: httpx.Client, kind: str) -> None:
    for body in (SICK, [SICK, WELL]):
        answer = http.post(PATH, json=body, headers={"Accept": f"text/html, {kind};q=0.9, */*;q=0.1"})
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert rows_of(answer)[0]["label"] == "yes"


@pytest.mark.parametrize("kind", ["application/xml", "application/parquet", "multipart/form-data; boundary=x",
                                  "application/json; charset=utf-16", "text/csv;charset=latin-1"])  # fmt: skip
def test_other_kinds_of_body_are_a_415(http: httpx.Client, kind: str) -> None:
    answer = http.post(PATH, content=b"{}", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:tidemill:problem:unsupported-media-type")
    assert "text/csv" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "Application/JSON; a=b",
                                  "application/vnd.api+json"])  # fmt: skip
def test_what_clients_say_without_thinking_is_json(http: httpx.Client, kind: str) -> None:
    assert form_of(kind) == "json"
    assert http.post(PATH, content=json.dumps(SICK), headers={"Content-Type": kind}).status_code == 200


def test_accept_is_read_as_http_has_it() -> None:
    assert wanted_form("", "csv") == "csv"
    assert wanted_form("*/*", "csv") == "csv"
    assert wanted_form("text/html", "json") == "json"
    assert wanted_form("text/*;q=0.5, application/json;q=0.4", "csv") == "csv"
    assert wanted_form("text/csv;q=0, application/json", "csv") == "json"
    assert wanted_form("text/csv;q=x", "json") == "json"
    with pytest.raises(UnsupportedMediaType):
        form_of("image/png")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity", "gzip, identity"])
def test_compressed_bodies_are_unpacked(http: httpx.Client, coding: str) -> None:
    body = json.dumps(SICK).encode()
    packed = {"g": gzip.compress(body), "d": zlib.compress(body), "i": body}[coding[0]]
    answer = http.post(PATH, content=packed, headers={"Content-Encoding": coding})
    assert answer.json()["label"] == "yes"


@pytest.mark.parametrize("path", [PATH, "/v1/projects/pets/ground-truth", "/v1/projects/pets/trainings"])
@pytest.mark.parametrize(
    ("packed", "coding", "status"),
    [
        (gzip.compress(b" " * 50_000_000), "gzip", 413),
        (zlib.compress(b"[" * 50_000_000), "deflate", 413),
        (gzip.compress(gzip.compress(b" " * 50_000_000)), "gzip, gzip", 413),
        (gzip.compress(b"{}") * 3000 + gzip.compress(b" " * 99_000), "gzip", 413),
        (gzip.compress(b'{"weight": 1}')[:-9], "gzip", 422),
        (b"{}", "gzip", 422),
        (b"\x1f\x8b\x08\x00", "gzip", 422),
        (b"{}", "br", 415),
        (b"{}", "gzip, zstd", 415),
    ],
)
def test_bombs_and_lies_of_content_encoding(
    http: httpx.Client, path: str, packed: bytes, coding: str, status: int
) -> None:
    answer = http.post(path, content=packed, headers={"Content-Encoding": coding})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", WRITERS)
def test_limits_on_rows_and_bytes_hold_in_every_form(http: httpx.Client, kind: str) -> None:
    many = http.post(PATH, content=WRITERS[kind]([SICK] * 51), headers={"Content-Type": kind})
    assert (many.status_code, many.json()["limit"]) == (413, 50)
    long = http.post(PATH, content=WRITERS[kind]([SICK]) + b" " * 100_000, headers={"Content-Type": kind})
    assert (long.status_code, long.json()["limit"]) == (413, 100_000)
    for body in (b"", b"\x00\xff\xfe" * 99):
        broken = http.post(PATH, content=body, headers={"Content-Type": kind})
        assert broken.status_code == 422, broken.text
