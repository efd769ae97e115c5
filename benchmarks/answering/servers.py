"""The servers beside ours, each its own process: an echo of the body, and FastAPI with pydantic before two scorers.

python -m answering.servers echo PORT
python -m answering.servers by_hand PORT HOME VERSION     scikit-learn on a DataFrame, as it is usually written
python -m answering.servers same PORT HOME VERSION        our compiled scorer
"""

from __future__ import annotations

import sys
from collections.abc import Callable
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


def by_pydantic(home: str, version: int, kind: str) -> Any:
    """What is usually written: a typed body, a model, an answer; no log and no key."""
    from datetime import date

    from fastapi import FastAPI
    from pydantic import create_model

    from answering.model import NAME
    from tidemill.home import Home
    from tidemill.project import Project

    found = Home.find(Path(home))
    project = Project.load(found.project_file(NAME))
    types = {"integer": int, "float": float, "boolean": bool, "date": date}
    fields: dict[str, Any] = {
        name: (types.get(column.type, str) | None, None) for name, column in project.feature_columns.items()
    }
    record_type: Any = create_model("Record", **fields)
    many_type: Any = create_model("Records", records=(list[record_type], ...))
    answer = (_sklearn if kind == "by_hand" else _compiled)(found.models(NAME), version, project)
    app = FastAPI()

    def predict(record):  # type: ignore[no-untyped-def]
        return answer([record.model_dump()])[0]

    def predict_many(records):  # type: ignore[no-untyped-def]
        return {"predictions": answer([record.model_dump() for record in records.records])}

    predict.__annotations__["record"] = record_type
    predict_many.__annotations__["records"] = many_type
    app.post("/")(predict)
    app.post("/many")(predict_many)
    return app


def _sklearn(models: Path, version: int, _: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    import pandas as pd

    from tidemill.learn.bundle import load_model

    pipeline = load_model(models, version)
    classes = [str(name) for name in pipeline.classes_]

    def answer(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = pipeline.predict_proba(pd.DataFrame(records)).tolist()
        return [
            {"label": classes[int(row[1] >= 0.5)], "probabilities": dict(zip(classes, row, strict=True))}
            for row in rows
        ]

    return answer


def _compiled(
    models: Path, version: int, project: Any
) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    from tidemill.serve.compiled import CompiledScorer

    scorer = CompiledScorer(models, version, project)
    return lambda records: [score.__dict__ for score in scorer.score(records)]


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    app = echo if kind == "echo" else by_pydantic(sys.argv[3], int(sys.argv[4]), kind)
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
