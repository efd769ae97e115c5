from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tidemill.client import ApiError, Client
from tidemill.data import ledger
from tidemill.data.ingest import ingest_pending
from tidemill.home import Home

FILES = "/v1/projects/pets/files"
CSV = b"pet_id,kind,weight,sick\np1,cat,4,no\n"


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nx\r\n--b--\r\n'


def waiting(home: Home) -> list[str]:
    inbox = home.inbox("pets")
    return sorted(path.name for path in inbox.iterdir()) if inbox.is_dir() else []


def refused(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    return document


def test_a_form_lands_in_the_inbox_and_starts_ingestion(http: httpx.Client, home: Home, runs: Any) -> None:
    answer = http.post(FILES, files={"file": ("Hospital A.csv", CSV, "text/csv")})
    assert answer.status_code == 202
    record = answer.json()
    assert (record["name"], record["status"], record["bytes"]) == ("Hospital A.csv", "received", len(CSV))
    assert record["sha256"].startswith(record["id"])
    assert (home.inbox("pets") / "Hospital_A.csv").read_bytes() == CSV
    assert [run.job for run in runs.runs.values()] == ["ingest"]
    assert http.get(record["url"]).json()["id"] == record["id"]


def test_raw_bytes_with_a_name_do_the_same(client: Client, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "pets.csv"
    file.write_bytes(CSV)
    assert client.upload("pets", file)["name"] == "pets.csv"
    assert client.upload("pets", CSV + b"p2,dog,5,no\n", "more.csv")["name"] == "more.csv"
    assert waiting(home) == ["more.csv", "pets.csv"]
    assert [record["name"] for record in client.files("pets")] == ["more.csv", "pets.csv"]


def test_dagster_away_is_no_error(http: httpx.Client, home: Home, runs: Any) -> None:
    runs.away = True
    assert http.post(FILES, params={"name": "a.csv"}, content=CSV).status_code == 202
    assert waiting(home) == ["a.csv"]


def test_the_same_bytes_again_give_the_stored_record(
    app: FastAPI, http: httpx.Client, home: Home, runs: Any
) -> None:
    first = http.post(FILES, params={"name": "a.csv"}, content=CSV).json()
    ledger.finish(app.state.context.state, "pets", first["id"], "accepted", rows=1, accepted=1, rejected=0)
    (home.inbox("pets") / "a.csv").unlink()
    again = http.post(FILES, params={"name": "b.csv"}, content=CSV)
    assert again.status_code == 200
    assert (again.json()["status"], again.json()["name"]) == ("accepted", "a.csv")
    assert waiting(home) == []
    assert len(runs.runs) == 1


def test_a_waiting_file_is_never_overwritten(http: httpx.Client, home: Home) -> None:
    http.post(FILES, params={"name": "a.csv"}, content=CSV)
    http.post(FILES, params={"name": "a.csv"}, content=CSV + b"p2,dog,5,no\n")
    names = waiting(home)
    assert len(names) == 2
    assert (home.inbox("pets") / "a.csv").read_bytes() == CSV
    assert names[0].startswith("a-")


@pytest.mark.parametrize(
    ("given", "placed"),
    [
        ("../../etc/cron.d/x.csv", "x.csv"),
        ("C:\\data\\Umsätze 2026.XLSX", "Umsatze_2026.XLSX"),
        (".hidden.csv", "hidden.csv"),
        ("a\nb\x00.csv", "a_b_.csv"),
        ("x" * 400 + ".csv", "x" * 116 + ".csv"),
        ("-rf.csv", "rf.csv"),
    ],
)
def test_a_clients_name_never_becomes_a_path(http: httpx.Client, home: Home, given: str, placed: str) -> None:
    answer = http.post(FILES, params={"name": given}, content=CSV)
    assert answer.status_code == 202
    assert waiting(home) == [placed]
    assert "/" not in answer.json()["name"]
    assert answer.json()["name"].isprintable()


@pytest.mark.parametrize("name", ["passwd", "data.", "日本", "..", ".csv/..", "a.toolongsuffix"])
def test_a_name_without_a_suffix_is_refused(http: httpx.Client, home: Home, name: str) -> None:
    answer = http.post(FILES, params={"name": name}, content=CSV)
    assert (answer.status_code, refused(answer)["title"]) == (422, "The file's name has no suffix")
    assert waiting(home) == []


def test_a_name_the_project_does_not_take(http: httpx.Client, home: Home) -> None:
    file = home.project_file("pets")
    file.write_text(file.read_text() + "sources: [{kind: inbox, pattern: '*.xlsx'}]\n")
    answer = http.post(FILES, params={"name": "a.csv"}, content=CSV)
    assert answer.status_code == 422
    assert "*.xlsx" in refused(answer)["detail"]


def test_too_large_leaves_nothing_behind(http: httpx.Client, home: Home) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 10_000

    announced = http.post(FILES, params={"name": "a.csv"}, content=b"x" * 200_001)
    chunked = http.post(FILES, params={"name": "a.csv"}, content=endless())
    form = http.post(FILES, files={"file": ("a.csv", b"x" * 200_001)})
    for answer in (announced, chunked, form):
        assert (answer.status_code, refused(answer)["title"]) == (413, "The file is too large")
    assert waiting(home) == []
    assert http.get(FILES).json() == {"files": []}


@pytest.mark.parametrize(
    ("content_type", "body", "detail"),
    [
        ("multipart/form-data", b"x", "boundary"),
        ("multipart/form-data; boundary=b", b"nonsense", ""),
        ("multipart/form-data; boundary=b", PART.replace(b"--b--\r\n", b""), "cut off"),
        ("multipart/form-data; boundary=b", PART.replace(b"file", b"other"), "no field"),
        ("multipart/mixed; boundary=b", b"--b--\r\n", "boundary"),
        ("text/csv", b"a,b\n", "format"),
    ],
)  # fmt: skip
def test_bodies_that_hold_no_file(
    http: httpx.Client, home: Home, content_type: str, body: bytes, detail: str
) -> None:
    answer = http.post(FILES, content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 422
    assert detail in refused(answer)["detail"]
    assert waiting(home) == []


def test_two_files_in_one_form(http: httpx.Client, home: Home) -> None:
    files = [("file", ("a.csv", CSV)), ("file", ("b.csv", CSV))]
    assert http.post(FILES, files=files).status_code == 422
    assert waiting(home) == []


def test_an_empty_file(http: httpx.Client) -> None:
    answer = http.post(FILES, params={"name": "a.csv"}, content=b"")
    assert (answer.status_code, refused(answer)["title"]) == (422, "The file is empty")


def test_rejects_as_csv(app: FastAPI, client: Client, home: Home) -> None:
    record = client.upload("pets", CSV, "a.csv")
    assert client.rejects("pets", record["id"]) == "file,line,column,value,reason\r\n"
    file = ledger.rejects_file(home, "pets", record["id"])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("line,column,value,reason\n2,weight,x,not a number\n")
    assert client.rejects("pets", record["id"]).splitlines()[1] == "a.csv,2,weight,x,not a number"
    with pytest.raises(ApiError, match="There is no such file"):
        client.rejects("pets", "..x")
    assert app is not None


def test_waiting_for_a_file(app: FastAPI, client: Client) -> None:
    record = client.upload("pets", CSV, "a.csv")
    with pytest.raises(ApiError, match="has not ended yet"):
        client.wait_file("pets", record["id"], timeout=0.2)
    ledger.finish(app.state.context.state, "pets", record["id"], "refused", problem={"title": "No header"})
    assert client.wait_file("pets", record["id"], timeout=1)["problem"] == {"title": "No header"}


def test_rejected_rows_come_back_as_a_file(
    app: FastAPI, client: Client, http: httpx.Client, home: Home
) -> None:
    context = app.state.context
    bad = b"pet_id,kind,weight,age,chipped,born,sick\np1,cat,4,1,,,no\np2,cat,heavy,1,,,no\n"
    record = client.upload("pets", bad, "my pets.csv")
    with pytest.raises(ApiError, match="one by one") as caught:
        client.rejected_rows("pets", record["id"])
    assert caught.value.status == 409
    lenient = {"rejects": context.project("pets").rejects.model_copy(update={"max_share": 0.5})}
    ingest_pending(home, context.state, context.project("pets").model_copy(update=lenient))
    answer = http.get(f"{record['url']}/rejected-rows")
    assert answer.headers["content-disposition"] == 'attachment; filename="my_pets-rejected-rows.csv"'
    rows = client.rejected_rows("pets", record["id"]).decode("utf-8-sig").splitlines()
    assert rows[1] == f"{record['id']}-my_pets.csv,3,weight: not a number,p2,cat,heavy,1,,,no"
    found = {"format": "csv", "encoding": "utf-8", "delimiter": ",", "decimal": "."}
    assert client.file("pets", record["id"])["found"] == found
    assert [each["found"] for each in client.files("pets")] == [found]
