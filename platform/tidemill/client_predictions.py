"""Predictions, one, many or a whole file, and what turned out to be true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from tidemill.client_transport import Transport, at, error_of, pieces, plain, wait_until
from tidemill.client_types import (
    BatchInfo,
    Label,
    LoggedPrediction,
    PartialPredictions,
    Prediction,
    Record,
    Truth,
    TruthReceipt,
)


class PredictionRoutes(Transport):
    """What a client asks of the live model, and tells of it."""

    def predict(self, project: str, record: Record, *, explain: bool = False) -> Prediction:
        """The answer to one record, with `explain` also how much each field moved it."""
        return cast(Prediction, self._predict(project, plain(record), explain=explain))

    def predict_many(
        self, project: str, records: Sequence[Record], *, explain: bool = False
    ) -> list[Prediction]:
        """One answer per record, in order; all or none."""
        body = {"records": [plain(record) for record in records]}
        return cast("list[Prediction]", self._predict(project, body, explain=explain)["predictions"])

    def predict_each(
        self, project: str, records: Sequence[Record], *, explain: bool = False
    ) -> PartialPredictions:
        """The same, but a record with faults keeps no other from its answer: each has a `status` of its own."""
        body = {"records": [plain(record) for record in records]}
        return cast(PartialPredictions, self._predict(project, body, explain=explain, partial=True))

    def _predict(self, project: str, body: Any, **asked: bool) -> dict[str, Any]:
        params = {name: "true" for name, is_asked in asked.items() if is_asked}
        return self._json("POST", at(project, "predictions"), params=params, json=body)

    def start_batch(
        self,
        project: str,
        file: str | Path | BinaryIO,
        *,
        name: str | None = None,
        format: Literal["csv", "parquet"] = "csv",
        version: int | None = None,
        log: bool = False,
    ) -> BatchInfo:
        """Send a whole file to be scored beside the online path; `wait_batch` waits, `batch_result` fetches.

        An open file needs its `name`, whose suffix says what kind of file it is.
        """
        named = name or (Path(file).name if isinstance(file, str | Path) else "")
        given = {"name": named, "format": format, "version": version, "log": str(log).lower()}
        params = {key: value for key, value in given.items() if value is not None}
        with ExitStack() as opened:
            handle = opened.enter_context(Path(file).open("rb")) if isinstance(file, str | Path) else file
            headers = {"Content-Type": "application/octet-stream"}
            path = at(project, "batch-predictions")
            found = self._json("POST", path, params=params, content=pieces(handle), headers=headers)
        return cast(BatchInfo, found)

    def batch(self, project: str, batch_id: str) -> BatchInfo:
        return cast(BatchInfo, self._get(at(project, "batch-predictions", batch_id)))

    def wait_batch(
        self,
        project: str,
        batch_id: str,
        timeout: float = 3600.0,
        on_progress: Callable[[BatchInfo], None] | None = None,
    ) -> BatchInfo:
        """The batch once it has ended, well or not. Raises StillWorking after `timeout` seconds."""
        return wait_until(
            lambda: self.batch(project, batch_id),
            lambda found: found["status"] in ("succeeded", "failed"),
            timeout,
            f"The batch {batch_id}",
            on_progress,
        )

    def batch_result(self, project: str, batch_id: str, target: str | Path) -> Path:
        """Write the result of a batch to `target`, in pieces."""
        path = at(project, "batch-predictions", batch_id, "result")
        with self._lost(), self._http.stream("GET", path) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            with Path(target).open("wb") as handle:
                for piece in response.iter_bytes():
                    handle.write(piece)
        return Path(target)

    def predictions(self, project: str, limit: int = 50) -> list[LoggedPrediction]:
        """The newest logged predictions, newest first."""
        answer = self._get(at(project, "predictions"), limit=limit)
        return cast("list[LoggedPrediction]", answer["predictions"])

    def prediction(self, project: str, prediction_id: str) -> LoggedPrediction:
        return cast(LoggedPrediction, self._get(at(project, "predictions", prediction_id)))

    def send_truth(
        self,
        project: str,
        label: Label | bool,
        *,
        prediction_id: str | None = None,
        entity_id: str | None = None,
        observed_at: str | None = None,
    ) -> TruthReceipt:
        """The true answer to one prediction, named by its id or by the entity's."""
        given = {
            "prediction_id": prediction_id,
            "entity_id": entity_id,
            "label": plain(label),
            "observed_at": observed_at,
        }
        truth = {name: value for name, value in given.items() if value is not None}
        return cast(TruthReceipt, self._post(at(project, "ground-truth"), truth))

    def send_truths(self, project: str, truths: Sequence[Truth]) -> TruthReceipt:
        return cast(TruthReceipt, self._post(at(project, "ground-truth"), {"truths": plain(list(truths))}))
