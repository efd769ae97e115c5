"""KServe's Python server, as its documentation shows it. How to run it is in `answering/peers.py`."""

from __future__ import annotations

import sys
from typing import Any

from kserve import Model, ModelServer  # type: ignore[import-not-found]

from answering.peers import Answering, records_of


class Served(Model):  # type: ignore[misc]
    """Answers one request at a time."""

    def __init__(self, file: str) -> None:
        super().__init__("model")
        self.file = file

    def load(self) -> bool:
        self.answer = Answering(self.file)
        self.ready = True
        return True

    def predict(self, payload: dict[str, Any], *_: Any, **__: Any) -> Any:
        return {"predictions": self.answer(records_of(payload))}


if __name__ == "__main__":
    model = Served(sys.argv[2])
    model.load()
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([model])
