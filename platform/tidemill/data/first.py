"""The very first file of a project: whoever needs the table `raw` waits for it, or is told why it does not come.

Here belongs only the time before there is a table. How a file is taken in is `data/ingest.py`, and who starts that
is not known here.
"""

from __future__ import annotations

import time

from tidemill.data.ledger import list_files, pending_files
from tidemill.errors import Conflict, NotReady
from tidemill.home import Home
from tidemill.store.state import State
from tidemill.store.tables import TableStore, TableVersion

RAW = "raw"
# A file of ten million rows takes a minute or two; whoever waits longer waits for a run that does not come.
WAIT_SECONDS = 600.0
LOOK_SECONDS = 0.5


def waits_for_first(home: Home, state: State, project: str) -> bool:
    """Whether there is no table `raw` yet and files wait to make one. Raises Conflict when there are neither."""
    if TableStore(home.tables(project)).current(RAW) is not None:
        return False
    if pending_files(home, project):
        return True
    if (
        TableStore(home.tables(project)).current(RAW) is None
    ):  # a file leaves the inbox after it is in the table
        raise _no_data(home, state, project)
    return False


def require_raw(home: Home, state: State, project: str, seconds: float = WAIT_SECONDS) -> TableVersion:
    """The table `raw`, once the files that wait are taken in, by somebody else.

    Raises Conflict when there is no table and no file waits, NotReady when they still wait after so many seconds.
    """
    until = time.monotonic() + seconds
    while waits_for_first(home, state, project):
        if time.monotonic() >= until:
            names = ", ".join(file.name for file in pending_files(home, project)[:3])
            raise NotReady(
                "The project's first file has not been taken in yet",
                detail=f"{names} waited in {home.inbox(project)} for {seconds:.0f} seconds",
                remedy=f"Look at the runs of {project}__ingest in Dagster, then ask again.",
            )
        time.sleep(LOOK_SECONDS)
    return TableStore(home.tables(project)).require(RAW)


def _no_data(home: Home, state: State, project: str) -> Conflict:
    refused = next((file for file in list_files(state, project) if file["status"] == "refused"), None)
    why = "no file has come yet"
    if refused is not None:
        problem = refused["problem"] or {}
        why = f"{refused['name']} was refused: {problem.get('detail') or problem.get('title') or 'see its record'}"
    return Conflict(
        "The project has no data yet",
        detail=f"{project}: {why}",
        remedy=f"Put a CSV or Excel file into {home.inbox(project)}, or send one to "
        f"POST /v1/projects/{project}/files.",
    )
