"""The real server process against bad bodies, slow senders and idle crowds: a problem document, never a 500."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from fastapi import FastAPI

from tidemill.home import Home

from .served import Served

PATH = "/v1/projects/pets/predictions"
GOOD = b'{"pet_id": "p1", "kind": "cat", "weight": 19.0, "age": 3, "chipped": true, "born": "2020-01-01"}'
NDJSON = "application/x-ndjson"
# Clocks go faster, so that their ends are seen.
QUICK = """
import api.body, api.prediction_route
from api.guard import GuardedProtocol
GuardedProtocol.head_seconds = 4.0
api.body.BODY_SECONDS = api.body.PIECE_SECONDS = api.prediction_route.BODY_SECONDS = 4.0
"""


def with_value(text: bytes) -> bytes:
    return b'{"weight": 1, "kind": ' + text + b"}"


# name: (body, the headers besides JSON, statuses that are right)
BODIES: dict[str, tuple[bytes, dict[str, str], set[int]]] = {
    "NaN": (b'{"weight": NaN}', {}, {422}),
    "Infinity": (b'{"weight": Infinity}', {}, {422}),
    "-Infinity": (b'{"weight": -Infinity}', {}, {422}),
    "1e999": (b'{"weight": 1e999}', {}, {422}),
    "a number of 5000 digits": (b'{"weight": ' + b"9" * 5000 + b"}", {}, {422}),
    "a double key": (b'{"weight": 1, "weight": 2}', {}, {422}),
    "a double key by an escape": (b'{"weight": 1, "w\\u0065ight": 2}', {}, {422}),
    "bad UTF-8": (with_value(b'"\xff\xfe"'), {}, {422}),
    "an overlong UTF-8": (with_value(b'"\xc0\xaf"'), {}, {422}),
    "a surrogate in UTF-8": (with_value(b'"\xed\xa0\x80"'), {}, {422}),
    "half a surrogate": (with_value(b'"\\ud800"'), {}, {422}),
    "half a surrogate as a key": (b'{"weight": 1, "\\udc00": 2}', {}, {422}),
    "NUL": (with_value(b'"\\u0000"'), {}, {200}),
    "a string of 1 MB": (with_value(b'"' + b"x" * 1_000_000 + b'"'), {}, {200}),
    "a key of 1 MB": (b'{"weight": 1, "' + b"x" * 1_000_000 + b'": 2}', {}, {422}),
    "100,000 keys": (b"{" + b",".join(b'"k%d": 1' % n for n in range(100_000)) + b"}", {}, {422}),
    "deep lists": (b"[" * 500_000 + b"]" * 500_000, {}, {422}),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, {}, {422}),
    "a deep value": (with_value(b"[" * 900 + b"]" * 900), {}, {422}),
    "no body": (b"", {}, {422}),
    "too many bytes": (b" " * 3_000_000, {}, {413}),
    "too many records": (b"[" + b",".join([GOOD] * 101) + b"]", {}, {413}),
    "a gzip bomb": (gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"}, {413}),
    "a gzip bomb of a list": (gzip.compress(b"[" * 50_000_000), {"Content-Encoding": "gzip"}, {413}),
    "no gzip": (GOOD, {"Content-Encoding": "gzip"}, {422}),
    "an unknown coding": (GOOD, {"Content-Encoding": "br"}, {415}),
    "no kind we know": (GOOD, {"Content-Type": "image/png"}, {415}),
    "deep NDJSON": (GOOD + b"\n" + b"[" * 100_000, {"Content-Type": NDJSON}, {422}),
    "NaN in CSV": (b"weight\nNaN\n", {"Content-Type": "text/csv"}, {422}),
    "1e999 in CSV": (b"weight\n1e999\n", {"Content-Type": "text/csv"}, {422}),
    "a wide CSV": (b"weight" + b",x" * 500_000 + b"\n1\n", {"Content-Type": "text/csv"}, {422}),
    "no Arrow": (b"\xff" * 5000, {"Content-Type": "application/vnd.apache.arrow.stream"}, {422}),
}


@pytest.fixture
def server(deployed: FastAPI, home: Home) -> Iterator[Served]:
    deployed.state.context.state.engine.dispose()
    with Served(home, QUICK, max_body_bytes="2000000", max_records="100") as made:
        yield made


def problem_of(answer: bytes) -> dict[str, Any]:
    """The problem document of a raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower(), answer[:500]
    document: dict[str, Any] = json.loads(body)
    assert document["status"] == int(head.split(b" ", 2)[1])
    return document


def dropped(line: socket.socket, drop: bytes) -> bytes:
    """The answer after one more drop; empty when the connection is gone. Raises TimeoutError when there is none."""
    try:
        line.sendall(drop)
        answer = line.recv(65_536)
        line.settimeout(30)
        while answer and not _is_whole(answer):
            answer += line.recv(65_536)
        return answer
    except (BrokenPipeError, ConnectionResetError):
        return b""


def _is_whole(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(blank) and len(body) >= int(length)


def read(line: socket.socket) -> bytes:
    try:
        return b"".join(iter(lambda: line.recv(65_536), b""))
    except ConnectionResetError:
        return b""


def test_the_door_of_the_real_server(server: Served) -> None:
    with server.http() as http:
        # The model is at hand then, and whatever comes tries the quick way first.
        assert http.post(PATH, content=GOOD).json()["label"] == "yes"
        for name, (body, headers, right) in BODIES.items():
            answer = http.post(PATH, content=body, headers={"Content-Type": "application/json", **headers})
            assert answer.status_code in right, (name, answer.status_code, answer.text[:300])
            assert len(answer.content) < 100_000, name
            if answer.status_code != 200:
                assert answer.headers["content-type"] == "application/problem+json", name
                assert answer.json()["request_id"] == answer.headers["x-request-id"]
        trickled_heads_and_bodies(server)
        crowd(server, 500)
        assert http.post(PATH, content=GOOD).json()["label"] == "yes"


def trickled_heads_and_bodies(server: Served) -> None:
    """Senders that keep a connection busy with almost nothing are told, and let go, each at its own clock."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {server.key}\r\n".encode()
    drops = {
        "headers": (head, b"X-A: b\r\n"),
        "a body": (head + b"Content-Length: 500\r\n\r\n", b" "),
        "chunks": (head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    }
    with ExitStack() as stack:
        lines = {name: stack.enter_context(server.connect()) for name in drops}
        for name, line in lines.items():
            line.sendall(drops[name][0])
            line.settimeout(0.1)
        answers: dict[str, bytes] = {}
        until = time.monotonic() + 60
        while len(answers) < len(lines) and time.monotonic() < until:
            for name in lines.keys() - answers.keys():
                with suppress(TimeoutError):
                    answers[name] = dropped(lines[name], drops[name][1])
        assert answers.keys() == lines.keys()
        # A drop that meets a closed connection can cost the answer, not the closing.
        statuses = {problem_of(answer)["status"] for answer in answers.values() if answer}
    assert statuses == {408}
    with server.connect() as line:
        line.sendall(head + b"Content-Length: 50\r\nContent-Length: 60\r\n\r\n")
        assert problem_of(read(line))["status"] == 400
    with server.connect() as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 200_000)
        answer = read(line)
        assert answer == b"" or problem_of(answer)["status"] == 431


def crowd(server: Served, many: int) -> None:
    """Idle connections take nobody's place, and are let go when their clock ends."""
    with ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(many)]
        with server.http() as http:
            assert http.post(PATH, content=GOOD).status_code == 200
        for line in idle:
            line.settimeout(30)
            answer = read(line)  # to its end: the server closed it
            assert answer == b"" or problem_of(answer)["status"] == 408
    with server.http() as http:
        assert http.get("/readyz").status_code == 200
