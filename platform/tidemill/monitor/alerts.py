"""Alerts: what someone should look at, one open alert per subject.

Here belongs the life of an alert: raised, seen again, acknowledged, resolved. When one is raised is decided where
the finding is made (`monitor/watch.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa

from tidemill.errors import Conflict, NotFound
from tidemill.store.state import State, alerts, now

Kind = Literal["drift", "performance", "data", "service"]
Severity = Literal["warning", "critical"]
UNRESOLVED = ("open", "acknowledged")


@dataclass(frozen=True)
class Alert:
    """One alert. `times_seen` counts the findings it stands for; times are ISO 8601 in UTC."""

    id: int
    project: str
    kind: str
    subject: str
    state: str
    severity: str
    title: str
    detail: dict[str, Any]
    times_seen: int
    opened_at: str
    last_seen_at: str
    resolved_at: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def raise_alert(
    state: State,
    project: str,
    kind: Kind,
    subject: str,
    title: str,
    severity: Severity = "warning",
    detail: Mapping[str, Any] | None = None,
) -> Alert:
    """Open an alert on `subject`, or count one more sighting on the alert that is not resolved yet.

    A sighting brings title, severity and detail up to date; an acknowledged alert stays acknowledged.
    """
    at = now()
    newest = {"title": title, "severity": severity, "detail": dict(detail or {}), "last_seen_at": at}
    with state.begin() as connection:
        known = _unresolved(connection, project, kind, subject)
        if known is not None:
            connection.execute(
                sa.update(alerts)
                .where(alerts.c.id == known)
                .values(times_seen=alerts.c.times_seen + 1, **newest)
            )
            return _one(connection, known)
        inserted = connection.execute(
            sa.insert(alerts)
            .values(
                project=project,
                kind=kind,
                subject=subject,
                state="open",
                times_seen=1,
                opened_at=at,
                **newest,
            )
            .returning(alerts.c.id)
        ).scalar_one()
        return _one(connection, inserted)


def resolve(state: State, project: str, kind: Kind, subject: str) -> Alert | None:
    """Close the alert on `subject`, if there is one that is not resolved."""
    with state.begin() as connection:
        known = _unresolved(connection, project, kind, subject)
        if known is None:
            return None
        connection.execute(
            sa.update(alerts).where(alerts.c.id == known).values(state="resolved", resolved_at=now())
        )
        return _one(connection, known)


def acknowledge(state: State, project: str, alert_id: int) -> Alert:
    """Say that someone looks after an alert. Raises NotFound, or Conflict when it is resolved already."""
    with state.begin() as connection:
        row = connection.execute(
            sa.select(alerts.c.state).where(alerts.c.id == alert_id, alerts.c.project == project)
        ).scalar_one_or_none()
        if row is None:
            raise NotFound(
                "There is no such alert",
                detail=f"project {project} has no alert {alert_id}",
                remedy="List the project's alerts and choose one of them.",
            )
        if row == "resolved":
            raise Conflict(
                "The alert is resolved already",
                detail=f"alert {alert_id} of project {project} needs no one any more",
                remedy="Nothing needs to be done.",
            )
        connection.execute(sa.update(alerts).where(alerts.c.id == alert_id).values(state="acknowledged"))
        return _one(connection, alert_id)


def list_alerts(
    state: State, project: str | None = None, states: Collection[str] | None = None, *, limit: int = 200
) -> list[Alert]:
    """Alerts of a project (None: of all), newest sighting first, in the given states (None: in any)."""
    query = sa.select(alerts).order_by(alerts.c.last_seen_at.desc(), alerts.c.id.desc()).limit(limit)
    if project is not None:
        query = query.where(alerts.c.project == project)
    if states is not None:
        query = query.where(alerts.c.state.in_(list(states)))
    return [Alert(**row) for row in state.rows(query)]


def count_unresolved(state: State, project: str) -> int:
    """How many alerts of a project are open or acknowledged."""
    query = (
        sa.select(sa.func.count().label("count"))
        .select_from(alerts)
        .where(alerts.c.project == project, alerts.c.state.in_(UNRESOLVED))
    )
    return int(state.rows(query)[0]["count"])


def _unresolved(connection: sa.Connection, project: str, kind: str, subject: str) -> int | None:
    found = connection.execute(
        sa.select(alerts.c.id)
        .where(
            alerts.c.project == project,
            alerts.c.kind == kind,
            alerts.c.subject == subject,
            alerts.c.state.in_(UNRESOLVED),
        )
        .order_by(alerts.c.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    return None if found is None else int(found)


def _one(connection: sa.Connection, alert_id: int) -> Alert:
    row = connection.execute(sa.select(alerts).where(alerts.c.id == alert_id)).mappings().one()
    return Alert(**row)
