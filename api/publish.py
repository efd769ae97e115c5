"""`python -m api.publish`: the OpenAPI document as `docs/openapi.json`, for readers without a running service.

A test holds that file current. What the document says belongs to `openapi.py` and the routers.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from api.app import create_app
from api.openapi import document
from tidemill.home import CHECKOUT, Home
from tidemill.settings import Settings

FILE = CHECKOUT / "docs" / "openapi.json"


def text() -> str:
    """The document as text, of an application on a home of its own."""
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
