import base64
import hashlib
import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient

from tidemill.client import ApiError, Client
from tidemill.data import ledger
from tidemill.data.uploads import UploadLimits, Uploads
from tidemill.errors import TooLarge
from tidemill.home import Home

from .conftest import add_project
from .served import Served

UPLOADS = "/v1/projects/pets/uploads"
CSV = b"pet_id,kind,weight,sick\n" + b"".join(b"p%d,cat,4,no\n" % row for row in range(100))
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def announce(http: httpx.Client, length: int = len(CSV), name: str = "pets.csv") -> httpx.Response:
    headers = {
        **TUS,
        "Upload-Length": str(length),
        "Upload-Metadata": f"filename {b64(name)},kind {b64('x')}",
    }
    return http.post(UPLOADS, headers=headers)


def send(http: httpx.Client, url: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
    return http.patch(url, content=data, headers={**PART, "Upload-Offset": str(offset), **headers})


def offset_of(http: httpx.Client, url: str) -> int:
    return int(http.head(url, headers=TUS).headers["Upload-Offset"])


def left(home: Home) -> list[str]:
    folder = home.inbox("pets") / ".uploads"
    return sorted(file.suffix for file in folder.iterdir() if file.name != ".lock") if folder.is_dir() else []


def test_parts_become_a_file_like_any_other(http: httpx.Client, home: Home, runs: Any) -> None:
    made = announce(http, name="Hospital A.csv")
    url = made.headers["Location"]
    assert (made.status_code, made.headers["Tus-Resumable"]) == (201, "1.0.0")
    assert "GMT" in made.headers["Upload-Expires"]
    assert offset_of(http, url) == 0
    first = send(http, url, 0, CSV[:700])
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, "700")
    assert "Tidemill-File" not in first.headers
    head = http.head(url, headers=TUS)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("700", str(len(CSV)))
    assert head.headers["Upload-Metadata"].startswith("filename ")
    assert head.headers["Cache-Control"] == "no-store"
    assert runs.runs == {}
    last = send(http, url, 700, CSV[700:])
    record = http.get(last.headers["Content-Location"]).json()
    assert record["id"] == last.headers["Tidemill-File"] == hashlib.sha256(CSV).hexdigest()[:16]
    assert (record["name"], record["bytes"], record["status"]) == ("Hospital A.csv", len(CSV), "received")
    assert (home.inbox("pets") / "Hospital_A.csv").read_bytes() == CSV
    assert [run.job for run in runs.runs.values()] == ["ingest"]
    assert left(home) == [".json"]
    told = http.get(url).json()
    assert (told["offset"], told["file"]["id"]) == (len(CSV), record["id"])
    assert http.get(UPLOADS).json()["uploads"][0]["id"] == told["id"]
    assert offset_of(http, url) == len(CSV)
    assert len(runs.runs) == 1


def test_the_same_bytes_by_either_way_are_one_file(http: httpx.Client, home: Home) -> None:
    whole = http.post("/v1/projects/pets/files", params={"name": "pets.csv"}, content=CSV).json()
    url = announce(http, name="again.csv").headers["Location"]
    assert send(http, url, 0, CSV).headers["Tidemill-File"] == whole["id"]
    files = http.get("/v1/projects/pets/files").json()["files"]
    assert [file["id"] for file in files] == [whole["id"]]
    assert home is not None


def test_a_wrong_offset_changes_nothing(http: httpx.Client) -> None:
    url = announce(http).headers["Location"]
    send(http, url, 0, CSV[:50])
    for offset in (0, 49, 51):
        refused = send(http, url, offset, CSV[50:])
        assert refused.status_code == 409
        assert refused.json()["offset"] == 50
        assert refused.headers["Tus-Resumable"] == "1.0.0"
    assert offset_of(http, url) == 50
    send(http, url, 50, CSV[50:])
    assert send(http, url, 0, CSV).status_code == 409  # it has landed


@pytest.mark.parametrize("checksum", ["sha1", "sha256", "md5"])
def test_a_part_with_a_checksum(http: httpx.Client, checksum: str) -> None:
    url = announce(http).headers["Location"]
    send(http, url, 0, CSV[:10])
    right = f"{checksum} {b64(hashlib.new(checksum, CSV[10:20]).digest())}"
    assert send(http, url, 10, CSV[10:19] + b"!", **{"Upload-Checksum": right}).status_code == 460
    assert offset_of(http, url) == 10
    assert send(http, url, 10, CSV[10:20], **{"Upload-Checksum": right}).status_code == 204
    assert offset_of(http, url) == 20
    assert send(http, url, 20, b"x", **{"Upload-Checksum": "crc32 AAAA"}).status_code == 422


def test_more_than_announced_and_more_than_allowed(http: httpx.Client, home: Home) -> None:
    url = announce(http).headers["Location"]
    assert send(http, url, 0, CSV + b"x").status_code == 413
    assert announce(http, 200_001).status_code == 413
    assert announce(http, 0).status_code == 422
    assert left(home) == [".bytes", ".json"]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (412, {"Tus-Resumable": "0.2.2"}),
        (412, {"Tus-Resumable": ""}),
        (422, {"Upload-Length": "-1"}),
        (422, {"Upload-Length": "1" * 40}),
        (422, {"Upload-Length": "²"}),
        (422, {"Upload-Metadata": "filename not-base64!"}),
        (422, {"Upload-Metadata": ""}),
        (422, {"Upload-Metadata": "filename " + b64("passwd")}),
        (401, {"Authorization": "Bearer no"}),
    ],
)
def test_announcements_that_are_refused(
    http: httpx.Client, home: Home, status: int, headers: dict[str, str]
) -> None:
    given = {**TUS, "Upload-Length": "10", "Upload-Metadata": "filename " + b64("a.csv"), **headers}
    refused = http.post(UPLOADS, headers={name: value.encode() for name, value in given.items()})
    assert refused.status_code == status
    assert refused.headers["Tus-Version"] == "1.0.0"
    assert left(home) == []


@pytest.mark.parametrize("name", ["../../etc/x.csv", "C:\\x.csv", ".hidden.csv", "a\n\x00.csv", "-rf.csv"])
def test_a_hostile_name_never_becomes_a_path(http: httpx.Client, home: Home, name: str) -> None:
    url = announce(http, name=name).headers["Location"]
    assert send(http, url, 0, CSV).status_code == 204
    found = list(home.root.rglob("*.csv"))
    assert [path.parent for path in found] == [home.inbox("pets")]


@pytest.mark.parametrize("upload", ["0" * 32, "..%2f..%2fstate", "x", "%00", "A" * 32])
def test_an_upload_that_was_never_announced(http: httpx.Client, upload: str) -> None:
    url = f"{UPLOADS}/{upload}"
    assert http.head(url, headers=TUS).status_code == 404
    assert send(http, url, 0, b"x").status_code == 404
    assert http.delete(url, headers=TUS).status_code == 404


def test_ending_an_upload(http: httpx.Client, home: Home) -> None:
    url = announce(http).headers["Location"]
    send(http, url, 0, CSV[:50])
    assert http.delete(url, headers=TUS).status_code == 204
    assert http.head(url, headers=TUS).status_code == 404
    assert left(home) == []


def test_what_is_no_part(http: httpx.Client) -> None:
    url = announce(http).headers["Location"]
    assert http.patch(url, content=b"x", headers={**TUS, "Upload-Offset": "0"}).status_code == 415
    assert http.patch(url, content=b"x", headers=PART).status_code == 422
    assert offset_of(http, url) == 0


def test_what_the_server_says_it_can_do(http: httpx.Client) -> None:
    said = http.options(UPLOADS)
    assert said.status_code == 204
    assert said.headers["Tus-Extension"] == "creation,termination,expiration,checksum"
    assert said.headers["Tus-Max-Size"] == "200000"


def test_a_project_has_so_many_uploads_open(app: Any, http: httpx.Client, home: Home) -> None:
    context = app.state.context
    context.settings = context.settings.model_copy(
        update={"max_open_uploads": 2, "max_open_upload_bytes": 3000}
    )
    first = announce(http, 2000).headers["Location"]
    full = announce(http, 1001)
    assert (full.status_code, full.json()["type"]) == (507, "urn:tidemill:problem:storage-full")
    assert announce(http, 1000).status_code == 201
    many = announce(http, 1)
    assert (many.status_code, many.json()["title"]) == (429, "Too many uploads are open")
    assert "DELETE" in many.json()["remedy"]
    http.delete(first, headers=TUS)
    assert announce(http, 1).status_code == 201
    assert left(home) == [".bytes", ".bytes", ".json", ".json"]


def test_an_upload_that_lay_untouched_is_forgotten(http: httpx.Client, home: Home) -> None:
    old = announce(http).headers["Location"]
    for file in (home.inbox("pets") / ".uploads").glob("*.*"):
        os.utime(file, (1e9, 1e9))
    note = next((home.inbox("pets") / ".uploads").glob("*.json"))
    note.write_text(json.dumps(json.loads(note.read_text()) | {"created": 1e9}))
    os.utime(note, (1e9, 1e9))
    assert http.head(old, headers=TUS).status_code == 404
    announce(http)
    assert left(home) == [".bytes", ".json"]


def test_a_whole_upload_that_a_crash_kept_from_landing(http: httpx.Client, home: Home, runs: Any) -> None:
    url = announce(http).headers["Location"]
    next((home.inbox("pets") / ".uploads").glob("*.bytes")).write_bytes(CSV)
    found = http.head(url, headers=TUS)
    assert found.headers["Tidemill-File"] == hashlib.sha256(CSV).hexdigest()[:16]
    assert (home.inbox("pets") / "pets.csv").read_bytes() == CSV
    assert len(runs.runs) == 1


def test_a_full_disk_keeps_what_found_room(
    http: httpx.Client, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = announce(http).headers["Location"]
    write = os.write

    def full(descriptor: int, data: Any) -> int:
        size = os.fstat(descriptor).st_size
        if len(data) > 100 and size >= 300:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:300])

    with monkeypatch.context() as patched:
        patched.setattr("tidemill.data.uploads.os.write", full)
        answer = send(http, url, 0, CSV)
    assert (answer.status_code, answer.json()["title"]) == (507, "The disk is full")
    assert offset_of(http, url) == 300
    assert send(http, url, 300, CSV[300:]).status_code == 204
    assert (home.inbox("pets") / "pets.csv").read_bytes() == CSV


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        home = Home.find(tmp_path_factory.mktemp("served") / "home").ensure()
        patched.setenv("TIDEMILL_HOME", str(home.root))
        add_project(home)
        with Served(home) as made:
            yield made


def bare_patch(served: Served, url: str, offset: int, announced: int, data: bytes) -> Any:
    line = served.connect()
    line.sendall(
        f"PATCH {url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\nTus-Resumable: 1.0.0\r\n"
        f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\n"
        f"Content-Length: {announced}\r\n\r\n".encode()
        + data
    )
    return line


def until(look: Any, wanted: Any) -> None:
    end = time.monotonic() + 10
    while (found := look()) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.02)


def test_a_real_tus_client(served: Served, tmp_path: Path) -> None:
    data = b"pet_id,kind,weight,sick\n" + b"".join(b"t%d,dog,4,no\n" % row for row in range(60_000))
    tus = TusClient(served.url + UPLOADS, headers={"Authorization": f"Bearer {served.key}"})
    options: dict[str, Any] = {
        "chunk_size": 200_000,
        "metadata": {"filename": "tus.csv"},
        "upload_checksum": True,
    }
    first = tus.uploader(file_stream=io.BytesIO(data), **options)
    first.upload_chunk()
    second = tus.uploader(file_stream=io.BytesIO(data), url=first.url, **options)
    assert second.offset == 200_000
    second.upload()
    assert (served.home.inbox("pets") / "tus.csv").read_bytes() == data
    assert tmp_path is not None


def test_a_client_that_goes_away_and_one_that_comes_too_early(served: Served) -> None:
    with served.http() as http:
        url = announce(http, name="cut.csv").headers["Location"]
        line = bare_patch(served, url, 0, len(CSV), CSV[:600])
        # A wrong offset, lest this part be the one that wins.
        until(lambda: send(http, url, 1, b"x").status_code, 423)
        assert http.delete(url, headers=TUS).status_code == 423
        line.close()  # a body shorter than its Content-Length
        until(lambda: offset_of(http, url), 600)
        until(lambda: send(http, url, 600, CSV[600:]).status_code, 204)
        assert (served.home.inbox("pets") / "cut.csv").read_bytes() == CSV
        cut = served.connect()
        cut.sendall(
            f"POST /v1/projects/pets/files?name=plain.csv HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
            f"{served.key}\r\nContent-Length: 5000\r\n\r\npet_id".encode()
        )
        until(lambda: len(list(served.home.inbox("pets").glob(".incoming-*"))), 1)
        cut.close()
        until(lambda: len(list(served.home.inbox("pets").glob(".incoming-*"))), 0)
        assert not (served.home.inbox("pets") / "plain.csv").exists()


def test_a_killed_server_goes_on_where_the_disk_says(home: Home) -> None:
    add_project(home)
    data = CSV * 2000
    with Served(home) as served, served.http() as http:
        url = announce(http, len(data)).headers["Location"]
        send(http, url, 0, data[:500_000])
        line = bare_patch(served, url, 500_000, len(data) - 500_000, data[500_000:1_800_000])
        until(lambda: offset_of(http, url) > 500_000, True)
        served.kill()
        line.close()
        served.start()
        offset = offset_of(http, url)
        assert 500_000 < offset <= 1_800_000
        assert send(http, url, offset, data[offset:]).status_code == 204
        assert (home.inbox("pets") / "pets.csv").read_bytes() == data


def test_the_store_without_http(tmp_path: Path) -> None:
    store = Uploads(tmp_path, UploadLimits(3, 1000, 1000, 60.0))
    upload = store.create("a.csv", 6)
    with pytest.raises(TooLarge), store.part(upload, 0) as part:  # noqa: PT012 - what came before must stay
        part.write(b"abc")
        part.write(b"defg")
    assert store.offset(upload) == 3
    with pytest.raises(ValueError, match="not whole"):
        store.land(upload, lambda _: "x")
    with store.part(upload, 3) as part:
        part.write(b"def")
        assert part.is_last
    with pytest.raises(KeyError):
        store.land(upload, lambda _: {}["no"])
    assert store.land(upload, lambda file: file.read_text()).file == "abcdef"
    assert store.land(upload, lambda file: file.read_text()).file == "abcdef"


def test_a_digest_that_was_announced_is_compared(http: httpx.Client, home: Home) -> None:
    metadata = f"filename {b64('a.csv')},sha256 {b64('0' * 64)}"
    headers = {**TUS, "Upload-Length": str(len(CSV)), "Upload-Metadata": metadata}
    url = http.post(UPLOADS, headers=headers).headers["Location"]
    assert send(http, url, 0, CSV).status_code == 460
    assert http.head(url, headers=TUS).status_code == 460
    assert not (home.inbox("pets") / "a.csv").exists()
    assert http.delete(url, headers=TUS).status_code == 204


def test_the_client_sends_in_parts(client: Client, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.client_files.PART_BYTES", 500)
    seen: list[tuple[int, int]] = []
    record = client.upload("pets", CSV, "a.csv", resume=True, on_progress=lambda *now: seen.append(now))
    assert (record["status"], record["sha256"]) == ("received", hashlib.sha256(CSV).hexdigest())
    assert seen == [(there, len(CSV)) for there in (0, 500, 1000, len(CSV))]
    assert (home.inbox("pets") / "a.csv").read_bytes() == CSV


def test_the_client_sends_nothing_that_is_in_the_table(app: Any, client: Client) -> None:
    record = client.upload("pets", CSV, "a.csv")
    counts = {"rows": 100, "accepted": 100, "rejected": 0, "dataset_version": 1}
    ledger.finish(app.state.context.state, "pets", record["id"], "accepted", **counts)
    again = client.upload("pets", CSV, "b.csv", resume=True, on_progress=lambda *_: pytest.fail("sent"))
    assert (again["id"], again["name"], again["dataset"]) == (record["id"], "a.csv", "raw@1")


def test_the_client_goes_on_after_a_kill_and_after_its_own_end(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.client_files.PART_BYTES", 300_000)
    monkeypatch.setattr("tidemill.client_files.RETRY_SECONDS", 0.05)
    add_project(home)
    file = tmp_path / "large.csv"
    file.write_bytes(CSV * 2000)
    size = file.stat().st_size
    with Served(home) as served, served.client() as client:
        seen: list[int] = []

        class Stopped(Exception):
            pass

        def stop(there: int, _size: int) -> None:
            seen.append(there)
            if there > 600_000:
                raise Stopped

        with pytest.raises(Stopped):
            client.upload("pets", file, resume=True, on_progress=stop)

        def kill(there: int, _size: int) -> None:
            if there > 1_200_000 and max(seen) <= 1_200_000:
                served.kill()
                threading.Timer(0.5, served.start).start()
            seen.append(there)

        began = len(seen)
        record = client.upload("pets", file, resume=True, on_progress=kill)
        assert seen[began] == 900_000
        assert seen == sorted(seen)
        assert seen[-1] == size
        assert record["bytes"] == size
        assert (home.inbox("pets") / "large.csv").read_bytes() == file.read_bytes()


def test_the_client_gives_up_what_cannot_help(client: Client) -> None:
    with pytest.raises(ApiError, match="too large"):
        client.upload("pets", b"x" * 200_001, "a.csv", resume=True)
