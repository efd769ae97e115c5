"""Which models answer: the deployment of a project, changed by compare-and-set, with its history.

    champion            answers everyone, or everyone but the canary's share
    challenger, shadow  is asked beside the champion; answers nobody
    challenger, canary  answers `percent` of the entities
    challenger, paused  keeps its stage and does nothing

docs/adr/0019 has the machine. Here belong the state, its history and the changes of the champion; those of the
challenger are in `serve/challengers.py`. Whether a model may be deployed is judged by its gate (`learn/gate.py`,
`serve/release.py`) and by who asks; loading it is the business of `serve/service.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from tidemill.errors import Conflict
from tidemill.store.state import State, deployment_events, deployments, now

Stage = Literal["shadow", "canary"]


@dataclass(frozen=True)
class Challenger:
    """The model that may become champion. `since` is the revision that brought it to its stage.

    `percent` is that of a canary. `salt` decides, with an entity's id, who belongs to it, and stays as long as the
    challenger does, so that a larger percent keeps everyone it had.
    """

    version: int
    stage: Stage
    percent: float | None
    salt: str
    paused: bool
    since: int
    since_at: str


@dataclass(frozen=True)
class Deployment:
    """`revision` counts changes from 1. `previous` is the model that a rollback would put back."""

    project: str
    revision: int
    champion: int
    previous: int | None
    changed_at: str
    challenger: Challenger | None = None

    @property
    def canary(self) -> Challenger | None:
        """The challenger, if it answers anyone now."""
        found = self.challenger
        return found if found is not None and found.stage == "canary" and not found.paused else None

    @property
    def summary(self) -> dict[str, int | float | str]:
        """What is known of it in a few words and numbers, for a run's metadata."""
        its = self.challenger
        found: dict[str, int | float | str] = {
            "champion": self.champion,
            "previous": self.previous or 0,
            "revision": self.revision,
        }
        if its is not None:
            found |= {"challenger": its.version, "stage": "paused" if its.paused else its.stage}
        if its is not None and its.percent is not None:
            found["percent"] = its.percent
        return found


def current(state: State, project: str) -> Deployment | None:
    """What answers now, or None when nothing was ever deployed."""
    rows = state.rows(sa.select(deployments).where(deployments.c.project == project))
    return _of_row(rows[0]) if rows else None


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
    """Make `version` the champion. Whatever challenger there was is so no more.

    With `expected_revision` (0: nothing deployed yet) only if the deployment is still at that revision; the loser
    of a race gets Conflict, as with every change here. Deploying what is deployed changes nothing.
    """
    with state.begin() as connection:
        before = expected(connection, project, expected_revision)
        if before is not None and before.champion == version:
            return before
        is_challenger = (
            before is not None and before.challenger is not None and before.challenger.version == version
        )
        action = "promote" if is_challenger else "deploy"
        return _change_champion(connection, before, project, version, action, actor, reason)


def rollback(
    state: State, project: str, *, expected_revision: int | None = None, actor: str, reason: str
) -> Deployment:
    """Put back the model that answered before the champion. Raises Conflict when there was none.

    Whatever challenger there was is so no more: it was compared with the champion that goes.
    """
    with state.begin() as connection:
        before = expected(connection, project, expected_revision)
        if before is None or before.previous is None:
            raise Conflict(
                "There is no earlier model to go back to",
                detail=f"project {project}: "
                + (f"model {before.champion} is the first" if before else "nothing was deployed yet"),
                remedy="Deploy a version by its number instead.",
            )
        return _change_champion(connection, before, project, before.previous, "rollback", actor, reason)


def history(state: State, project: str) -> list[dict[str, Any]]:
    """Every change, newest first: revision, action, version, actor, reason, at, percent, detail."""
    table = deployment_events.c
    columns = [column for column in deployment_events.c if column.name != "project"]
    query = sa.select(*columns).where(table.project == project).order_by(table.revision.desc())
    return state.rows(query)


def champions(events: Iterable[Mapping[str, Any]]) -> list[int]:
    """The champions that `events` (oldest first) stacked up, the live one last; a rollback takes one off."""
    stack: list[int] = []
    for event in events:
        if event["action"] == "rollback" and len(stack) > 1:
            stack.pop()
        elif event["action"] in ("deploy", "promote"):
            stack.append(event["version"])
    return stack


def _of_row(row: Mapping[str, Any]) -> Deployment:
    challenger = None
    if row["challenger"] is not None:
        challenger = Challenger(
            version=row["challenger"],
            stage=row["stage"],
            percent=row["percent"],
            salt=row["salt"],
            paused=bool(row["paused"]),
            since=row["since"],
            since_at=row["since_at"],
        )
    own = ("project", "revision", "champion", "previous", "changed_at")
    return Deployment(**{name: row[name] for name in own}, challenger=challenger)


def _row_of(found: Deployment) -> dict[str, Any]:
    its = found.challenger
    return {
        "project": found.project,
        "revision": found.revision,
        "champion": found.champion,
        "previous": found.previous,
        "changed_at": found.changed_at,
        "challenger": its.version if its else None,
        "stage": its.stage if its else None,
        "percent": its.percent if its else None,
        "salt": its.salt if its else None,
        "paused": its.paused if its else None,
        "since": its.since if its else None,
        "since_at": its.since_at if its else None,
    }


def expected(connection: sa.Connection, project: str, expected_revision: int | None) -> Deployment | None:
    """The deployment, locked. Raises Conflict, saying who changed it, when it is at another revision."""
    # SQLite took the write lock at BEGIN; other databases lock the row here.
    query = sa.select(deployments).where(deployments.c.project == project).with_for_update()
    row = connection.execute(query).mappings().first()
    before = _of_row(dict(row)) if row else None
    found = before.revision if before else 0
    if expected_revision is None or expected_revision == found:
        return before
    last = _last_event(connection, project)
    told = (
        f"; {last['actor']} made the last change ({last['action']} of model {last['version']}) at {last['at']}: "
        f"{last['reason']}"
        if last
        else ""
    )
    raise Conflict(
        "The deployment changed meanwhile",
        detail=f"project {project} is at revision {found}, not {expected_revision}"
        + (f"; model {before.champion} answers" if before else "")
        + told,
        remedy="Look at the deployment again, then decide anew.",
        revision=found,
        champion=before.champion if before else None,
        challenger=before.challenger.version if before and before.challenger else None,
        changed_by=last["actor"] if last else None,
        changed_at=last["at"] if last else None,
        reason=last["reason"] if last else None,
    )


def _change_champion(
    connection: sa.Connection,
    before: Deployment | None,
    project: str,
    version: int,
    action: str,
    actor: str,
    reason: str,
) -> Deployment:
    stack = champions([*_events(connection, project), {"action": action, "version": version}])
    revision = before.revision + 1 if before else 1
    after = Deployment(project, revision, version, stack[-2] if len(stack) > 1 else None, now())
    return store(connection, before, after, action, version, actor, reason)


def store(
    connection: sa.Connection,
    before: Deployment | None,
    after: Deployment,
    action: str,
    version: int,
    actor: str,
    reason: str,
    detail: Mapping[str, Any] | None = None,
) -> Deployment:
    """Write `after` and its event. Raises Conflict when another writer made the same revision."""
    event = {
        "project": after.project,
        "revision": after.revision,
        "action": action,
        "version": version,
        "actor": actor,
        "reason": reason,
        "at": after.changed_at,
        "percent": after.challenger.percent if after.challenger else None,
        "detail": dict(detail) if detail is not None else sa.null(),
    }
    values = _row_of(after)
    try:
        # The event's primary key is the referee: two writers cannot both make one revision.
        connection.execute(sa.insert(deployment_events).values(**event))
        if before is None:
            connection.execute(sa.insert(deployments).values(**values))
        else:
            here = deployments.c.project == after.project
            connection.execute(sa.update(deployments).where(here).values(**values))
    except sa.exc.IntegrityError as error:
        raise Conflict(
            "Somebody else changed the deployment at the same moment",
            detail=f"project {after.project}, revision {after.revision}",
            remedy="Look at the deployment again, then decide anew.",
        ) from error
    return after


def _last_event(connection: sa.Connection, project: str) -> Mapping[str, Any] | None:
    table = deployment_events.c
    query = (
        sa.select(deployment_events).where(table.project == project).order_by(table.revision.desc()).limit(1)
    )
    row = connection.execute(query).mappings().first()
    return dict(row) if row else None


def _events(connection: sa.Connection, project: str) -> list[dict[str, Any]]:
    table = deployment_events.c
    query = sa.select(table.action, table.version).where(table.project == project).order_by(table.revision)
    return [dict(row) for row in connection.execute(query).mappings()]
