"""How the client speaks with the API: requests, event streams, waiting, and what is raised when it goes wrong.

Here belongs what knows nothing of single routes; those are in `client.py`. It imports nothing of Tidemill.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, BinaryIO, Self, TypeVar, cast
from urllib.parse import quote

import httpx

T = TypeVar("T")
RETRY_SECONDS = 0.5  # between two tries
SILENT_SECONDS = 60.0  # of no answer at all, after which a long conversation is given up


class ApiError(Exception):
    """The API refused or failed: `title` says what, `detail` with which object, `remedy` what to do.

    `status` is the HTTP status; `problem` the whole problem document (RFC 9457), such as `faults` of records.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        self.title = str(problem.get("title") or f"The API answered {status}")
        self.detail = str(problem.get("detail") or "")
        self.remedy = str(problem.get("remedy") or "")
        self.slug = str(problem.get("type") or "").rpartition(":")[2]
        self.request_id = cast("str | None", problem.get("request_id"))
        super().__init__(self.title)

    @property
    def is_retryable(self) -> bool:
        """Whether trying again later can help."""
        return self.status in (0, 423, 429, 502, 503, 504, 507)

    def __str__(self) -> str:
        remedy = f"What to do: {self.remedy}" if self.remedy else ""
        return "\n".join(part for part in (self.title, self.detail, remedy) if part)


class Unreachable(ApiError):
    """The API did not answer; `status` is 0."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            0,
            {
                "type": "urn:tidemill:problem:unreachable",
                "title": "The API does not answer",
                "detail": f"{url}: {why}",
                "remedy": "Start the services with `tidemill up`; `tidemill status` shows what runs.",
            },
        )


class StillWorking(ApiError):
    """What was waited for had not ended in time; it goes on. `status` is 0."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            0,
            {
                "type": "urn:tidemill:problem:still-working",
                "title": f"{what} has not ended yet",
                "detail": f"waited for {seconds:.0f} s",
                "remedy": "Wait longer, or look at the run in Dagster.",
            },
        )


class Transport:
    """One API and one key, over one pool of connections."""

    def __init__(
        self,
        url: str,
        key: str,
        timeout: float = 60.0,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        # Proxies of the environment are for other machines, never for our own.
        is_local = httpx.URL(self.url).host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            trust_env=not is_local,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        given = {name: value for name, value in params.items() if value is not None}
        return self._json("GET", path, params=given)

    def _post(self, path: str, body: Any, idempotency_key: str | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        given = {"json": body} if body is not None else {}
        return self._json("POST", path, headers=headers, **given)

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return json_of(self._checked(method, path, **options))

    def _checked(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = self._send(method, path, **options)
        if not response.is_success:
            raise error_of(response)
        return response

    def _followed(
        self, path: str, is_last: Callable[[Any], bool], timeout: float, what: str
    ) -> Iterator[dict[str, Any]]:
        """The documents of an event stream until the last one, over as many connections as it takes."""
        deadline = time.monotonic() + timeout
        heard = time.monotonic()
        seen = ""
        while time.monotonic() < deadline:
            try:
                for event, text in self._events(path, seen):
                    seen, heard = event, time.monotonic()
                    document = json.loads(text)
                    yield document
                    if is_last(document):
                        return
            except ApiError as error:
                if not error.is_retryable or time.monotonic() - heard > SILENT_SECONDS:
                    raise
            time.sleep(RETRY_SECONDS)
        raise StillWorking(what, timeout)

    def _events(self, path: str, seen: str) -> Iterator[tuple[str, str]]:
        """(id, data) of the server-sent events after the event `seen`, to the end of the connection."""
        headers = {"Last-Event-ID": seen} if seen else {}
        with self._lost(), self._http.stream("GET", path, headers=headers) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            data: list[str] = []
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    seen = value
                elif name == "data":
                    data.append(value)
                elif not line and data:
                    yield seen, "\n".join(data)
                    data = []

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._lost():
            return self._http.request(method, path, **options)

    @contextmanager
    def _lost(self) -> Iterator[None]:
        """Turn httpx's ways of saying that nobody answers into Unreachable."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise Unreachable(self.url, "no answer in time") from error
        except httpx.TransportError as error:
            raise Unreachable(self.url, str(error) or type(error).__name__) from error


def at(project: str, *parts: str | int) -> str:
    return "/".join(["/v1/projects", *(quote(str(part), safe="") for part in (project, *parts))])


def plain(value: Any) -> Any:
    """`value` as JSON takes it: NaN of a data frame becomes null, its numbers plain, dates ISO 8601."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (date, datetime)):
        return None if value != value else value.isoformat()  # pandas' NaT is a datetime unequal to itself
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def pieces(handle: BinaryIO, size: int = 262_144) -> Iterator[bytes]:
    while piece := handle.read(size):
        yield piece


def json_of(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ApiError(
            response.status_code,
            {
                "title": "That is not Tidemill's API",
                "detail": f"{response.request.url} answered {response.status_code} without a JSON object",
                "remedy": "Check the address; `tidemill status` prints it.",
            },
        )
    return document


def error_of(response: httpx.Response) -> ApiError:
    try:
        document = response.json()
    except ValueError:
        document = {}
    problem = document if isinstance(document, dict) else {}
    problem.setdefault("request_id", response.headers.get("X-Request-Id"))
    return ApiError(response.status_code, problem)


def wait_until(
    look: Callable[[], T],
    is_done: Callable[[T], bool],
    timeout: float,
    what: str,
    on_progress: Callable[[T], None] | None = None,
) -> T:
    """Look until done: often at first, then every second."""
    deadline = time.monotonic() + timeout
    pause = 0.1
    seen: T | None = None
    while True:
        now = look()
        if on_progress is not None and now != seen:
            on_progress(now)
        seen = now
        if is_done(now):
            return now
        if time.monotonic() + pause > deadline:
            raise StillWorking(what, timeout)
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)
