"""What is S3's own: buckets, keys of access, pages of listings."""

import os
import socket
import time

import pytest

from tidemill.errors import InvalidInput, SourceAway


@pytest.fixture
def world(s3_world):
    return s3_world


def names(world, path: str = "*.csv", **fields) -> list[str]:
    with world.connect(world.source(path, **fields)) as source:
        return [found.name for found in source.find()]


def test_a_bucket_that_is_not_there_is_away(world) -> None:
    with pytest.raises(SourceAway):
        names(world, bucket="no-such-bucket")


def test_a_prefix_without_objects_is_empty(world) -> None:
    assert names(world, "nowhere/*.csv") == []


def test_a_key_that_stands_for_a_folder_is_no_file(world) -> None:
    world.put("sub/", b"")
    world.put("sub/a.csv", b"x")
    assert names(world, "*") == []
    assert names(world, "*/*") == ["sub/a.csv"]


def test_an_object_is_taken_with_the_first_look(world, look_at) -> None:
    world.put("a.csv", b"x")
    assert look_at(world).taken == ["a.csv"]


def test_without_its_secret_the_message_names_the_file(world) -> None:
    (world.home.secrets / "lab_s3.yaml").unlink()
    with pytest.raises(InvalidInput, match="missing") as refused:
        names(world)
    assert str(world.home.secrets / "lab_s3.yaml") in refused.value.detail


def test_a_store_that_says_nothing_is_away_within_the_limit(world) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = world.source().model_copy(update={"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        began = time.monotonic()
        with pytest.raises(SourceAway), world.connect(source, timeout=1.0) as opened:
            opened.find()
        assert time.monotonic() - began < 8


def test_proxies_of_the_environment_are_not_asked_for_a_store_of_our_own(
    world, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("a.csv", b"x")
    monkeypatch.setitem(os.environ, "HTTP_PROXY", "http://127.0.0.1:9")
    assert names(world) == ["a.csv"]
