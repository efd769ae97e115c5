"""What every kind of source with files must do, the fake too: the same checks for all, against real servers."""

import time

import pytest
from source_servers import IS_ROOT

from tidemill.data.sources.source import PIECE, Changed
from tidemill.errors import SourceAway


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self.pieces.append(data)
        return len(data)


def names(world, path="*.csv", **fields):
    with world.connect(world.source(path, **fields)) as source:
        return [found.name for found in source.find()]


def test_files_are_found_by_pattern_and_read_as_they_are(world):
    world.put("a.csv", b"x,y\n1,2\n")
    world.put("b.txt", b"no")
    with world.connect(world.source()) as source:
        (found,) = source.find()
        assert (found.name, found.size) == ("a.csv", 8)
        sink = Kept()
        poured = source.pour(found, sink)
        assert b"".join(sink.pieces) == b"x,y\n1,2\n"
        assert (poured.shown, poured.is_empty) == ("a.csv", False)


def test_a_large_file_comes_in_pieces(world):
    data = bytes(range(256)) * (3 * PIECE // 256) + b"end"
    world.put("large.csv", data)
    with world.connect(world.source()) as source:
        sink = Kept()
        source.pour(source.find()[0], sink)
    assert b"".join(sink.pieces) == data
    assert max(len(piece) for piece in sink.pieces) <= PIECE


def test_an_unchanged_file_keeps_its_signature_and_a_changed_one_does_not(world):
    world.put("a.csv", b"1")
    with world.connect(world.source()) as source:
        before = source.find()[0].signature
        assert source.find()[0].signature == before
    world.put("a.csv", b"22")
    with world.connect(world.source()) as source:
        assert source.find()[0].signature != before


def test_a_file_that_changed_since_it_was_listed_is_not_taken_for_the_listed_one(world):
    world.put("a.csv", b"1")
    with world.connect(world.source()) as source:
        (found,) = source.find()
        world.put("a.csv", b"22")
        with pytest.raises(Changed):
            source.pour(found, Kept())


def test_a_file_that_vanished_since_it_was_listed_is_not_found(world):
    world.put("a.csv", b"1")
    with world.connect(world.source()) as source:
        (found,) = source.find()
        world.remove("a.csv")
        with pytest.raises(FileNotFoundError):
            source.pour(found, Kept())


def test_a_file_that_must_not_be_read_is_denied(world):
    world.put("a.csv", b"1")
    world.deny("a.csv")
    if IS_ROOT and type(world).__name__ == "ShareWorld":
        pytest.skip("root may read every file of this machine; see test_share.py")
    with world.connect(world.source()) as source, pytest.raises(PermissionError):
        source.pour(source.find()[0], Kept())


def test_wildcards_stand_for_folders_too(world):
    for name in ("north/a.csv", "south/b.csv", "south/deep/c.csv", "top.csv"):
        world.put(name, b"1")
    assert sorted(names(world, "*/*.csv")) == ["north/a.csv", "south/b.csv"]
    assert names(world, "sou*/*.csv") == ["south/b.csv"]
    assert names(world, "north/a.csv") == ["a.csv"]


def test_a_marker_says_that_a_file_is_whole(world):
    world.put("a.csv", b"1")
    world.put("b.csv", b"2")
    world.put("b.csv.done", b"")
    with world.connect(world.source("*", marker=".done")) as source:
        assert {found.name: found.is_ready for found in source.find()} == {"a.csv": False, "b.csv": True}


def test_odd_names_are_found_and_read(world):
    odd = ["with space.csv", "ümlaut.csv", "tab\tstop.csv", "..csv", "a..b.csv", "percent%2e.csv"]
    for name in odd:
        world.put(name, name.encode())
    with world.connect(world.source()) as source:
        found = {each.name: each for each in source.find()}
        assert sorted(found) == sorted(odd)
        for name in odd:
            sink = Kept()
            poured = source.pour(found[name], sink)
            assert b"".join(sink.pieces) == name.encode()
            assert poured.shown.isprintable()


def test_a_source_without_such_files_is_empty_not_away(world):
    world.put("other.txt", b"1")
    assert names(world) == []


def test_a_source_that_is_away_says_so_quickly_and_answers_again_when_it_is_back(world):
    world.put("a.csv", b"1")
    world.go()
    try:
        began = time.monotonic()
        with pytest.raises(SourceAway) as away:
            names(world)
        assert time.monotonic() - began < 10
        assert away.value.remedy
        assert away.value.retryable
    finally:
        world.come_back()
    world.put("a.csv", b"1")
    assert names(world) == ["a.csv"]


def test_a_source_that_goes_away_while_a_file_is_read_is_away(world):
    world.put("a.csv", b"x" * (20 * PIECE))
    with world.connect(world.source(), timeout=2.0) as source:
        (found,) = source.find()
        if type(world).__name__ == "ShareWorld":
            pytest.skip("a file that is open stays readable when its folder is renamed")

        class Breaking(Kept):
            def write(self, data: bytes, /) -> int:
                if not self.pieces:
                    world.go()
                return super().write(data)

        try:
            with pytest.raises(SourceAway):
                source.pour(found, Breaking())
        finally:
            world.come_back()
