"""Amending a project.yaml: other columns, and every other line as its author left it.

Here belongs changing the text. Which columns it should have is `data/contract.py`, writing a file from nothing
`data/render.py`. The amended text is read back; where an edit in place does not say what was meant (anchors,
columns in one line), the file is written anew and its comments are lost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

from tidemill.data.render import column_line, render_yaml
from tidemill.errors import InvalidInput, ProjectFileError
from tidemill.project import Column, Project
from tidemill.project_checks import contradictions
from tidemill.store.durable import disk_full_is_an_error, replace_bytes


def amended(text: str, project: Project, columns: Mapping[str, Column]) -> str:
    """The `text` of `project`, with `columns` in place of its own; none of these may be gone.

    Raises InvalidInput when the project would contradict itself.
    """
    wanted = project.model_copy(update={"columns": dict(columns)})
    if faults := contradictions(wanted):
        raise InvalidInput(
            "The suggested contract would contradict itself",
            detail="\n".join(f"{'.'.join(map(str, path))}: {wrong}" for path, _, wrong in faults),
            remedy="Edit project.yaml yourself; the differences show what the file holds.",
        )
    edited = _edited(text, project, columns)
    return edited if edited is not None and _says(edited, wanted) else render_yaml(wanted)


def write_amended(file: Path, text: str) -> Path:
    """Replace the project file by `text` in one step, and give the path of the copy of the old one."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = file.with_name(f"{file.name}.{stamp}.bak")
    count = 1
    while kept.exists():
        count += 1
        kept = file.with_name(f"{file.name}.{stamp}-{count}.bak")
    mode = os.stat(file).st_mode & 0o777
    with disk_full_is_an_error(file.parent):
        replace_bytes(kept, file.read_bytes(), mode=mode)
        replace_bytes(file, text.encode(), mode=mode)
    return kept


def _says(text: str, wanted: Project) -> bool:
    try:
        return Project.parse(text, Path(wanted.name) / "project.yaml") == wanted
    except ProjectFileError:
        return False


def _edited(text: str, project: Project, columns: Mapping[str, Column]) -> str | None:
    """The text with the lines of changed and new columns edited; None when they cannot be found."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return None
    block = next((value for key, value in root.value if key.value == "columns"), None)
    if not isinstance(block, yaml.MappingNode) or block.flow_style or not block.value:
        return None
    indent = " " * block.value[0][0].start_mark.column
    # From the end to the beginning, so that the places before stay where they are.
    last = _end(block.value[-1][1])
    line_end = text.find("\n", last)
    place = len(text) if line_end < 0 else line_end
    new = "".join(
        f"\n{indent}{column_line(name, column)}"
        for name, column in columns.items()
        if name not in project.columns
    )
    text = text[:place] + new + text[place:]
    for key, value in reversed(block.value):
        name = str(key.value)
        if name in columns and columns[name] != project.columns.get(name):
            text = text[: key.start_mark.index] + column_line(name, columns[name]) + text[_end(value) :]
    return text


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends; YAML itself counts the space and comments below a block to it."""
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return end
