"""Which model answers: the deployment of a project, changed by compare-and-set, with its history.

Here belongs only the state. Whether a model may be deployed is judged by its gate (`learn/gate.py`) and by who
asks; loading it is the business of `serve/service.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tidemill.errors import Conflict
from tidemill.store.state import State, deployment_events, deployments, now


@dataclass(frozen=True)
class Deployment:
    """`revision` counts changes from 1. `previous` is the model that a rollback would put back."""

    project: str
    revision: int
    champion: int
    previous: int | None
    changed_at: str


def current(state: State, project: str) -> Deployment | None:
    """What answers now, or None when nothing was ever deployed."""
    rows = state.rows(sa.select(deployments).where(deployments.c.project == project))
    return Deployment(**rows[0]) if rows else None


def deployed(state: State) -> list[str]:
    """Names of the projects that have a deployment, sorted."""
    rows = state.rows(sa.select(deployments.c.project).order_by(deployments.c.project))
    return [row["project"] for row in rows]


def deploy(
    state: State,
    project: str,
    version: int,
    *,
    expected_revision: int | None = None,
    actor: str,
    reason: str,
) -> Deployment:
    """Make `version` the champion.

    With `expected_revision` (0: nothing deployed yet) only if the deployment is still at that revision; the loser
    of a race gets Conflict. Deploying what is deployed changes nothing.
    """
    with state.begin() as connection:
        before = _locked(connection, project)
        _expect(before, project, expected_revision)
        if before is not None and before.champion == version:
            return before
        return _change(connection, before, project, version, "deploy", actor, reason)


def rollback(
    state: State, project: str, *, expected_revision: int | None = None, actor: str, reason: str
) -> Deployment:
    """Put back the model that answered before the champion. Raises Conflict when there was none."""
    with state.begin() as connection:
        before = _locked(connection, project)
        _expect(before, project, expected_revision)
        if before is None or before.previous is None:
            raise Conflict(
                "There is no earlier model to go back to",
                detail=f"project {project}: "
                + (f"model {before.champion} is the first" if before else "nothing was deployed yet"),
                remedy="Deploy a version by its number instead.",
            )
        return _change(connection, before, project, before.previous, "rollback", actor, reason)


def history(state: State, project: str) -> list[dict[str, Any]]:
    """Every change, newest first: revision, action, version, actor, reason, at."""
    table = deployment_events.c
    columns = (table.revision, table.action, table.version, table.actor, table.reason, table.at)
    query = sa.select(*columns).where(table.project == project).order_by(table.revision.desc())
    return state.rows(query)


def champions(events: Iterable[Mapping[str, Any]]) -> list[int]:
    """The champions that `events` (oldest first) stacked up, the live one last; a rollback takes one off."""
    stack: list[int] = []
    for event in events:
        if event["action"] == "rollback" and len(stack) > 1:
            stack.pop()
        elif event["action"] == "deploy":
            stack.append(event["version"])
    return stack


def _locked(connection: sa.Connection, project: str) -> Deployment | None:
    # SQLite took the write lock at BEGIN; other databases lock the row here.
    query = sa.select(deployments).where(deployments.c.project == project).with_for_update()
    row = connection.execute(query).mappings().first()
    return Deployment(**row) if row else None


def _expect(before: Deployment | None, project: str, expected_revision: int | None) -> None:
    found = before.revision if before else 0
    if expected_revision is not None and expected_revision != found:
        raise Conflict(
            "The deployment changed meanwhile",
            detail=f"project {project} is at revision {found}, not {expected_revision}"
            + (f"; model {before.champion} answers" if before else ""),
            remedy="Look at the deployment again, then decide anew.",
            revision=found,
        )


def _change(
    connection: sa.Connection,
    before: Deployment | None,
    project: str,
    version: int,
    action: str,
    actor: str,
    reason: str,
) -> Deployment:
    revision = before.revision + 1 if before else 1
    at = now()
    event = {
        "project": project,
        "revision": revision,
        "action": action,
        "version": version,
        "actor": actor,
        "reason": reason,
        "at": at,
    }
    stack = champions([*_events(connection, project), event])
    after = Deployment(project, revision, version, stack[-2] if len(stack) > 1 else None, at)
    try:
        # The event's primary key is the referee: two writers cannot both make one revision.
        connection.execute(sa.insert(deployment_events).values(**event))
        if before is None:
            connection.execute(sa.insert(deployments).values(**after.__dict__))
        else:
            connection.execute(
                sa.update(deployments).where(deployments.c.project == project).values(**after.__dict__)
            )
    except sa.exc.IntegrityError as error:
        raise Conflict(
            "Somebody else changed the deployment at the same moment",
            detail=f"project {project}, revision {revision}",
            remedy="Look at the deployment again, then decide anew.",
        ) from error
    return after


def _events(connection: sa.Connection, project: str) -> list[dict[str, Any]]:
    table = deployment_events.c
    query = sa.select(table.action, table.version).where(table.project == project).order_by(table.revision)
    return [dict(row) for row in connection.execute(query).mappings()]
