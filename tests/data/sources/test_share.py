"""A share on this machine: what is a link, a pipe, or closed to us."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from source_servers import IS_ROOT

from tidemill.data.sources.share import Share
from tidemill.data.sources.source import split
from tidemill.errors import InvalidInput, SourceAway
from tidemill.project_sources import ShareSource


def share(path: Path | str) -> Share:
    return Share(ShareSource(kind="share", name="lab", path=str(path)))


def names(path: Path | str) -> list[str]:
    return [found.name for found in share(path).find()]


class Nothing:
    def write(self, data: bytes, /) -> int:
        return len(data)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: lay that down for a moment."""
    if not IS_ROOT:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_links_that_leave_the_share_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("secret")
    folder = tmp_path / "share"
    (folder / "real").mkdir(parents=True)
    (folder / "real" / "a.csv").write_text("a")
    (folder / "inside.csv").symlink_to("real/a.csv")
    (folder / "outside.csv").symlink_to(secret)
    (folder / "relative.csv").symlink_to("../secret.csv")
    (folder / "dangling.csv").symlink_to("nowhere")
    (folder / "up").symlink_to("..")
    (tmp_path / "share-two").mkdir()
    (folder / "sibling.csv").symlink_to(tmp_path / "share-two")
    assert names(folder / "*.csv") == ["inside.csv"]
    assert names(f"{folder}/*/*.csv") == ["real/a.csv"]


def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a")
    folder = tmp_path / "share"
    folder.mkdir()
    (folder / "a.csv").write_text("a")
    opened = share(folder / "*.csv")
    (found,) = opened.find()
    (folder / "a.csv").unlink()
    (folder / "a.csv").symlink_to(secret)
    with pytest.raises(PermissionError):
        opened.pour(found, Nothing())


def test_a_folder_that_becomes_a_link_after_it_was_looked_at_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between the check of a path and its opening."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.csv").write_text("secret")
    folder = tmp_path / "share"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.csv").write_text("a")
    opened = share(f"{folder}/*/*.csv")
    (found,) = opened.find()
    inside = opened._inside

    def swapped(path: str) -> str:
        real = inside(path)
        (folder / "sub").rename(folder / "was")
        (folder / "sub").symlink_to(elsewhere)
        return real

    monkeypatch.setattr(opened, "_inside", swapped)
    with pytest.raises((OSError, SourceAway)):
        opened.pour(found, Nothing())


def test_the_share_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.csv").write_text("a")
    (tmp_path / "mount").symlink_to("real")
    opened = share(tmp_path / "mount" / "*.csv")
    (found,) = opened.find()
    opened.pour(found, Nothing())


def test_what_is_no_plain_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    assert names(tmp_path / "*.csv") == []


def test_a_name_with_a_line_break_or_bytes_that_are_no_text_is_told_readably(tmp_path: Path) -> None:
    (tmp_path / "line\nbreak.csv").write_text("a")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/lat\xe9in.csv")).write_text("a")
    opened = share(tmp_path / "*.csv")
    found = opened.find()
    shown = sorted(opened.pour(each, Nothing()).shown for each in found)
    assert shown == ["lat\\xe9in.csv".replace("\\xe9", "\\udce9"), "line?break.csv"] or all(
        name.isprintable() for name in shown
    )
    for each in found:
        each.name.encode()  # can be stored


def test_a_closed_file_a_closed_folder_and_a_closed_share(sources_folder: Path) -> None:
    folder = sources_folder / "share"
    for name in ("open/a.csv", "closed/b.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a")
    (folder / "open" / "c.csv").write_text("c")
    (folder / "open" / "c.csv").chmod(0)
    (folder / "closed").chmod(0o700)
    opened = share(f"{folder}/*/*.csv")
    if not IS_ROOT:
        (folder / "closed").chmod(0)
    try:
        with as_nobody():
            found = {each.name: each for each in opened.find()}
            assert sorted(found) == ["open/a.csv", "open/c.csv"]
            assert [Path(name).name for name in opened.denied] == ["closed"]
            with pytest.raises(PermissionError):
                opened.pour(found["open/c.csv"], Nothing())
        folder.chmod(0o700 if IS_ROOT else 0)
        with as_nobody(), pytest.raises(InvalidInput) as refused:
            opened.find()
        assert str(folder) in refused.value.detail
    finally:
        folder.chmod(0o755)
        (folder / "closed").chmod(0o755)


def test_a_share_that_is_not_mounted_is_away(tmp_path: Path) -> None:
    with pytest.raises(SourceAway) as away:
        names(tmp_path / "mnt" / "*.csv")
    assert str(tmp_path / "mnt") in away.value.detail


@pytest.mark.parametrize(
    ("path", "root", "parts"),
    [
        ("/mnt/lab/*.csv", "/mnt/lab", ["*.csv"]),
        ("/mnt/*/x/[ab].csv", "/mnt", ["*", "x", "[ab].csv"]),
        ("/mnt/one.csv", "/mnt", ["one.csv"]),
        ("/*.csv", "/", ["*.csv"]),
        ("*.csv", "", ["*.csv"]),
        ("a/b/*.csv", "a/b", ["*.csv"]),
    ],
)
def test_a_path_is_split_before_its_first_wildcard(path: str, root: str, parts: list[str]) -> None:
    assert split(path) == (root, parts)
