"""The report on a challenger: one file for each stage it was in, replaced as more is known.

    store/<project>/reports/rollout/<revision that brought it to its stage>.json

Here belong its place and shape. Its numbers are made in `serve/challenger.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tidemill.errors import Corrupt
from tidemill.home import Home
from tidemill.store.durable import replace_json

# What only the next process that goes on with it reads.
KEPT = "kept"


def reports_folder(home: Home, project: str) -> Path:
    return home.store(project) / "reports" / "rollout"


def write_report(home: Home, project: str, since: int, report: dict[str, Any]) -> None:
    """Replace the report of the stage that revision `since` began."""
    replace_json(reports_folder(home, project) / f"{since:08d}.json", report)


def read_whole(home: Home, project: str, since: int) -> dict[str, Any] | None:
    """That report with what is kept to go on from; None before the first. Raises Corrupt."""
    return _read(reports_folder(home, project) / f"{since:08d}.json")


def newest_report(home: Home, project: str, since: int | None = None) -> dict[str, Any] | None:
    """The report of the stage that `since` began (None: of the newest one), for people; None without one."""
    if since is not None:
        found = read_whole(home, project, since)
    else:
        files = sorted(reports_folder(home, project).glob("[0-9]*.json"))
        found = _read(files[-1]) if files else None
    return None if found is None else {name: value for name, value in found.items() if name != KEPT}


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Corrupt(
            "A report on a challenger is not readable",
            detail=str(file),
            remedy="Remove the file; the numbers begin anew.",
        ) from error
