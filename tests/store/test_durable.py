"""Files are replaced whole; locks keep processes apart; a full disk is said to be full."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from tidemill.errors import NotReady, StorageFull
from tidemill.store import durable


def test_replaces_a_file_whole(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file"
    durable.replace_bytes(file, b"old")
    durable.replace_bytes(file, b"new", mode=0o600)
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(file.parent) == ["file"]


def test_a_failure_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    durable.replace_bytes(file, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        durable.replace_bytes(file, b"new")
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_other_errors_of_the_disk_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), durable.disk_full_is_an_error(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_json_is_text_and_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    durable.replace_json(tmp_path / "a.json", {"größe": [1, None]})
    assert "größe" in (tmp_path / "a.json").read_text()
    assert json.loads((tmp_path / "a.json").read_text()) == {"größe": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        durable.replace_json(tmp_path / "a.json", float("nan"))


def hold(file: str, ready: str, go: str) -> None:
    with durable.locked(Path(file)):
        Path(ready).touch()
        while not Path(go).exists():
            pass


def test_a_lock_keeps_another_process_out_until_it_ends(tmp_path: Path) -> None:
    file, ready, go = tmp_path / "lock", tmp_path / "ready", tmp_path / "go"
    holder = multiprocessing.get_context("spawn").Process(target=hold, args=(str(file), str(ready), str(go)))
    holder.start()
    try:
        while not ready.exists():
            assert holder.is_alive()
        with pytest.raises(NotReady) as busy, durable.locked(file, wait=0.05, what="the test"):
            pass
        assert "the test" in busy.value.title
        assert busy.value.retryable
    finally:
        holder.kill()
        holder.join()
    with durable.locked(file, wait=1.0):
        pass


def test_hashes_as_others_do(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert durable.sha256_of(tmp_path / "f").startswith("ba7816bf8f01cfea")
