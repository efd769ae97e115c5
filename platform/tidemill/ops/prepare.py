"""What a home needs before services start: its folders, its control database, Dagster's own settings.

Doing it again changes nothing. Runs that a crash left behind are failed by the run worker when it starts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tidemill.home import Home
from tidemill.ops.label_studio import secret
from tidemill.ops.runs import TAG_TRAINS
from tidemill.settings import load_settings
from tidemill.store.durable import replace_bytes
from tidemill.store.state import open_state


def prepare_home(home: Home) -> None:
    """Create what is missing in `home` and write the files that follow from its settings."""
    home.ensure()
    open_state(home, load_settings().database_url)
    for name in home.project_names():
        home.inbox(name).mkdir(parents=True, exist_ok=True)
    # Made now, so that a person who registers the webhook by hand finds it.
    secret(home, "webhook")
    write_dagster_settings(home)


def write_dagster_settings(home: Home) -> Path:
    """Write `dagster/dagster.yaml`: storage in the home, the queue, the warm launcher, no telemetry."""
    file = home.dagster / "dagster.yaml"
    # JSON is YAML, and needs no quoting rules for paths with spaces.
    text = "# Written by Tidemill at each start.\n" + json.dumps(dagster_settings(home), indent=2) + "\n"
    if not file.exists() or file.read_text() != text:
        replace_bytes(file, text.encode())
    return file


def dagster_settings(home: Home) -> dict[str, Any]:
    """Dagster's instance settings for `home`."""
    settings = load_settings()
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},  # a newsletter's form over the page, on a box without internet
        "run_launcher": {
            "module": "resources.launcher",
            "class": "WarmRunLauncher",
            "config": {"socket_path": str(home.worker_socket)},
        },
        # Dagster's own queue, so that what waits is shown as queued and outlives any crash. It is looked at each
        # second: by default each 5, which a person who pressed a button would wait for.
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {
                "max_concurrent_runs": settings.concurrent_runs,
                "tag_concurrency_limits": [
                    {
                        "key": TAG_TRAINS,
                        "value": {"applyLimitPerUniqueValue": True},
                        "limit": settings.concurrent_trainings,
                    }
                ],
                "dequeue_interval_seconds": 1,
            },
        },
        # Notices within seconds a run whose process was killed, and one that was handed over and never began.
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 60,
            "cancel_timeout_seconds": 60,
            "poll_interval_seconds": 15,
        },
        "retention": {
            "sensor": {"purge_after_days": {"skipped": 1, "failure": 30, "success": -1}},
            "schedule": {"purge_after_days": {"skipped": 7, "failure": 30, "success": -1}},
        },
    }
