"""One file out of a multipart form, piece by piece, never in memory and never twice on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tidemill.errors import InvalidInput

FIELD = "file"

# What OpenAPI says of a route that takes a file: the field `file` of a form, or the body itself.
_BINARY = {"type": "string", "format": "binary"}
FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}
            },
            "application/octet-stream": {"schema": _BINARY},
        },
    }
}


class FormFile:
    """The field `file` of a form. Iterate `pieces` to its end; `name` is known from the first piece on."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
            raise _not_a_form("the header Content-Type has no usable boundary")
        self.name: str | None = None
        self.found = 0
        self._body = body
        self._ready: list[bytes] = []
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._wanted = False
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    async def pieces(self) -> AsyncIterator[bytes]:
        """The file's bytes. Raises InvalidInput for a body that is no form, is cut off, or has no single file."""
        async for chunk in self._body:
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise _not_a_form(str(error)[:100]) from None
            if self.found > 1:
                raise _not_a_form(f"there are several fields called {FIELD}; send one file per request")
            ready, self._ready = self._ready, []
            for piece in ready:
                yield piece
        if not self._ended:
            raise _not_a_form("the form is cut off before its end")
        if not self.found:
            raise _not_a_form(f"there is no field called {FIELD} with a file")

    def _part_begins(self) -> None:
        self._disposition = self._header = self._value = b""
        self._wanted = False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._wanted = options.get(b"name") == FIELD.encode() and b"filename" in options
        if self._wanted:
            self.found += 1
            self.name = options[b"filename"].decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._ready.append(data[start:end])

    def _end(self) -> None:
        self._ended = True


def _not_a_form(detail: str) -> InvalidInput:
    return InvalidInput(
        "The form cannot be read",
        detail=detail,
        remedy=f"Send multipart/form-data with one field `{FIELD}`, or the bytes themselves with ?name=data.csv.",
    )
