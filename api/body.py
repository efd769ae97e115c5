"""Reading request bodies: how much, how long, and as which document. Which JSON is `tidemill/strict_json.py`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api.inflate import inflated
from tidemill.errors import InvalidInput, TidemillError, TooLarge
from tidemill.strict_json import loads

BODY_SECONDS = 30.0
PIECE_SECONDS = 30.0

Model = TypeVar("Model", bound=BaseModel)


class TooSlow(TidemillError):
    status = 408
    slug = "too-slow"


async def pieces(request: Request, limit: int, what: str) -> AsyncIterator[bytes]:
    """The body piece by piece. Raises TooLarge beyond `limit` bytes, TooSlow when the sender falls silent."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > limit:
        raise _too_large(limit, what)
    total = 0
    stream = request.stream().__aiter__()
    while True:
        try:
            piece = await asyncio.wait_for(anext(stream), PIECE_SECONDS)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _too_slow() from None
        total += len(piece)
        if total > limit:
            raise _too_large(limit, what)
        yield piece


async def sent_body(request: Request, limit: int) -> bytes:
    """The body as it was sent. Raises TooLarge or TooSlow."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return b"".join([piece async for piece in pieces(request, limit, "The body")])
    except TimeoutError:
        raise _too_slow() from None


async def read_body(request: Request, limit: int) -> bytes:
    """The body, without its Content-Encoding. Raises InvalidInput, TooLarge, TooSlow or UnsupportedEncoding."""
    data = await sent_body(request, limit)
    if encoding := ",".join(request.headers.getlist("content-encoding")):
        unpacked = inflated(data, encoding, limit)
        if unpacked is None:
            raise _too_large(limit, "What the body unpacks to")
        return unpacked
    return data


async def read_json(request: Request, limit: int, *, exact_numbers: bool = False) -> Any:
    """The body as JSON, numbers as their text when `exact_numbers`. Raises as `read_body` and `parse_json` do."""
    return parse_json(await read_body(request, limit), exact_numbers=exact_numbers)


def parse_json(data: bytes, *, exact_numbers: bool = False) -> Any:
    """Strict JSON in UTF-8. Raises InvalidInput saying what is wrong and where."""
    if not data.strip():
        raise _not_json("the body is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_json(f"it is not UTF-8 (byte {error.start}); is it UTF-16, or compressed?") from None
    try:
        return loads(text, exact_numbers=exact_numbers)
    except json.JSONDecodeError as error:
        raise _not_json(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        # Python refuses to read integers of thousands of digits.
        raise _not_json(str(error) if "digits" not in str(error) else "a number is too long") from None


def body_of(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency that reads a body of the shape `model`; an absent body counts as `{}` where all is optional."""

    async def read(request: Request) -> Model:
        limit = request.app.state.context.settings.max_body_bytes
        try:
            document = await read_json(request, limit)
        except InvalidInput as error:
            if error.detail == "the body is empty" and not model.model_json_schema().get("required"):
                document = {}
            else:
                raise
        return validated(model, document)

    return read


def validated(model: type[Model], document: Any) -> Model:
    """`document` as `model`. Raises InvalidInput with every fault and without echoing values."""
    try:
        return model.model_validate(document, strict=True)
    except ValidationError as error:
        faults = [
            {"field": ".".join(str(part) for part in fault["loc"])[:200], "message": _message(fault)}
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        ]
    first = faults[0]
    raise InvalidInput(
        "The body does not have the right shape",
        detail=f"{first['field'] or 'the body'}: {first['message']}",
        remedy="/docs shows an example of the body of each path.",
        faults=faults[:100],
        faults_total=len(faults),
    )


def _message(fault: Any) -> str:
    return "there is no such field" if fault["type"] == "extra_forbidden" else str(fault["msg"])


def _not_json(detail: str) -> InvalidInput:
    return InvalidInput(
        "The body is not JSON", detail=detail, remedy="Send one JSON document in UTF-8 (RFC 8259)."
    )


def _too_large(limit: int, what: str) -> TooLarge:
    return TooLarge(
        f"{what} is too large",
        detail=f"the limit is {limit} bytes",
        remedy="Send less at once, or raise TIDEMILL_MAX_UPLOAD_BYTES or TIDEMILL_MAX_BODY_BYTES.",
        limit=limit,
    )


def _too_slow() -> TooSlow:
    return TooSlow(
        "The body did not arrive in time",
        detail=f"a body may take {BODY_SECONDS:.0f} s, and {PIECE_SECONDS:.0f} s may pass between its pieces",
        remedy="Send it again over a faster connection.",
    )
