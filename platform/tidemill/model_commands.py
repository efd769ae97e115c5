"""`tidemill model ...`: the models of a project: list, show, import one made elsewhere, rebuild one.

What these commands say is put together here; what they do is in `learn/`. Imports are made inside the commands, as
in `commands.py`.
"""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.console import table as text_table
from tidemill.home import Home

if TYPE_CHECKING:
    from tidemill.learn.bundle_info import BundleInfo

Command = Callable[[argparse.Namespace, Home], int]


def add_options(model: argparse.ArgumentParser) -> None:
    """The actions of `tidemill model`, each with its options."""
    actions = model.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add(name: str, command: Command, summary: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        sub.add_argument("name", metavar="NAME", help="the project")
        sub.add_argument("--json", action="store_true", help="for programs")
        return sub

    add("list", list_models, "list the models of a project, the newest first")
    one = add("show", show, "show one model: its card, or all that is known of it with --json")
    one.add_argument("version", type=int, metavar="VERSION")
    taken = add("import", import_model, "register a model made elsewhere, once it has been looked at")
    taken.add_argument("file", type=Path, metavar="FILE", help=".onnx, .skops, .txt, .json, .ubj or .cbm")
    taken.add_argument("--columns", metavar="A,B,C", help="the columns it takes, in its order")
    taken.add_argument("--classes", metavar="X,Y", help="the classes it answers with, in its order")
    again = add("rebuild", rebuild, "train a model again from its provenance, and compare the outputs")
    again.add_argument("version", type=int, metavar="VERSION")


def list_models(options: argparse.Namespace, home: Home) -> int:
    from tidemill.learn.bundle_info import list_bundles

    home.require_project(options.name)
    champion = _champion(options, home)
    found = [_line(info, champion) for info in reversed(list_bundles(home.models(options.name)))]
    return _print(options, found, _list_text)


def show(options: argparse.Namespace, home: Home) -> int:
    from tidemill.learn.bundle_info import load_info

    home.require_project(options.name)
    info = load_info(home.models(options.name), options.version)
    document = {key: value for key, value in vars(info).items() if key != "folder"}
    return _print(options, document, lambda _: info.card.rstrip())


def import_model(options: argparse.Namespace, home: Home) -> int:
    from tidemill.learn.imports.examine import read_whole
    from tidemill.learn.imports.take import import_bytes
    from tidemill.project import load_project
    from tidemill.settings import load_settings
    from tidemill.store.state import open_state

    project = load_project(home, options.name)
    info = import_bytes(
        home,
        open_state(home.ensure(), load_settings().database_url),
        project,
        options.file.name,
        read_whole(options.file),
        actor=f"{getpass.getuser()} (command line)",
        columns=_names(options.columns),
        classes=_names(options.classes),
    )
    return _print(options, _line(info, None), lambda _: _imported_text(info))


def rebuild(options: argparse.Namespace, home: Home) -> int:
    from tidemill.learn.rebuild import rebuild

    home.require_project(options.name)
    found = rebuild(home, options.name, options.version)
    _print(options, found.to_json(), lambda _: found.text)
    return 0 if found.equal else 1


def _champion(options: argparse.Namespace, home: Home) -> int | None:
    from tidemill.serve.deployment import current
    from tidemill.settings import load_settings
    from tidemill.store.state import open_state

    live = current(open_state(home.ensure(), load_settings().database_url), options.name)
    return live.champion if live else None


def _line(info: BundleInfo, champion: int | None) -> dict[str, Any]:
    metric = info.metrics.get(info.metric)
    return {
        "version": info.version,
        "estimator": info.estimator,
        "origin": info.provenance.get("origin", "trained"),
        "created": info.created,
        "metric": info.metric,
        "value": metric["value"] if metric else None,
        "gate": info.gate["passed"] if info.gate else None,
        "champion": info.version == champion,
    }


def _list_text(lines: list[dict[str, Any]]) -> str:
    if not lines:
        return "There is no model yet."
    words = {True: "passed", False: "failed", None: "not judged"}
    rows = [
        [
            str(line["version"]),
            line["estimator"].replace("_", " "),
            line["created"][:19],
            f"{line['metric']} {line['value']:.4f}" if line["value"] is not None else "",
            words[line["gate"]],
            "answers now" if line["champion"] else "",
        ]
        for line in lines
    ]
    return text_table(["version", "estimator", "made", "held-out", "gate", ""], rows)


def _imported_text(info: BundleInfo) -> str:
    scorer = info.provenance["scorer"]
    lines = [f"{info.provenance['file']} is model {info.version} of {info.project}, a challenger."]
    lines += [f"  {note}" for note in info.provenance["notes"]]
    lines.append(f"  served: {scorer['form']}")
    lines += [f"  {name} {found['value']:.4f}" for name, found in info.metrics.items()]
    gate = info.gate or {}
    lines.append("gate: passed" if gate.get("passed") else f"gate: {'; '.join(gate.get('reasons', []))}")
    return "\n".join(lines)


def _names(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",")] if text else None


def _print(options: argparse.Namespace, document: Any, text: Callable[[Any], str]) -> int:
    print(json.dumps(document, indent=2) if options.json else text(document))
    return 0
