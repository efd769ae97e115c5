"""`tidemill data files` and `tidemill data rejects`: what became of each file, and of its rejected rows.

What these commands say is put together here; what they tell is in `data/ledger.py` and `data/repair.py`.
Imports are made inside the commands, as in `commands.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tidemill.console import table as text_table
from tidemill.home import Home

if TYPE_CHECKING:
    from tidemill.store.state import State


def files(options: argparse.Namespace, home: Home) -> int:
    """Every file of the project, newest first, and those that wait in its inbox."""
    from tidemill.data.ledger import list_files, pending_files
    from tidemill.project import load_project

    project = load_project(home, options.name)
    records = list_files(_state(home), project.name)
    waiting = [path.name for path in pending_files(home, project)]
    if options.json:
        print(json.dumps({"files": records, "waiting": waiting}, indent=2, default=str))
        return 0
    # What a source landed bears the file's id in its name; it is listed once, by its record.
    known = [(record["id"], record["name"]) for record in records if record["status"] == "received"]
    shown = [
        ["", name, "waits", None, None, None, None]
        for name in waiting
        if not any(f"__{file_id}__" in name or name == called for file_id, called in known)
    ]
    shown += [
        [
            record["id"],
            record["name"],
            record["status"],
            record["rows"],
            record["accepted"],
            record["rejected"],
            record["dataset_version"],
        ]
        for record in records
    ]
    print(text_table(["id", "file", "state", "rows", "accepted", "rejected", "version"], shown))
    for record in records:
        if record["status"] == "refused":
            print(f"\n{refusal(record)}")
    return 0


def rejects(options: argparse.Namespace, home: Home) -> int:
    """The rejected rows of one file as CSV; that the file was refused as a whole is said beside."""
    from tidemill.data.ledger import find_file
    from tidemill.data.repair import rejected_rows, rejects_list
    from tidemill.project import load_project

    project = load_project(home, options.name)
    record = find_file(_state(home), project.name, options.file)
    listed = rejects_list(home, project.name, record)
    sys.stdout.flush()
    for piece in rejected_rows(home, project, record) if options.rows else listed:
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()
    if record["status"] == "refused":
        print(refusal(record), file=sys.stderr)
    return 0


def refusal(record: Mapping[str, Any]) -> str:
    """Why a file was refused, and what to do."""
    problem = record["problem"] or {}
    told = [f"{record['name']} was refused: {problem.get('title', 'see the log of the services')}"]
    told += [f"  {line}" for line in str(problem.get("detail") or "").splitlines()]
    if problem.get("remedy"):
        told.append(f"  what to do: {problem['remedy']}")
    return "\n".join(told)


def _state(home: Home) -> State:
    from tidemill.settings import load_settings
    from tidemill.store.state import open_state

    return open_state(home.ensure(), load_settings().database_url)
