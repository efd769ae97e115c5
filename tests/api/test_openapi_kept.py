"""The API keeps its OpenAPI document: schemathesis makes right and wrong requests for every operation of it.

A few of each, the same in every run: this is a test of the document as much as of the routes.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

for media_type in ("application/offset+octet-stream", "application/vnd.apache.arrow.stream"):
    schemathesis.serializer.alias(media_type, "application/octet-stream")
for media_type in ("text/csv", "application/x-ndjson"):
    schemathesis.serializer.alias(media_type, "text/plain")

EXAMPLES = 2
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
# What the tests' own home has, so that requests reach beyond "there is no such project".
KNOWN = {"project": "pets", "version": 1, "table": "raw"}
QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def sent(case: Case, http: httpx.Client) -> httpx.Response:
    """The case as `requests` would send it, through the client of the tests."""
    options: dict[str, Any] = case.as_transport_kwargs(base_url="http://api")
    request = requests.Request(
        **{name: value for name, value in options.items() if name in _REQUEST}
    ).prepare()
    headers = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
    body = request.body.encode() if isinstance(request.body, str) else request.body
    response = http.request(str(request.method), str(request.url), headers=headers, content=body)
    response.elapsed = timedelta(0)  # the transport of the tests does not measure it
    return response


_REQUEST = {"method", "url", "headers", "files", "data", "params", "cookies", "json"}


@pytest.mark.usefixtures("deployed")
def test_every_operation_is_as_the_document_says(app: FastAPI, http: httpx.Client) -> None:
    load_all_checks()
    schema = schemathesis.openapi.from_dict(app.openapi())
    wrong: dict[str, str] = {}
    tried = 0

    def keep(mode: GenerationMode, case: Case) -> None:
        nonlocal tried
        if mode is GenerationMode.POSITIVE and case.path_parameters:
            case.path_parameters |= {name: KNOWN[name] for name in case.path_parameters if name in KNOWN}
        response = sent(case, http)
        tried += 1
        shown = f"{case.method} {response.request.url} {response.request.content[:200]!r}"
        if response.status_code >= 500 and response.status_code != 503:
            wrong[f"{case.operation.label}: {response.status_code}"] = f"{shown}\n{response.text[:300]}"
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as failures:
            for failure in failures.exceptions:
                said = " ".join(str(failure).split())[:300]
                wrong[f"{case.operation.label}: {type(failure).__name__}"] = (
                    f"{response.status_code} {shown}\n{said}"
                )

    def right(case: Case) -> None:
        keep(GenerationMode.POSITIVE, case)

    def broken(case: Case) -> None:
        keep(GenerationMode.NEGATIVE, case)

    kept_as = {GenerationMode.POSITIVE: right, GenerationMode.NEGATIVE: broken}
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in kept_as:
            # Of an operation without parameters nothing can be wrong.
            with suppress(Unsatisfiable):
                QUICK(given(operation.as_strategy(mode))(kept_as[mode]))()
    assert not wrong, "\n\n".join(f"{name}\n{shown}" for name, shown in sorted(wrong.items()))
    assert tried > 150
