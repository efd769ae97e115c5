"""`tidemill data sources` and `tidemill data fetch`: where files come from, and looking there now.

What a look does is in `data/sources/`. Imports are made inside the commands, as in `commands.py`.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from tidemill.console import table as text_table
from tidemill.home import Home


def sources(options: argparse.Namespace, home: Home) -> int:
    from tidemill.data.sources.seen import overview
    from tidemill.project import load_project
    from tidemill.settings import load_settings
    from tidemill.store.state import open_state

    project = load_project(home, options.name)
    state = open_state(home.ensure(), load_settings().database_url)
    found = overview(state, project)
    print(json.dumps(found, indent=2) if options.json else _sources_text(found))
    return 0


def fetch(options: argparse.Namespace, home: Home) -> int:
    from dataclasses import asdict

    from tidemill.data.sources.fetch import look
    from tidemill.errors import NotFound
    from tidemill.project import load_project
    from tidemill.settings import load_settings
    from tidemill.store.state import open_state

    project = load_project(home, options.name)
    chosen = [source for source in project.watched if options.source in (None, source.name)]
    if not chosen:
        raise NotFound(
            "There is no such source to look at",
            detail=f"project {project.name} watches: {', '.join(s.name for s in project.watched) or 'none'}",
            remedy="Name one of them, or add one to `sources` in project.yaml.",
        )
    settings = load_settings()
    state = open_state(home.ensure(), settings.database_url)
    looks = [look(home, state, project, source, settings) for source in chosen]
    shown = [asdict(found) for found in looks]
    print(json.dumps(shown, indent=2) if options.json else _looks_text(shown))
    return 0 if all(found.error is None for found in looks) else 1


def _sources_text(entries: list[dict[str, Any]]) -> str:
    headers = ["source", "kind", "state", "last look", "taken", "waiting", "where"]
    rows = [
        [
            entry["name"],
            entry["kind"],
            entry["state"] or "not looked at",
            (entry["last_look"] or "")[:19],
            *(entry[name] for name in ("taken", "waiting", "where")),
        ]
        for entry in entries
    ]
    lines = [text_table(headers, rows)]
    for entry in entries:
        lines += _faults_text(entry["name"], entry["error"], entry["problems"], entry["since"])
    return "\n".join(lines)


def _looks_text(looks: list[dict[str, Any]]) -> str:
    lines = []
    for found in looks:
        lines.append(
            f"{found['source']}: {len(found['taken'])} taken, {found['known']} known, {_waiting(found)}"
        )
        lines += [f"  {name}" for name in found["taken"]]
        lines += _faults_text(found["source"], found["error"], found["problems"])
    return "\n".join(lines)


def _waiting(found: dict[str, Any]) -> str:
    return f"{found['waiting']} waiting" + (" (look again when they stand still)" if found["waiting"] else "")


def _faults_text(
    source: str, error: dict[str, str] | None, problems: list[dict[str, str]], since: str | None = None
) -> list[str]:
    when = f" (since {since[:19]})" if since and error else ""
    faults = [(f"{source}{when}", error)] if error else []
    faults += [(f"{source}, {problem['name']}", problem) for problem in problems]
    return [
        f"{who}: {told['title']}. {told['detail']}\n  What to do: {told['remedy']}" for who, told in faults
    ]
