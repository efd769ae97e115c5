"""Leases: the row that a person has before them is not shown to more people than are to answer about it.

Here belong taking and ending them, in the control state. Which row somebody gets is `labels/built_in.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from tidemill.store.state import State, label_leases

LENGTH = timedelta(minutes=5)


def take(
    state: State,
    project: str,
    annotator: str,
    choose: Callable[[Counter[str]], str | None],
    *,
    at: datetime | None = None,
) -> str | None:
    """Lease the row that `choose` takes, knowing how many others hold each row. One lease a person.

    Choosing and taking are one transaction, so that of two people at the same moment the second sees the first. The
    lease lasts five minutes from the last time the row was shown.
    """
    moment = at or datetime.now(UTC)
    own = label_leases.c.project == project, label_leases.c.annotator == annotator
    with state.begin() as connection:
        held = connection.execute(
            sa.select(label_leases.c.row).where(
                label_leases.c.project == project,
                label_leases.c.annotator != annotator,
                label_leases.c.until > _text(moment),
            )
        ).scalars()
        row = choose(Counter(held))
        connection.execute(sa.delete(label_leases).where(*own))
        if row is not None:
            until = _text(moment + LENGTH)
            connection.execute(
                sa.insert(label_leases).values(project=project, annotator=annotator, row=row, until=until)
            )
    return row


def end(state: State, project: str, annotator: str) -> None:
    """The person is done with their row."""
    own = label_leases.c.project == project, label_leases.c.annotator == annotator
    with state.begin() as connection:
        connection.execute(sa.delete(label_leases).where(*own))


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
