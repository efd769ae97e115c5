"""The peers that live in environments of their own: LitServe with batching, and KServe's Python server.

    python -m answering.peer_litserve|peer_kserve PORT PIPELINE

PIPELINE is the fitted pipeline as joblib writes it, since they are run without Tidemill's dependencies. Each takes
a record, or {"records": [...]}, and answers with label and probabilities; neither checks a key nor keeps a log.
"""

from __future__ import annotations

from typing import Any

import joblib
import pandas as pd

PEERS = {
    # name: what is installed for it, and where its predictions are
    "litserve": (["litserve==0.2.19"], "/predict"),
    "kserve": (["kserve==0.21.0"], "/v1/models/model:predict"),
}


class Answering:
    """What both do with records."""

    def __init__(self, file: str) -> None:
        self.pipeline = joblib.load(file)
        self.classes = [str(name) for name in self.pipeline.classes_]

    def __call__(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = self.pipeline.predict_proba(pd.DataFrame(records).astype(object)).tolist()
        return [
            {
                "label": self.classes[int(row[1] >= 0.5)],
                "probabilities": dict(zip(self.classes, row, strict=True)),
            }
            for row in rows
        ]


def records_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body.get("records", [body])
    return found
