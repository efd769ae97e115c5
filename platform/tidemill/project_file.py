"""The text of a project.yaml: reading it, and naming line and field of whatever is wrong with it.

What belongs here: YAML with the line of every field, and the faults of YAML and of the model as FieldProblems.
What the fields are belongs to `project.py`, which is handed in where a hint needs it; what contradicts what to
`project_checks.py`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tidemill.errors import FieldProblem, ProjectFileError

FieldPath = tuple[str | int, ...]
"""The way to a field, such as ("columns", "age", "min")."""

Fault = tuple[FieldPath, str, str]
"""Where, what was found, what is wrong."""


@dataclass(frozen=True)
class Document:
    """What a file says: its fields, and the line of every path in them."""

    fields: dict[str, Any]
    lines: dict[FieldPath, int]

    def problem(self, path: FieldPath, found: str, message: str) -> FieldProblem:
        """A fault at `path`, with its line, or that of the nearest part of it that is in the file."""
        return FieldProblem(self._line(path), _dotted(path), found, message)

    def _line(self, path: FieldPath) -> int:
        for end in range(len(path), -1, -1):
            if (line := self.lines.get(_textual(path[:end]))) is not None:
                return line
        return 1


def shown_name(file: Path) -> str:
    """What messages call a project file: `shop/project.yaml`."""
    return f"{file.parent.name}/{file.name}"


def read_text(file: Path) -> str:
    """The text of `file`. Raises ProjectFileError when it cannot be read."""
    shown = shown_name(file)
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problem = FieldProblem(1, "file", f"byte {error.start}", "the file is not UTF-8")
        raise ProjectFileError(shown, [problem], remedy="Save the file as UTF-8.") from error
    except OSError as error:
        problem = FieldProblem(1, "file", error.strerror or "an error", "the file cannot be read")
        raise ProjectFileError(shown, [problem], remedy=f"Check that {file} is a readable file.") from error


def read_document(text: str, shown: str) -> Document:
    """What `text` says; `shown` names the file in messages.

    Raises ProjectFileError for text that is no YAML or no mapping, and for a field that is there twice.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = FieldProblem(line, "file", f"column {mark.column + 1 if mark else 1}", str(error.problem))
        raise ProjectFileError(shown, [problem], remedy="Mend the YAML at that line.") from error
    except (yaml.YAMLError, ValueError) as error:
        problem = FieldProblem(1, "file", "unreadable YAML", str(error).splitlines()[0])
        raise ProjectFileError(shown, [problem], remedy="Save the file as plain UTF-8 YAML.") from error
    if not isinstance(document, dict):
        found = type(document).__name__ if document is not None else "nothing"
        raise ProjectFileError(
            shown, [FieldProblem(1, "file", found, "the file must be a mapping of fields")]
        )
    lines: dict[FieldPath, int] = {}
    doubles: list[FieldProblem] = []
    _walk(root, (), lines, doubles)
    if doubles:
        raise ProjectFileError(shown, doubles)
    return Document(document, lines)


def problems_of(error: ValidationError, document: Document, model: type[BaseModel]) -> list[FieldProblem]:
    """The faults that `model` found in `document`, in the file's order."""
    problems = []
    for fault in error.errors(include_url=False):
        path: FieldPath = tuple(fault["loc"])
        if path[:1] == ("sources",):
            path = (*path[:2], *path[3:])  # the kind, which chose the model, is no field of the file
        message = fault["msg"]
        if fault["type"] == "extra_forbidden":
            message = "there is no such field" + _nearest(path, model)
        elif fault["type"] == "string_type":
            message = _unquoted(fault["input"])
        found = "nothing" if fault["type"] == "missing" else _shorten(fault["input"])
        problems.append(document.problem(path, found, message))
    return sorted(problems, key=lambda problem: problem.line)


def _walk(node: Any, path: FieldPath, lines: dict[FieldPath, int], doubles: list[FieldProblem]) -> None:
    lines.setdefault(_textual(path), node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in seen:
                doubles.append(FieldProblem(line, _dotted((*path, name)), name, "the field is there twice"))
            seen.add(name)
            lines[_textual((*path, name))] = line
            _walk(value, (*path, name), lines, doubles)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), lines, doubles)


def _unquoted(value: Any) -> str:
    """Why YAML made something else of what was meant as text."""
    if isinstance(value, bool):
        return "YAML reads yes, no, on, off, true and false as booleans: quote the word, such as 'yes'"
    if isinstance(value, int | float | date):
        return f"YAML reads this as {type(value).__name__}: quote it, such as '{value}'"
    if value is None:
        return "YAML reads an empty place, ~ and null as nothing: quote the word, such as 'null'"
    return "a text is needed here"


def _nearest(path: FieldPath, model: type[BaseModel]) -> str:
    """A hint at the field that was probably meant."""
    part: Any = model
    for name in path[:-1]:
        field = getattr(part, "model_fields", {}).get(name)
        if field is not None:
            part = field.annotation
        elif get_origin(part) is dict:
            part = get_args(part)[1]
    known = list(getattr(part, "model_fields", ()))
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}" if known else ""


def _textual(path: FieldPath) -> FieldPath:
    # A key that YAML reads as a number or a date is found under its text.
    return tuple(str(part) for part in path)


def _dotted(path: FieldPath) -> str:
    return ".".join(str(part) for part in path) or "file"


def _shorten(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
