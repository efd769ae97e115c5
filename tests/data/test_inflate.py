"""A zip's members inflated by ISA-L: the same bytes, and the same refusals, as by the standard library."""

import io
import random
import zipfile
import zlib

import pytest

from tidemill.data.inflate import Inflated, is_plain

NAME = "part.xml"


def packed(content: bytes) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, content)
        archive.writestr("other.xml", b"other")
    return bytearray(buffer.getvalue())


def inflated(packed: bytes, size: int = 1 << 20) -> bytes:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive, Inflated(archive, archive.getinfo(NAME)) as handle:
        pieces = list(iter(lambda: handle.read(size), b""))
    assert all(len(piece) <= size for piece in pieces)
    return b"".join(pieces)


CONTENTS = {
    "nothing": b"",
    "one byte": b"x",
    "alike": bytes(3_000_000),
    "random": random.Random(1).randbytes(700_000),
    "a sheet": b"".join(b'<row r="%d"><c r="A%d"><v>%d</v></c></row>' % (n, n, n * n) for n in range(50_000)),
}


@pytest.mark.parametrize("size", [7_919, 1 << 20])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_content_comes_whole(content: bytes, size: int) -> None:
    assert inflated(packed(content), size) == content


def test_the_size_that_the_archive_claims_does_not_count() -> None:
    content = b"0123456789" * 1_000
    with zipfile.ZipFile(io.BytesIO(packed(content))) as archive:
        member = archive.getinfo(NAME)
        member.file_size = 10
        with Inflated(archive, member) as handle:
            assert handle.read(1 << 20) == content


def test_a_changed_checksum_is_seen() -> None:
    with zipfile.ZipFile(io.BytesIO(packed(b"content"))) as archive:
        member = archive.getinfo(NAME)
        member.CRC ^= 1
        with Inflated(archive, member) as handle:
            assert handle.read(100) == b"content"
            with pytest.raises(zipfile.BadZipFile):
                handle.read(100)


def test_damage_is_never_content() -> None:
    """Any byte changed within a member is an error, unless it changes nothing."""
    content = CONTENTS["a sheet"][:20_000]
    whole = packed(content)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        member = archive.getinfo(NAME)
    begin = 30 + len(NAME)
    for place in range(begin, begin + member.compress_size, 17):
        broken = whole.copy()
        broken[place] ^= 0x55
        with pytest.raises((zlib.error, EOFError, zipfile.BadZipFile)):
            inflated(broken)


def test_a_member_that_breaks_off_is_an_error() -> None:
    with zipfile.ZipFile(io.BytesIO(packed(CONTENTS["a sheet"]))) as archive:
        member = archive.getinfo(NAME)
        member.compress_size //= 2
        with Inflated(archive, member) as handle, pytest.raises(EOFError):
            list(iter(lambda: handle.read(1 << 20), b""))


def test_what_is_not_plainly_deflated_is_left_to_others() -> None:
    stored, locked = zipfile.ZipInfo(NAME), zipfile.ZipInfo(NAME)
    locked.compress_type, locked.flag_bits = zipfile.ZIP_DEFLATED, 1
    assert not is_plain(stored)
    assert not is_plain(locked)
