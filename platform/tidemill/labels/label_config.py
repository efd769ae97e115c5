"""The labelling screen of Label Studio, made from a project's contract.

Here belong the screen's XML, a row as the data of a task, and an answer as a label. One `<Text>` a column keeps the
contract's order, which `<Table>` does not; its slugs `c0`, `c1` ... stand for names that Label Studio refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from tidemill.errors import InvalidInput, NotReady
from tidemill.labels.backend import Cell, Suggestion
from tidemill.project import Project

ANSWER = "label"
ROW = "tidemill_row"
EMPTY = "(empty)"


def shown_columns(project: Project) -> list[str]:
    """The columns that a person is shown, in the contract's order."""
    return [
        name
        for name, column in project.columns.items()
        if name != project.target and column.role not in ("ignore", "target")
    ]


def label_config(project: Project, classes: Sequence[str] | None) -> str:
    """The XML. Raises NotReady where nothing says the classes yet, InvalidInput without a column to show."""
    if not shown_columns(project):
        raise InvalidInput(
            "Label Studio would have nothing to show",
            detail=f"project {project.name}: no column but {project.target} is shown to people",
            remedy="Give a column of project.yaml another role than ignore.",
        )
    if project.is_classification and not classes:
        raise NotReady(
            "Label Studio cannot ask yet",
            detail=f"project {project.name}: nothing says which classes {project.target} has",
            remedy=f"List them as values of the column {project.target} in project.yaml.",
        )
    lines = ["<View>"]
    for number, name in enumerate(shown_columns(project)):
        lines.append(f'  <Header value={quoteattr(name)} size="5"/>')
        lines.append(f'  <Text name="c{number}" value="$c{number}"/>')
    lines.append(f'  <Header value={quoteattr(project.target + "?")} size="4"/>')
    if project.is_classification:
        lines.append(f'  <Choices name="{ANSWER}" toName="c0" choice="single" required="true">')
        lines += [f"    <Choice value={quoteattr(name)}/>" for name in classes or ()]
        lines.append("  </Choices>")
    else:
        lines.append(f'  <Number name="{ANSWER}" toName="c0" required="true"/>')
    return "\n".join([*lines, "</View>"])


def task_data(project: Project, row: str, fields: Mapping[str, Cell]) -> dict[str, str]:
    """A row as Label Studio keeps it; it refuses a text that is null."""
    cells = [fields.get(name) for name in shown_columns(project)]
    return {ROW: row, **{f"c{number}": _text(cell) for number, cell in enumerate(cells)}}


def _text(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return EMPTY if cell is None or cell == "" else str(cell)


def prediction(project: Project, suggestion: Suggestion) -> dict[str, Any]:
    """What a model says of a row, as a pre-annotation."""
    if project.is_classification:
        result: dict[str, Any] = {"type": "choices", "value": {"choices": [str(suggestion.label)]}}
    else:
        result = {"type": "number", "value": {"number": float(suggestion.label)}}
    made: dict[str, Any] = {
        "model_version": version_name(suggestion.model_version),
        "result": [{"from_name": ANSWER, "to_name": "c0", **result}],
    }
    return made | ({} if suggestion.score is None else {"score": suggestion.score})


def version_name(version: int) -> str:
    """How people see which model made a suggestion."""
    return f"version {version}"


def version_of(name: str | None) -> int:
    """The version that `version_name` wrote; -1 for a name that somebody else wrote."""
    number = (name or "").removeprefix("version ")
    return int(number) if number.isdecimal() else -1


def answers_in(result: Sequence[Mapping[str, Any]]) -> list[str | float]:
    """Every value that a result gives for the label: one is an answer, none or several are a fault."""
    found: list[str | float] = []
    for region in result:
        if region.get("from_name") != ANSWER:
            continue
        value = region.get("value", {})
        found += [str(name) for name in value.get("choices", ())]
        if "number" in value:
            found.append(float(value["number"]))
    return found
