"""The forms in which records come and answers go: JSON, NDJSON, CSV, Arrow; said by Content-Type and Accept.

Here belongs which form is meant. How each is read is `tidemill/serve/bodies.py`, how it is written
`tidemill/serve/replies.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

from fastapi import Request
from starlette.responses import Response

from tidemill.errors import TidemillError

Form = Literal["json", "ndjson", "csv", "arrow"]

# The first of each is what answers carry.
MEDIA_TYPES: dict[Form, tuple[str, ...]] = {
    "json": ("application/json", "text/json"),
    "ndjson": ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"),
    "csv": ("text/csv", "application/csv"),
    "arrow": ("application/vnd.apache.arrow.stream",),
}
# What clients say that say nothing of a body they were given: curl -d, a text area, a file of bytes.
_UNSAID = {"", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream"}
_BY_TYPE: dict[str, Form] = {name: form for form, names in MEDIA_TYPES.items() for name in names}


class UnsupportedMediaType(TidemillError):
    status = 415
    slug = "unsupported-media-type"


def form_of(content_type: str) -> Form:
    """The form of a body. Raises UnsupportedMediaType."""
    name, _, parameters = content_type.partition(";")
    name = name.strip().lower()
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise _unsupported(f"the charset {charset[:40]!r}")
    if name in _UNSAID or name.endswith("+json"):
        return "json"
    if name not in _BY_TYPE:
        raise _unsupported(f"the type {name[:80]!r}")
    return _BY_TYPE[name]


def wanted_form(accept: str, own: Form) -> Form:
    """The form of the answer: the best that Accept names, else that of the body (RFC 9110, 12.5.1)."""
    best, most = own, 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        try:
            weight = float(quality)
        except ValueError:
            continue
        form = (
            own if name in ("*/*", "application/*", "text/*") and _matches(name, own) else _BY_TYPE.get(name)
        )
        if form is not None and weight > most:
            best, most = form, weight
    return best


def _matches(pattern: str, form: Form) -> bool:
    return pattern == "*/*" or MEDIA_TYPES[form][0].startswith(pattern[:-1])


@lru_cache(maxsize=256)
def is_plain(name: bytes, value: bytes) -> bool:
    """Whether a header leaves body and answer what they are without it: JSON, as it stands."""
    text = value.decode("latin-1")
    if name == b"content-type":
        try:
            return form_of(text) == "json"
        except UnsupportedMediaType:
            return False
    if name == b"accept":
        return wanted_form(text, "json") == "json"
    return False  # Content-Encoding


def in_form(request: Request, own: Form, rows: Sequence[dict[str, Any]]) -> Response | None:
    """The answer in the form that was asked for; None when that is JSON."""
    from tidemill.serve.replies import as_arrow, as_csv, as_ndjson

    form = wanted_form(request.headers.get("accept", ""), own)
    writers: dict[Form, Callable[[Sequence[dict[str, Any]]], bytes]] = {
        "ndjson": as_ndjson,
        "csv": as_csv,
        "arrow": as_arrow,
    }
    if form not in writers:
        return None
    return Response(writers[form](rows), 200, media_type=MEDIA_TYPES[form][0])


_DOCUMENTED: dict[str, Any] = {
    MEDIA_TYPES["ndjson"][0]: {"schema": {"type": "string", "description": "A record or an answer a line."}},
    MEDIA_TYPES["csv"][0]: {"schema": {"type": "string", "description": "RFC 4180, with a header."}},
    MEDIA_TYPES["arrow"][0]: {
        "schema": {"type": "string", "format": "binary", "description": "An uncompressed IPC stream."}
    },
}


def with_forms(extra: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI of a route with a JSON body, which takes the other forms too."""
    extra["requestBody"]["content"] |= _DOCUMENTED
    return extra


def with_forms_out(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI of a route's answers, whose good one also goes in the other forms."""
    responses[200]["content"] |= _DOCUMENTED
    return responses


def _unsupported(what: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        "The body is of a kind that is not taken",
        detail=f"{what}; taken are {', '.join(names[0] for names in MEDIA_TYPES.values())}, in UTF-8",
        remedy="Send one of these, and say which in the header Content-Type.",
    )
