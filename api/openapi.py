"""The OpenAPI document: made from the routes, kept in `docs/openapi.json` (a test holds it current)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from api.schema_out import Problem
from tidemill.home import CHECKOUT, Home

FILE = CHECKOUT / "docs" / "openapi.json"

DESCRIPTION = (
    "From a file to a monitored model. Every path but the service's own needs the header "
    "`Authorization: Bearer <key>`. Every error is a problem document (RFC 9457) with `title`, `detail`, "
    "`remedy` and `request_id`."
)

TAGS = [
    {"name": "projects", "description": "What there is, how it stands, what to do next."},
    {"name": "files", "description": "Data comes in."},
    {"name": "tables", "description": "What became of it: versioned, typed tables."},
    {"name": "training and runs", "description": "Jobs: start them, follow them."},
    {"name": "models", "description": "What was trained, and which model answers."},
    {"name": "predictions", "description": "Answers of the live model; each is logged before it is sent."},
    {"name": "ground truth", "description": "What turned out to be true."},
    {"name": "monitoring", "description": "Drift, live quality, alerts."},
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
        app.openapi_schema = schema
    return app.openapi_schema


def text() -> str:
    """The document as text, of an application on a home of its own."""
    from api.app import create_app
    from tidemill.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Home(Path(folder)), Settings.model_validate({}))
        found = json.dumps(document(app), indent=1, ensure_ascii=False) + "\n"
        app.state.context.state.engine.dispose()
    return found


def write(file: Path = FILE) -> Path:
    """Write the document to `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text(), encoding="utf-8")
    return file


if __name__ == "__main__":
    print(write())
