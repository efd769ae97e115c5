"""Who had which run canceled, and why: whoever runs jobs keeps no such note.

Here belong the notes. Ending the run is `ops/runs.py`'s interface.
"""

from __future__ import annotations

import sqlalchemy as sa

from tidemill.store.state import State, now, run_cancellations


def note_cancellation(state: State, project: str, run: str, actor: str, reason: str) -> None:
    """Keep that `actor` asked for the end of `run`. Only the first asking counts."""
    table = run_cancellations
    with state.begin() as connection:
        if connection.execute(sa.select(table.c.run).where(table.c.run == run)).first() is None:
            values = {"run": run, "project": project, "actor": actor, "reason": reason, "at": now()}
            connection.execute(sa.insert(table).values(**values))


def why_canceled(state: State, project: str) -> dict[str, str]:
    """A sentence for each canceled run of a project, by the run's id."""
    rows = state.rows(sa.select(run_cancellations).where(run_cancellations.c.project == project))
    return {row["run"]: _sentence(row["actor"], row["reason"]) for row in rows}


def _sentence(actor: str, reason: str) -> str:
    return f"Cancelled by {actor}: {reason}" if reason else f"Cancelled by {actor}."
