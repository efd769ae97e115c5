"""Whether a training is due by itself: what there is now against what the newest model was made from.

Here belongs the decision. What asks it now and then, and starts the run, is `assets/automation.py`; the policy is
`training.triggers` of project.yaml (`project_triggers.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.errors import NotFound
from tidemill.home import Home
from tidemill.learn.bundle_info import BundleInfo, list_bundles
from tidemill.monitor.alerts import UNRESOLVED, list_alerts
from tidemill.project_triggers import Triggers
from tidemill.store.state import State
from tidemill.store.tables import TableStore


@dataclass(frozen=True)
class Seen:
    """Rows, labels, and the newest drift alert (0: none) that a training has, or would have, to learn from."""

    rows: int
    labels: int
    alert: int


@dataclass(frozen=True)
class Due:
    """A training to start: what triggers it (a word of `ops/runs.Trigger`), and why, for people."""

    trigger: str
    reason: str


def due(policy: Triggers, now: Seen, before: Seen) -> Due | None:
    """The first trigger that is due, or None. `before` is what the last training saw."""
    if policy.drift and now.alert > before.alert:
        return Due("drift", f"drift alert {now.alert} is open")
    if policy.new_labels is not None and now.labels - before.labels >= policy.new_labels:
        return Due("new-labels", f"{now.labels - before.labels} labels more than the last training had")
    if policy.new_rows is not None and now.rows - before.rows >= policy.new_rows:
        return Due("new-data", f"{now.rows - before.rows} rows more than the last training had")
    return None


def seen_now(home: Home, state: State, project: str) -> Seen:
    """What there is to learn from at this moment."""
    tables = TableStore(home.tables(project))
    rows, labels = (version.rows if (version := tables.current(name)) else 0 for name in ("raw", "labels"))
    return Seen(rows, labels, _newest_alert(state, project))


def seen_by_newest_model(home: Home, state: State, project: str) -> Seen:
    """What the newest model was made from; nothing when there is none."""
    bundle = max(list_bundles(home.models(project)), key=lambda each: each.version, default=None)
    if bundle is None:
        return Seen(0, 0, 0)
    rows, labels = (_rows(home, project, bundle.provenance.get(name)) for name in ("dataset", "labels"))
    return Seen(rows, labels, _newest_alert(state, project, before=bundle))


def _rows(home: Home, project: str, table_version: object) -> int:
    """The rows of a version such as raw@3; 0 when it was cleared away or the model came from elsewhere."""
    table, _, number = str(table_version or "").partition("@")
    if not number.isdigit():
        return 0
    try:
        return TableStore(home.tables(project)).version(table, int(number)).rows
    except NotFound:
        return 0


def _newest_alert(state: State, project: str, before: BundleInfo | None = None) -> int:
    """The newest unresolved drift alert, or the newest one opened before a model was made."""
    alerts = [alert for alert in list_alerts(state, project, UNRESOLVED) if alert.kind == "drift"]
    return max(
        (alert.id for alert in alerts if before is None or alert.opened_at <= before.created), default=0
    )
