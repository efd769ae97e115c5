"""The servers beside ours, each its own process: an echo of the body, and FastAPI + pydantic + scikit-learn.

python -m answering.servers echo PORT
python -m answering.servers sklearn PORT HOME VERSION
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The least an HTTP server can do on uvicorn: read the body and send it back."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def by_hand(home: str, version: int) -> Any:
    """What is usually written: a typed body, a DataFrame of one row, the pipeline; no log and no key."""
    from datetime import date

    import pandas as pd
    from fastapi import FastAPI
    from pydantic import create_model

    from answering.model import NAME
    from tidemill.home import Home
    from tidemill.learn.bundle import load_model
    from tidemill.project import Project

    found = Home.find(Path(home))
    project = Project.load(found.project_file(NAME))
    pipeline = load_model(found.models(NAME), version)
    types = {"integer": int, "float": float, "boolean": bool, "date": date}
    fields: dict[str, Any] = {
        name: (types.get(column.type, str) | None, None) for name, column in project.feature_columns.items()
    }
    record_type: Any = create_model("Record", **fields)
    classes = [str(name) for name in pipeline.classes_]
    app = FastAPI()

    def predict(record):  # type: ignore[no-untyped-def]
        row = pipeline.predict_proba(pd.DataFrame([record.model_dump()]))[0].tolist()
        return {"label": classes[int(row[1] >= 0.5)], "probabilities": dict(zip(classes, row, strict=True))}

    predict.__annotations__["record"] = record_type
    app.post("/")(predict)
    return app


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    app = echo if kind == "echo" else by_hand(sys.argv[3], int(sys.argv[4]))
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
