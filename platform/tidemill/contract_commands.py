"""`tidemill contract ...`: what a file would change against a project's contract, and a contract that takes it.

What these commands say is put together here; what they do is in `data/contract.py` and `data/amend.py`. Imports
are made inside the commands, as in `commands.py`.
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.home import Home

if TYPE_CHECKING:
    from tidemill.data.contract import ContractDiff

Command = Callable[[argparse.Namespace, Home], int]


def add_options(contract: argparse.ArgumentParser) -> None:
    """The actions of `tidemill contract`, each with its options."""
    actions = contract.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add(name: str, command: Command, summary: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        sub.add_argument("name", metavar="NAME", help="the project")
        sub.add_argument("file", type=Path, metavar="FILE", help="a file as it would be sent")
        return sub

    compared = add("diff", diff, "print what a file would change; exit code 1 when it differs")
    compared.add_argument("--json", action="store_true", help="for programs")
    suggested = add("suggest", suggest, "print the changes to project.yaml that would take a file")
    suggested.add_argument(
        "--accept", action="store_true", help="write them; the old file is kept beside it as .bak"
    )


def diff(options: argparse.Namespace, home: Home) -> int:
    """Exit code 0 when the file fits the contract, 1 when it differs."""
    from tidemill.data.contract import compare
    from tidemill.project import load_project

    found = compare(options.file.expanduser(), load_project(home, options.name))
    print(json.dumps(_document(found), indent=2) if options.json else _text(found))
    return 0 if found.is_same else 1


def suggest(options: argparse.Namespace, home: Home) -> int:
    from tidemill.data.amend import amended, write_amended
    from tidemill.data.contract import compare, suggest
    from tidemill.project import Project
    from tidemill.project_file import read_text

    file = home.require_project(options.name)
    text = read_text(file)
    project = Project.parse(text, file)
    found = compare(options.file.expanduser(), project)
    if found.is_same:
        print(f"{found.file} fits the contract of {project.name} as it is.")
        return 0
    new = amended(text, project, suggest(found, project))
    print(_changes(text, new))
    if options.accept:
        kept = write_amended(file, new)
        print(f"wrote {file}; the old one is {kept.name}")
    else:
        print("Nothing was written. Say --accept to write it, or edit project.yaml yourself.")
    return 0


def _document(found: ContractDiff) -> dict[str, Any]:
    return {
        "file": found.file,
        "rows": found.rows,
        "same": found.is_same,
        "added": {name: column.model_dump(exclude_defaults=True) for name, column in found.added.items()},
        "missing": found.missing,
        "renamed": found.renamed,
        "changed": [asdict(each) for each in found.changed],
        "bounds": [asdict(each) for each in found.bounds],
        "dirty": [asdict(each) for each in found.dirty],
    }


def _text(found: ContractDiff) -> str:
    verdict = "fits the contract" if found.is_same else "differs from the contract"
    lines = [f"{found.file} {verdict} ({found.rows} rows)"]
    lines += [f"  missing  {name}" for name in found.missing]
    lines += [f"  added    {name}: seems to be {column.type}" for name, column in found.added.items()]
    lines += [f"           {each['found']!r} may be {each['expected']!r}" for each in found.renamed]
    lines += [
        f"  type     {each.column}: {each.rows} cells are not {each.expected} but seem to be {each.found}"
        + _such_as(each.examples)
        for each in found.changed
    ]
    lines += [
        f"  {each.rule:<8} {each.column}: {each.rows} cells break it{_such_as(each.examples)}"
        for each in found.bounds
    ]
    lines += [
        f"  rejects  {each.column}: {each.rows} cells are not {each.expected}{_such_as(each.examples)}"
        for each in found.dirty
    ]
    return "\n".join(lines)


def _such_as(examples: list[str]) -> str:
    return f", such as {', '.join(repr(text[:60]) for text in examples)}" if examples else ""


def _changes(old: str, new: str) -> str:
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "project.yaml", "project.yaml (suggested)", lineterm="", n=1
    )
    return "\n".join(lines)
