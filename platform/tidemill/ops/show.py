"""What `status`, `doctor`, `sql` and `key` print, as text."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from typing import Any

from tidemill.console import colour, duration, size, table
from tidemill.ops.doctor import Finding

_STATE_COLOURS = {"healthy": "green", "failing": "red", "unhealthy": "red", "backoff": "red"}
_FINDING_COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


def status_text(report: dict[str, Any]) -> str:
    """The table of services of a `control.report`."""
    if not report["running"]:
        lines = [f"Tidemill is not running (home {report['home']})."]
        if report["left_behind"]:
            lines.append(f"Left running by a supervisor that died: {', '.join(report['left_behind'])}.")
            lines.append("`./tidemill down` ends them, `./tidemill up` starts anew.")
        else:
            lines.append("Start it with `./tidemill up`.")
        return "\n".join(lines)
    now = time.time()
    rows = [_service_row(service, now) for service in report["services"]]
    own = report["supervisor"]
    rows.append(
        [
            "supervisor",
            report["phase"],
            duration(now - report["started"]),
            own["pid"],
            size(own["memory"]),
            0,
            "",
        ]
    )
    headers = ["service", "state", "since", "pid", "memory", "restarts", "address"]
    text = table(headers, rows)
    for state, name in _STATE_COLOURS.items():
        text = text.replace(f"  {state} ", f"  {colour(state, name)} ")
    return f"{text}\n{_memory_line(report)}; home {report['home']}"


def _memory_line(report: dict[str, Any]) -> str:
    """Memory of all, and without each service that runs only where a project wants it."""
    apart = [one for one in report["services"] if one.get("optional") and one["memory"]]
    if not apart:
        return f"memory of all: {size(report['memory'])}"
    names = ", ".join(one["service"] for one in apart)
    rest = report["memory"] - sum(one["memory"] for one in apart)
    return f"memory of all: {size(report['memory'])}, without {names} {size(rest)}"


def _service_row(service: dict[str, Any], now: float) -> list[Any]:
    trouble = "" if service["state"] == "healthy" else service["health"]
    where = service["url"] or (f"port {service['port']}" if service["port"] else "")
    return [
        service["service"],
        service["state"],
        duration(now - service["since"]) if service["since"] else "",
        service["pid"],
        size(service["memory"]) if service["pid"] else "",
        service["restarts"],
        f"{where}  {trouble}".strip(),
    ]


def doctor_text(findings: Sequence[Finding]) -> str:
    """One line for each finding, the way out below what is wrong, and a last line that sums up."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        state = colour(f"{finding.state:<5}", _FINDING_COLOURS[finding.state])
        head, *more = finding.detail.splitlines() or [""]
        lines.append(f"{state}  {finding.name:<{width}}  {head}")
        lines += [f"{'':<{width + 9}}{line}" for line in more]
        if finding.remedy:
            lines.append(f"{'':<{width + 9}}what to do: {finding.remedy}")
    wrong = sum(finding.state == "wrong" for finding in findings)
    lines.append("All is well." if not wrong else f"{wrong} thing{'s' if wrong > 1 else ''} to mend.")
    return "\n".join(lines)


def result_text(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: str) -> str:
    """A query's answer as `table`, `csv` or `json` (a list of objects)."""
    if form == "json":
        return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2, default=str)
    if form == "csv":
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        return buffer.getvalue().rstrip("\n")
    return f"{table(columns, rows)}\n({len(rows)} row{'' if len(rows) == 1 else 's'})"


def keys_text(keys: Sequence[Any]) -> str:
    """The keys of `keys.list_keys`, without their secrets."""
    rows = [_key_row(key) for key in keys]
    if not rows:
        return "There are no keys yet; `./tidemill key create NAME` makes one."
    return table(list(rows[0]), [list(row.values()) for row in rows])


def _key_row(key: Any) -> dict[str, Any]:
    if isinstance(key, str):
        return {"name": key}
    return dict(key) if isinstance(key, dict) else dict(vars(key))
