"""Dagster's run launcher that hands runs to the warm run worker.

Named in the home's dagster.yaml. What a run does, and the forking, is `resources/run_worker.py`'s business.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterRun
from dagster._config.config_schema import UserConfigSchema
from dagster._core.errors import DagsterLaunchFailedError
from dagster._core.launcher.base import (
    CheckRunHealthResult,
    LaunchRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from resources.run_worker import LAUNCH_SECONDS, PID_TAG, STARTED_TAG, is_alive


class WarmRunLauncher(RunLauncher[Any], ConfigurableClass):
    """Launches runs as forks of the run worker that listens on `socket_path`."""

    def __init__(self, socket_path: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.socket_path = socket_path
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {"socket_path": str}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        try:
            answer = self._launch_order(run.run_id)
        except OSError as error:
            raise DagsterLaunchFailedError(  # type: ignore[no-untyped-call]
                f"The run worker does not answer on {self.socket_path} ({error}). "
                "Start the services with `./tidemill up`, or look at `./tidemill logs worker`."
            ) from error
        if not answer.get("ok"):
            raise DagsterLaunchFailedError(  # type: ignore[no-untyped-call]
                f"The run worker refused the run: {answer.get('error')}"
            )
        if answer["waiting"]:
            self._instance.report_engine_event(
                f"Waiting for a free place: {answer['waiting']} runs are ahead (TIDEMILL_CONCURRENT_RUNS).",
                run,
                cls=self.__class__,
            )

    def _launch_order(self, run_id: str) -> dict[str, Any]:
        """Hand the run over; a worker that is just starting again is waited for."""
        deadline = time.monotonic() + LAUNCH_SECONDS
        while True:
            try:
                return self._order("launch", run_id)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        try:
            was = self._order("cancel", run_id)["was"]
        except OSError:
            was = "unknown"
        if was == "waiting":
            self._instance.report_run_canceled(run, message="The run was canceled before it started.")
            return True
        if was == "unknown" and (process := self._process(run)) is not None:
            os.kill(process, signal.SIGTERM)
            return True
        return bool(was == "running")

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        if PID_TAG not in run.tags:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "The run has no process yet.")
        if self._process(run) is None:
            return CheckRunHealthResult(
                WorkerStatus.NOT_FOUND, f"The run's process {run.tags[PID_TAG]} is gone."
            )
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _process(self, run: DagsterRun) -> int | None:
        """The run's process id, if that very process still runs."""
        pid, started = run.tags.get(PID_TAG), run.tags.get(STARTED_TAG)
        if pid and started and is_alive(int(pid), float(started)):
            return int(pid)
        return None

    def _order(self, order: str, run_id: str) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10.0)
            connection.connect(self.socket_path)
            connection.sendall(json.dumps({"order": order, "run_id": run_id}).encode() + b"\n")
            line = connection.makefile("rb").readline()
        if not line:
            raise ConnectionError("the run worker closed the connection without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer
