"""Our side of the ingest benchmark, as a process of its own: `ours.py WAY FILE FOLDER`.

`read` reads a file, keeps every reject and writes typed Parquet; `full` is a whole ingestion; `cells` reads a
workbook to its cells as text and checks nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas  # noqa: F401 - pyarrow imports it while it makes its first array

import tidemill.data.workbook  # noqa: F401 - imported while the first workbook is opened
from tidemill.data.accept import Acceptor
from tidemill.data.ingest import ingest_pending
from tidemill.data.ledger import rejects_file
from tidemill.data.read import open_source
from tidemill.data.staging import chunks, workbench
from tidemill.home import Home
from tidemill.project import Project
from tidemill.store.state import open_state
from tidemill.store.tables import TableStore

sys.path.insert(0, str(Path(__file__).parents[1]))

from ingesting.data import CONTRACT
from ingesting.measure import measured


def contract(folder: Path) -> Project:
    file = Home.find(folder).project_file("bench")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(CONTRACT)
    return Project.load(file)


def read(file: Path, folder: Path) -> dict[str, Any]:
    """Rows judged by the contract, the good ones in Parquet and the others in a list, nothing published."""
    project = contract(folder)
    rejects = folder / "rejects.csv"
    draft = TableStore(folder / "tables").draft("raw")
    with workbench(folder / "scratch") as connection:
        source = open_source(file, scratch=folder)
        acceptor = Acceptor(connection, source, project, "0" * 64)
        draft.write(acceptor.tables(rejects))
        part = str(draft.folder / draft.parts[-1].path)
        if (more := acceptor.held_back(part, rejects)) is not None:
            draft.extend(more)
    tally = acceptor.tally
    paths = [str(draft.folder / part.path) for part in draft.parts]
    counts = {"rows": tally.rows, "accepted": tally.accepted, "rejected": tally.rejected}
    return counts | {"paths": paths, "rejects": str(rejects)}


def full(_file: Path, folder: Path) -> dict[str, Any]:
    """All that an ingestion of the file in the inbox is, from the copy aside to the version's profile."""
    home = Home.find(folder).ensure()
    project = contract(folder)
    done = ingest_pending(home, open_state(home), project)
    outcome = done.files[0]
    if outcome.status != "accepted" or done.version is None:
        raise SystemExit(f"{outcome.name} was {outcome.status}: {outcome.problem}")
    counts = {"rows": outcome.rows, "accepted": outcome.accepted, "rejected": outcome.rejected}
    return counts | {"paths": done.version.paths, "rejects": str(rejects_file(home, "bench", outcome.id))}


def cells(file: Path, _folder: Path) -> dict[str, Any]:
    return {"rows": sum(chunk.rows for chunk in chunks(open_source(file)))}


def put_into_inbox(file: Path, folder: Path) -> None:
    inbox = Home.find(folder).ensure().inbox("bench")
    inbox.mkdir(parents=True)
    # A link would be refused; a name of the same bytes is as good as a copy.
    try:
        os.link(file, inbox / file.name)
    except OSError:
        shutil.copy2(file, inbox / file.name)


if __name__ == "__main__":
    way, file, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if way == "full":
        put_into_inbox(file, folder)
    measured(lambda: {"read": read, "full": full, "cells": cells}[way](file, folder))
