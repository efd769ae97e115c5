"""`tidemill train ...`: start a training, follow it, cancel it, try it again, list what there was.

They go through the API like any other program; what a training does is in `assets/`. Options are declared here,
imports are made inside the commands, as in `commands.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.console import duration, table
from tidemill.errors import InvalidInput, NotFound
from tidemill.home import Home

if TYPE_CHECKING:
    from tidemill.client import Client
    from tidemill.client_types import TrainingInfo

USAGE = """\
tidemill train NAME [--wait] [--reason TEXT]
       tidemill train cancel NAME [RUN] [--reason TEXT]
       tidemill train retry NAME [RUN] [--wait] [--reason TEXT]
       tidemill train list NAME"""
ACTIONS = ("cancel", "retry", "list")


def add_options(train: argparse.ArgumentParser) -> None:
    """The options of `tidemill train`."""
    train.usage = USAGE
    train.set_defaults(command=run)
    train.add_argument(
        "words",
        nargs="+",
        metavar="NAME",
        help="the project; after cancel and retry also the run (the newest)",
    )
    train.add_argument("--wait", action="store_true", help="follow it to its end; exit code 1 when it fails")
    train.add_argument("--reason", default="", metavar="TEXT", help="why; shown beside the run")
    train.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace, home: Home) -> int:
    """Exit code 0 when what was asked for was done; with --wait only when the training succeeded."""
    action, project, run_id = _parsed(options.words)
    home.require_project(project)
    from tidemill.local import asking

    with asking(home) as client:
        if action == "list":
            return _list(client, project, options)
        if action == "cancel":
            chosen = run_id or _newest(client, project, ("queued", "running"))
            client.cancel_training(project, chosen, options.reason)
            ended = _follow(client, project, chosen)
            return _tell(ended, options, fine=ended["status"] == "canceled")
        if action == "retry":
            chosen = run_id or _newest(client, project, ("failed", "canceled"))
            started = client.retry_training(project, chosen, options.reason)
        else:
            started = client.start_training(project, options.reason, trigger="command-line")
        if not options.wait:
            return _tell(client.training(project, started["id"]), options, fine=True)
        ended = _follow(client, project, started["id"])
        return _tell(ended, options, fine=ended["status"] == "succeeded")


def _parsed(words: Sequence[str]) -> tuple[str, str, str | None]:
    """Action, project and run. A project may be called like an action: `tidemill train list` trains it."""
    if len(words) == 1:
        return "start", words[0], None
    most = 2 if words[0] == "list" else 3
    if words[0] not in ACTIONS or len(words) > most:
        raise InvalidInput("That is not how trainings are asked for", detail=" ".join(words), remedy=USAGE)
    return words[0], words[1], words[2] if len(words) == 3 else None


def _newest(client: Client, project: str, statuses: Sequence[str]) -> str:
    for training in client.trainings(project):
        if training["status"] in statuses:
            return training["id"]
    raise NotFound(
        "There is no such training",
        detail=f"no training of {project} is {' or '.join(statuses)}",
        remedy=f"`./tidemill train list {project}` shows the newest.",
    )


def _follow(client: Client, project: str, run_id: str) -> TrainingInfo:
    is_shown = sys.stderr.isatty()
    last: TrainingInfo | None = None
    try:
        for training in client.follow_training(project, run_id):
            last = training
            if is_shown:
                print(f"\r\x1b[K{progress_text(training)}", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"\nIt goes on: `./tidemill train cancel {project} {run_id}` ends it.", file=sys.stderr)
        raise
    if is_shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return last or client.training(project, run_id)


def progress_text(training: TrainingInfo) -> str:
    """How far a training is, on one line."""
    if training["status"] == "queued":
        return f"queued: {training['waiting_for'] or 'it begins in a moment'}"
    running = [step["name"].rpartition("__")[2] for step in training["steps"] if step["status"] == "running"]
    parts = [f"{training['percent']} %" if training["percent"] is not None else "", ", ".join(running)]
    if search := training["progress"]:
        parts.append(f"{search['done']} of {search['total']} fits, best score {search['best_score']:.4g}")
    return " · ".join(part for part in parts if part) or training["status"]


def _tell(training: TrainingInfo, options: argparse.Namespace, *, fine: bool) -> int:
    print(json.dumps(training, indent=2) if options.json else outcome_text(training))
    return 0 if fine else 1


def outcome_text(training: TrainingInfo) -> str:
    """How a training stands, for people."""
    name = f"Training {training['id'][:8]}"
    match training["status"]:
        case "succeeded":
            made = f" and made model {training['model_version']}" if training["model_version"] else ""
            return f"{name} succeeded{made}."
        case "failed":
            return f"{name} failed: {training['error']}"
        case "canceled":
            return f"{name} was cancelled. {training['error']}"
        case "queued":
            waiting = training["waiting_for"]
            return f"{name} is queued ({training['id']})." + (f" {waiting}" if waiting else "")
        case _:
            return f"{name} goes on ({training['id']}): {progress_text(training)}"


def _list(client: Client, project: str, options: argparse.Namespace) -> int:
    trainings = client.trainings(project)
    if options.json:
        print(json.dumps(trainings, indent=2))
        return 0
    headers = ["run", "created", "state", "started by", "took", "model", "why it ended"]
    print(table(headers, [_row(training) for training in trainings]))
    return 0


def _row(training: TrainingInfo) -> list[Any]:
    began, ended = training["started_at"], training["ended_at"]
    took = (
        duration((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())
        if began and ended
        else None
    )
    why = (training["error"] or training["waiting_for"] or "").splitlines()[:1]
    return [
        training["id"][:8],
        (training["created_at"] or "")[:19],
        training["status"],
        training["trigger"],
        took,
        training["model_version"],
        *(why or [""]),
    ]
