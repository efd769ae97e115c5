"""What is known of an imported model besides its bytes: kept in the bundle as import.json.

Here belongs the shape of that document and fitting names and classes to the contract. Plain values only, so that
the prediction service can read it without pandas.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from tidemill.learn.imports.refusal import mismatch
from tidemill.project import NUMERIC, Project

FILE = "import.json"
# Names that libraries make up for columns without one.
_MADE_UP = re.compile(r"(Column_|f|x|feature_?)?[0-9]+")


@dataclass(frozen=True)
class Spec:
    """`columns` are the contract's columns in the order the model takes them, `classes` its own order of classes.

    `model_file` is the file's name in the bundle. `notes` are sentences for the model card: what was assumed.
    """

    format: str
    model_file: str
    columns: list[str]
    classes: list[str]
    task: str
    types: dict[str, str]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The spec that `to_json` gave. Raises KeyError or TypeError for another document."""
        return cls(**document)


def fit_columns(
    found: Sequence[str] | None, count: int | None, given: Sequence[str] | None, project: Project
) -> tuple[list[str], list[str]]:
    """The contract's columns that the model takes, in its order, and notes on what was assumed.

    `found` are the names in the file, if it has any; `count` how many columns it takes; `given` what the person
    said. Raises ModelRefused when they do not fit.
    """
    contract = list(project.feature_columns)
    names = list(found) if found and not all(_MADE_UP.fullmatch(name) for name in found) else None
    if given:
        _check_known(given, contract)
        if count is not None and count != len(given):
            raise mismatch(
                f"the model takes {count} columns, but {len(given)} were named",
                "Name the model's columns in the order in which it was trained.",
            )
        return list(given), [f"columns as given: {', '.join(given)}"]
    if names is not None:
        chosen = [_match(name, contract) for name in names]
        _check_known(chosen, contract)
        left = [name for name in contract if name not in chosen]
        return chosen, [f"the model does not use {', '.join(left)}"] if left else []
    if count is None or count == len(contract):
        return contract, ["the file names no columns: the contract's order was taken"]
    raise mismatch(
        f"the model takes {count} columns, the contract has {len(contract)} features: {', '.join(contract)}",
        "Name the model's columns with --columns a,b,c (columns=a,b,c in the API), in the order of its training.",
    )


def fit_classes(
    found: Sequence[str] | None, count: int, given: Sequence[str] | None, known: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The model's classes in its order as the project writes them, and notes on what was assumed.

    `found` are the names in the file, `count` how many it answers with, `known` the project's labels, sorted.
    Raises ModelRefused when they do not fit.
    """
    known = sorted(known)
    classes = list(given) if given else list(found) if found else None
    notes = [f"classes as given: {', '.join(given)}"] if given else []
    numbered = [str(index) for index in range(count)]
    if classes is None or (not given and classes == numbered and set(classes) != set(known)):
        if count != len(known):
            raise mismatch(
                f"the model answers with {count} classes, the labels have {len(known)}: {', '.join(known)}",
                "Import a model for these classes, or name its classes with --classes.",
            )
        classes, notes = list(known), [f"the model numbers its classes: taken for {', '.join(known)}"]
    if len(classes) != count or len(set(classes)) != count:
        raise mismatch(
            f"the model answers with {count} classes, named were {', '.join(classes)}",
            "Name each of its classes once, in its order.",
        )
    if set(classes) != set(known):
        raise mismatch(
            f"the model's classes are {', '.join(classes)}; the project's labels are {', '.join(known)}",
            "Import a model for these classes, or say how its classes are called here with --classes.",
        )
    return classes, notes


def require_numbers(columns: Sequence[str], project: Project, what: str) -> None:
    """Raise ModelRefused unless all `columns` are numbers or booleans, as a matrix of numbers needs."""
    other = [
        f"{name} ({project.feature_columns[name].type})"
        for name in columns
        if project.feature_columns[name].type not in NUMERIC | {"boolean"}
    ]
    if other:
        raise mismatch(
            f"{what} takes a matrix of numbers; these columns are none: {', '.join(other)}",
            "Export the whole pipeline as ONNX with one input for each column, or as skops.",
        )


def _match(name: str, contract: list[str]) -> str:
    """The contract's column of this name; libraries write spaces as underscores."""
    if name in contract:
        return name
    alike = [column for column in contract if re.sub(r"\s", "_", column) == name]
    return alike[0] if len(alike) == 1 else name


def _check_known(names: Sequence[str], contract: list[str]) -> None:
    absent = [name for name in names if name not in contract]
    if absent or len(set(names)) != len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        detail = (
            f"not features of the contract: {', '.join(absent)}" if absent else f"twice: {', '.join(twice)}"
        )
        raise mismatch(
            f"{detail}; the features are {', '.join(contract)}",
            "Import a model that was trained on these columns, or rename the contract's.",
        )
