"""`tidemill data send`: a file goes to the services over their API, as from any other program, and is followed.

Here belongs what a person at a terminal sees of it. The parts and the retries are `tidemill/client.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemill.console import size
from tidemill.errors import InvalidInput, NotReady
from tidemill.home import Home

PHASES = {"opening": "opening it", "reading": "reading", "publishing": "making the new version"}


def send_file(home: Home, project: str, file: str, *, wait: bool = True) -> dict[str, Any]:
    """Send `file` in parts, going on where an earlier try broke off. Its record; with `wait`, the last one.

    Raises InvalidInput when there is no such file or the API refuses it, NotReady when the API does not answer.
    """
    from tidemill.client import ApiError
    from tidemill.local import local_client

    path = Path(file)
    if not path.is_file():
        raise InvalidInput("There is no such file", detail=file, remedy="Check the path.")
    line = _Line(path.name)
    try:
        with local_client(home.root) as client:
            record = client.upload(project, path, resume=True, on_progress=line.sending)
            for now in client.follow_file(project, record["id"]) if wait else ():
                line.taking(now)
                record = now
    except ApiError as error:
        kind = NotReady if error.is_retryable else InvalidInput
        raise kind(error.title, detail=error.detail, remedy=error.remedy) from error
    finally:
        line.end()
    return dict(record)


def outcome_text(record: Mapping[str, Any]) -> str:
    """What became of a file, for people."""
    name = record["name"]
    match record["status"]:
        case "accepted":
            rejected = f", {record['rejected']} rejected" if record["rejected"] else ""
            return f"{name} is in {record['dataset']}: {record['accepted']} rows{rejected}."
        case "refused":
            problem = record["problem"] or {}
            parts = [problem.get("title"), problem.get("detail"), problem.get("remedy")]
            return f"{name} was refused: " + "\n".join(part for part in parts if part)
        case _:
            return f"{name} has arrived as {record['id']}; the dashboard shows what becomes of it."


class _Line:
    """One line of a terminal that is written again and again; nothing where no person looks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_shown = sys.stderr.isatty()

    def sending(self, there: int, whole: int) -> None:
        self._show(f"{there / max(whole, 1):.0%} of {size(whole)} sent")

    def taking(self, record: Mapping[str, Any]) -> None:
        progress = record["progress"]
        if progress is None:
            self._show("waiting to be read")
            return
        share = f"{progress['share']:.0%}, " if progress["share"] is not None else ""
        self._show(f"{PHASES[progress['phase']]}: {share}{progress['rows']} rows")

    def end(self) -> None:
        if self.is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _show(self, text: str) -> None:
        if self.is_shown:
            print(f"\r\x1b[K{self.name}: {text}", end="", file=sys.stderr, flush=True)
