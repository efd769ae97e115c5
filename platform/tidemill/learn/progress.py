"""How far a training is: written by the run that trains, read by whoever is asked.

A file and not the orchestrator's event log: it changes many times a minute, is worth nothing afterwards, and the
API can read it without asking anybody.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tidemill.home import Home
from tidemill.store.durable import replace_json

if TYPE_CHECKING:
    from tidemill.learn.training import Progress

RUN_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
KEEP_SECONDS = 7 * 24 * 3600


def write_progress(home: Home, run_id: str, progress: Progress) -> None:
    """Replace what is known of `run_id`; the first step of a run also clears what is a week old."""
    folder = home.training_progress
    if progress.done <= 1 and folder.is_dir():
        for file in folder.glob("*.json"):
            if time.time() - file.stat().st_mtime > KEEP_SECONDS:
                file.unlink(missing_ok=True)
    replace_json(folder / f"{run_id}.json", asdict(progress))


def read_progress(home: Home, run_id: str) -> dict[str, Any] | None:
    """{"done", "total", "best_score", "name"} of a training, or None before its first fit."""
    if not RUN_ID.fullmatch(run_id):
        return None
    try:
        found: dict[str, Any] = json.loads((home.training_progress / f"{run_id}.json").read_text())
    except FileNotFoundError:
        return None
    return found
