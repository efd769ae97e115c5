from __future__ import annotations

import json
import os
import socket

import pytest

from tidemill.errors import Conflict, InvalidInput
from tidemill.ops import ports

HOST = "127.0.0.1"


@pytest.fixture
def held():
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def test_a_held_port_is_not_free_and_its_holder_is_named(held):
    assert not ports.is_free(HOST, held)
    assert f"(pid {os.getpid()})" in (ports.holder(held) or "")


def test_a_wildcard_listener_holds_the_loopback_port_too():
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert not ports.is_free(HOST, server.getsockname()[1])


def test_a_port_is_kept_from_start_to_start(tmp_path):
    memory = tmp_path / "run" / "ports.json"
    wish = {"api": ports.any_free(HOST)}
    first, notes = ports.choose(memory, wish, {}, HOST)
    assert first == wish
    assert notes == []
    other = {"api": ports.any_free(HOST)}
    assert ports.choose(memory, other, {}, HOST)[0] == first
    assert json.loads(memory.read_text()) == first


def test_a_taken_port_is_left_to_its_holder_and_said(tmp_path, held):
    chosen, notes = ports.choose(tmp_path / "ports.json", {"api": held}, {}, HOST)
    assert chosen["api"] != held
    assert f"port {held} is held by" in notes[0]
    assert f"api moves to {chosen['api']}" in notes[0]


def test_no_two_services_share_a_port(tmp_path):
    port = ports.any_free(HOST)
    chosen, _ = ports.choose(tmp_path / "ports.json", {"api": port, "ui": port}, {}, HOST)
    assert chosen["api"] != chosen["ui"]


def test_a_demanded_port_is_used_or_refused(tmp_path, held):
    port = ports.any_free(HOST)
    assert ports.choose(tmp_path / "ports.json", {"api": held}, {"api": port}, HOST)[0] == {"api": port}
    with pytest.raises(Conflict) as refused:
        ports.choose(tmp_path / "ports.json", {"api": port}, {"api": held}, HOST)
    assert f"TIDEMILL_API_PORT is {held}" in refused.value.detail


def test_a_broken_memory_only_means_choosing_again(tmp_path):
    memory = tmp_path / "ports.json"
    port = ports.any_free(HOST)
    for content in ("{", "[1]", '{"api": "x"}'):
        memory.write_text(content)
        assert ports.choose(memory, {"api": port}, {}, HOST)[0] == {"api": port}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "::1"])
def test_loopback_is_allowed(host):
    assert ports.check_host(host) in ("127.0.0.1", "::1")


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.168.1.4", "::", "box.example"])
def test_anything_else_is_refused(host):
    with pytest.raises(InvalidInput, match="only listens on this machine"):
        ports.check_host(host)
