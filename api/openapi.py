"""The OpenAPI document, made from the routes of an application. Publishing it belongs to `publish.py`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from api.roles import needed
from api.schema_out import Problem

DESCRIPTION = (
    "From a file to a monitored model. Every path but the service's own needs the header "
    "`Authorization: Bearer <key>`; `x-role` names the role that the key needs. Every error is a problem document "
    "(RFC 9457) with `title`, `detail`, `remedy` and `request_id`."
)

TAGS = [
    {"name": "projects", "description": "What there is, how it stands, what to do next."},
    {"name": "files", "description": "Data comes in."},
    {"name": "sources", "description": "Shares, servers and databases that are looked at in turns."},
    {
        "name": "uploads",
        "description": "Large files come in by parts (tus 1.0); a cut connection costs one part.",
    },
    {"name": "tables", "description": "What became of it: versioned, typed tables."},
    {"name": "labels", "description": "People say what rows are: rounds, tasks, answers, agreement."},
    {"name": "training and runs", "description": "Jobs: start them, follow them."},
    {"name": "models", "description": "What was trained, and which model answers."},
    {"name": "predictions", "description": "Answers of the live model; each is logged before it is sent."},
    {"name": "ground truth", "description": "What turned out to be true."},
    {"name": "monitoring", "description": "Drift, live quality, alerts."},
    {"name": "access", "description": "Who asks, and who changed what."},
    {"name": "service", "description": "The service itself. Needs no key."},
]


def document(app: FastAPI) -> dict[str, Any]:
    """The document of `app`, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, tags=TAGS
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = TypeAdapter(Problem).json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path, methods in schema["paths"].items():
            for method, operation in methods.items():
                if operation.get("security"):
                    operation["x-role"] = needed(method.upper(), path).value
        app.openapi_schema = schema
    return app.openapi_schema
