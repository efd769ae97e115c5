"""What Prometheus is told. One registry per application: tests build several in one process.

What each request counts is plain numbers, made into Prometheus' form when it asks (`api/tally.py`).
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from api.tally import Counts, Durations

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
        self.refused = Counter(
            "tidemill_http_overload", "Requests refused for overload", registry=self.registry
        )
        self.unaudited = Counter(
            "tidemill_unaudited", "Requests that the audit log could not take", registry=self.registry
        )
        self.predictions = Counts(
            "tidemill_predictions", "Predictions logged and answered", ["project", "model_version"]
        )
        self.log_seconds = Durations(
            "tidemill_log_append_seconds", "Time one write of the prediction log took", ["project"], LOG
        )
        for family in (self.requests, self.seconds, self.predictions, self.log_seconds):
            self.registry.register(family)
