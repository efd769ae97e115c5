"""Secrets of sources: one private file each, and never a part of a message."""

import os
from pathlib import Path

import pytest

from tidemill.data.sources.credentials import read_secret
from tidemill.errors import InvalidInput
from tidemill.home import Home

WORD = "Sesame-4711"


def read(home: Home) -> dict[str, str]:
    return read_secret(home, "lab", fields=("password", "private_key"), needed=("password", "private_key"))


def put(home: Home, text: str, mode: int = 0o600) -> Path:
    file = home.secrets / "lab.yaml"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_private_file_is_read(home: Home) -> None:
    put(home, f"password: {WORD}\n")
    assert read(home) == {"password": WORD}


def test_a_missing_file_is_named_with_the_way_out(home: Home) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(home)
    assert str(home.secrets / "lab.yaml") in refused.value.detail
    assert "chmod 600" in refused.value.remedy
    assert "`password: ...`" in refused.value.remedy


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(mode: int, home: Home) -> None:
    file = put(home, f"password: {WORD}\n", mode)
    with pytest.raises(InvalidInput) as refused:
        read(home)
    assert f"{mode:03o}" in refused.value.detail
    assert f"chmod 600 {file}" in refused.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        f"password: {WORD}: [", WORD, f"- {WORD}", "password: 4711", f"passwort: {WORD}", "password: ''", "",
        f"password: {WORD}\nextra: x", f"\x00{WORD}", f"? {WORD}",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_refused_without_being_repeated(text: str, home: Home) -> None:
    file = put(home, text)
    with pytest.raises(InvalidInput) as refused:
        read(home)
    assert str(file) in refused.value.detail
    assert "4711" not in str(refused.value)
    assert "4711" not in str(refused.value.__cause__)


def test_links_folders_and_pipes_are_refused(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "other.yaml"
    target.write_text(f"password: {WORD}\n")
    target.chmod(0o600)
    file = home.secrets / "lab.yaml"
    file.symlink_to(target)
    with pytest.raises(InvalidInput):
        read(home)
    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(InvalidInput):
        read(home)
    file.unlink()
    file.mkdir(mode=0o700)
    with pytest.raises(InvalidInput):
        read(home)
