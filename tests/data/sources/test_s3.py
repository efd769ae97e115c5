"""What is S3's own: buckets, keys of access, pages of listings."""

import json
import os
import socket
import time
from contextlib import closing

import boto3
import httpx
import pytest

from tidemill.errors import InvalidInput, SourceAway

OWNER = {"region_name": "us-east-1", "aws_access_key_id": "owner", "aws_secret_access_key": "s3cret"}


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


def test_keys_that_the_store_refuses_are_told_apart_from_a_store_that_is_away(strict_s3_world) -> None:
    world = strict_s3_world
    world.put("a.csv", b"x")
    reads = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "*"}
    with closing(boto3.client("iam", endpoint_url=world.server.endpoint, **OWNER)) as owner:
        keys = {}
        for name, allowed in (("reader", [reads]), ("stranger", [{**reads, "Effect": "Deny"}])):
            owner.create_user(UserName=name)
            policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
            owner.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
            keys[name] = owner.create_access_key(UserName=name)["AccessKey"]
    # From here the store asks of each call who makes it, and whether he may.
    httpx.post(f"{world.server.endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
    good, stranger = ((key["AccessKeyId"], key["SecretAccessKey"]) for key in keys.values())
    for access_key, secret_key in (("AKIAUNKNOWN", good[1]), (good[0], "Sesame-4711")):
        write_key(world, access_key, secret_key)
        with pytest.raises(InvalidInput, match="let us in") as refused:
            names(world)
        assert "secrets/lab_s3.yaml" in refused.value.remedy
        assert secret_key not in str(refused.value)
    write_key(world, *stranger)
    with pytest.raises(InvalidInput, match="must not be read"):
        names(world)
    write_key(world, *good)
    assert names(world) == ["a.csv"]


def write_key(world, access_key: str, secret_key: str) -> None:
    file = world.home.secrets / "lab_s3.yaml"
    file.write_text(f"access_key: {access_key}\nsecret_key: {secret_key}\n")
    file.chmod(0o600)


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
