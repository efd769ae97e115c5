"""Bodies that come compressed (Content-Encoding), unpacked no further than a body may be long.

Here belongs undoing gzip and deflate (RFC 9110, 8.4.1). Files keep what they were packed in: they are unpacked
where they are read.
"""

from __future__ import annotations

import zlib

from tidemill.errors import InvalidInput, TidemillError

# gzip as zlib knows it, and deflate, which is zlib's own form.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class UnsupportedEncoding(TidemillError):
    status = 415
    slug = "unsupported-encoding"


def inflated(data: bytes, encoding: str, limit: int) -> bytes | None:
    """`data` without its Content-Encoding; None when that is longer than `limit`.

    Raises InvalidInput for a body that is not what the header says or is cut off, UnsupportedEncoding for codings
    that are not known.
    """
    for coding in reversed([part.strip().lower() for part in encoding.split(",")]):
        if coding in ("", "identity"):
            continue
        if coding not in _WINDOWS:
            raise UnsupportedEncoding(
                "The body is compressed in a way that is not known",
                detail=f"Content-Encoding {coding[:40]!r}; known are gzip and deflate",
                remedy="Send it uncompressed, or as gzip.",
            )
        unpacked = _unpacked(data, _WINDOWS[coding], limit)
        if unpacked is None:
            return None
        data = unpacked
    return data


def _unpacked(data: bytes, window: int, limit: int) -> bytes | None:
    found = bytearray()
    while data:  # a gzip may have several members
        member = zlib.decompressobj(window)
        try:
            found += member.decompress(data, limit + 1 - len(found))
        except zlib.error as error:
            raise _broken(str(error)) from None
        if len(found) > limit:
            return None
        if not member.eof:
            raise _broken("it is cut off")
        data = member.unused_data
    return bytes(found)


def _broken(why: str) -> InvalidInput:
    return InvalidInput(
        "The body is not compressed as it says",
        detail=why[:200],
        remedy="Send it again, or without Content-Encoding.",
    )
