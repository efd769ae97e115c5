"""What Prometheus is told. One registry per application: tests build several in one process.

What each request counts is plain numbers, made into Prometheus' form when it asks (`api/tally.py`).
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge

from api.tally import Beside, Counts, Durations

FAST = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LOG = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5)


class Metrics:
    """The application's metrics; names follow Prometheus' conventions (seconds, _total)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counts("tidemill_http_requests", "Requests answered", ["method", "route", "status"])
        self.seconds = Durations(
            "tidemill_http_request_seconds",
            "Time from a request's head to the end of its answer",
            ["method", "route"],
            FAST,
        )
        self.in_flight = Gauge(
            "tidemill_http_requests_in_flight", "Requests being answered", registry=self.registry
        )
        refused = Counts("tidemill_http_overload", "Requests refused for overload", [])
        self.refused = refused.labels()
        self.unaudited = Counter(
            "tidemill_unaudited", "Requests that the audit log could not take", registry=self.registry
        )
        self.predictions = Counts(
            "tidemill_predictions", "Predictions logged and answered", ["project", "model_version"]
        )
        self.log_seconds = Durations(
            "tidemill_log_append_seconds", "Time one write of the prediction log took", ["project"], LOG
        )
        self._families = (self.requests, self.seconds, refused, self.predictions, self.log_seconds)
        for family in self._families:
            self.registry.register(family)

    def share(self, folder: Path) -> None:
        """Count together with the other workers that leave their counts in `folder`, dead ones too.

        Requests in flight stay those of the worker that is asked.
        """
        beside = Beside(folder / f"{os.getpid()}.json", self._families)
        threading.Thread(target=beside.write_forever, name="share counts", daemon=True).start()
