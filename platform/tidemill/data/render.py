"""Writing a project.yaml as a person would: in a person's order, one line a column, with comments.

The text is read back before it is returned, so what is written is what was meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tidemill.errors import Corrupt
from tidemill.project import Column, Project
from tidemill.project_sources import AnySource, InboxSource

SECTIONS = {
    "rejects": "How many rows of a file may break the contract before the whole file is refused.",
    "labels": "Where labels come from, and which class counts as positive.",
    "features": "How columns become features.",
    "training": "Which models are tried, how hard, and by which metric; how the test rows are chosen.\n"
    "Further: schedule, trials, seconds, metric, threshold, stack (versions whose answers are features),\n"
    "warm_start (a version to begin with).",
    "evaluation": "What is asked about a model besides its metrics: slices (further columns by which it is\n"
    "shown), fairness (columns whose groups are compared); both need not be features. learning_curve: true or\n"
    "false; unset: where it takes seconds.",
    "gates": "What a model must show on the held-out rows before it is deployed.",
    "serving": "How predictions are answered.",
    "monitoring": "How drift is watched. false_alarms is the share of windows that may alarm without a shift.",
}
WIDTH = 10_000


def render_yaml(
    project: Project, *, notes: Mapping[str, str] | None = None, schema: str | None = None
) -> str:
    """The text of `project` as a project.yaml, with `notes` as comments on its columns.

    `schema` is the path or URL of the JSON Schema, for editors.
    """
    lines = [f"# yaml-language-server: $schema={schema}"] if schema else []
    lines += ["# One project of Tidemill. Change what you know better; `tidemill doctor` says what is wrong."]
    lines += [_field("name", project.name)]
    lines += [_field(name, value) for name in ("title", "description") if (value := getattr(project, name))]
    lines += [_field("task", project.task), "", *_sources(project), "", *_reading(project)]
    lines += _columns(project, notes or {})
    if project.rules:
        lines += ["", "# What the values of one row must be to each other.", "rules:"]
        lines += [f"  - {_flow(rule.model_dump(exclude_defaults=True))}" for rule in project.rules]
    for name, comment in SECTIONS.items():
        lines += [
            "",
            *(f"# {line}" for line in comment.split("\n")),
            f"{name}:",
            *_body(getattr(project, name).model_dump(exclude_none=True)),
        ]
    text = "\n".join(lines) + "\n"
    _check(text, project)
    return text


def _sources(project: Project) -> list[str]:
    lines = [
        "# Where data comes from: files dropped into inbox/<name>/ of the home or sent to the API; besides,",
        "# sources of the kinds share, sftp, s3 and sql are looked at in turns.",
        "sources:",
    ]
    return lines + [f"  - {_flow(_source(source))}" for source in project.sources]


def _source(source: AnySource) -> dict[str, Any]:
    if isinstance(source, InboxSource):
        return source.model_dump()
    return {"kind": source.kind, "name": source.name} | source.model_dump(exclude_defaults=True)


def _reading(project: Project) -> list[str]:
    said = project.reading.model_dump(exclude_defaults=True)
    return ["# How files are read; what is not said is found.", "reading:", *_body(said), ""] if said else []


def _columns(project: Project, notes: Mapping[str, str]) -> list[str]:
    lines = [
        "# type: integer, float, boolean, string, category, text, date, datetime",
        "# role: feature, target, id, time, group, ignore",
        "columns:",
    ]
    for name, column in project.columns.items():
        if name in notes:
            lines.append(f"  # {' '.join(notes[name].split())}")
        lines.append(f"  {column_line(name, column)}")
    return lines


def column_line(name: str, column: Column) -> str:
    """One column as a line of `columns`, without its indentation."""
    return f"{_scalar(name)}: {_flow(_described(column))}"


def _described(column: Column) -> dict[str, Any]:
    """What is worth a reader's attention: type and role always, the rest where it differs from the default."""
    described = column.model_dump(exclude_defaults=True)
    described |= {"type": column.type, "role": column.role}
    order = [name for name in Column.model_fields if name in described]
    return {name: _plain(described[name]) for name in order}


def _plain(value: Any) -> Any:
    """Whole numbers without `.0`, as people write them."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _body(fields: Mapping[str, Any], indent: str = "  ") -> list[str]:
    lines = []
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{_scalar(name)}:", *_body(value, indent + "  ")]
        else:
            lines.append(indent + _field(name, value))
    return lines


def _field(name: str, value: Any) -> str:
    return f"{_scalar(name)}: {_flow(value) if isinstance(value, dict | list) else _scalar(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    # In braces and brackets a plain scalar may not hold their signs: let YAML quote it in such a place.
    return yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=WIDTH).strip()[1:-1]


def _scalar(value: Any) -> str:
    return _flow(value)


def _check(text: str, project: Project) -> None:
    if Project.parse(text, Path(project.name) / "project.yaml") != project:
        raise Corrupt(
            "The project file would not say what was meant",
            detail=f"project {project.name}: the written YAML reads back differently",
            remedy="Nothing was written. Please report this, with the file's header if you may share it.",
        )
