"""Reading request bodies: how much, how long, and which JSON.

Python's JSON reader takes NaN, 1e999, a key that comes twice, half of a surrogate pair and UTF-16. None of them
is in RFC 8259's interoperable JSON, and each has turned into a wrong number or a 500 somewhere: all are refused.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from tidemill.errors import InvalidInput, TidemillError, TooLarge

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


async def read_json(request: Request, limit: int) -> Any:
    """The body as JSON. Raises InvalidInput, TooLarge or TooSlow."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            parts = [piece async for piece in pieces(request, limit, "The body")]
    except TimeoutError:
        raise _too_slow() from None
    return parse_json(b"".join(parts))


def parse_json(data: bytes) -> Any:
    """Strict JSON in UTF-8. Raises InvalidInput saying what is wrong and where."""
    if not data.strip():
        raise _not_json("the body is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_json(f"it is not UTF-8 (byte {error.start}); is it UTF-16, or compressed?") from None
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise _not_json(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _not_json("it is nested too deeply") from None
    except ValueError as error:
        # Python refuses to read integers of thousands of digits.
        raise _not_json(str(error) if "digits" not in str(error) else "a number is too long") from None
    if "\\u" in text and _has_surrogate(document):
        raise _not_json("a text holds half of a surrogate pair, which is no character")
    return document


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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {ascii(double)[:60]} is there twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number; send null when it is not known")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:30]} is too large")
    return number


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return any(_has_surrogate(name) or _has_surrogate(one) for name, one in value.items())
    return isinstance(value, list) and any(_has_surrogate(one) for one in value)


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
