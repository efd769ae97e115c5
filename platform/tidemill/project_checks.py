"""Faults between the fields of a project.yaml: each alone is allowed, together they contradict each other.

What belongs here: what can be told from the file alone. What one field may hold is the model's
(`project.py`); whether data fits the file is asked in `data/`.
"""

from __future__ import annotations

import re

from tidemill.project import (
    CATEGORICAL,
    CLASSIFICATION_METRICS,
    NUMERIC,
    REGRESSION_METRICS,
    TEMPORAL,
    Project,
    Role,
)
from tidemill.project_file import Fault, FieldPath
from tidemill.project_sources import source_faults

_SINGLE_ROLES: tuple[tuple[Role, str], ...] = (("target", "exactly one column"), ("id", "at most one column"))


def contradictions(project: Project) -> list[Fault]:
    """Every fault between fields; none in a project that was loaded."""
    return [
        *source_faults(project.sources),
        *_column_faults(project),
        *_spelling_faults(project),
        *_reading_faults(project),
        *_role_faults(project),
        *_task_faults(project),
        *_training_faults(project),
        *_evaluation_faults(project),
        *_ingestion_faults(project),
        *_rule_faults(project),
    ]


def _column_faults(project: Project) -> list[Fault]:
    faults: list[Fault] = []
    folded: dict[str, str] = {}
    for name, column in project.columns.items():
        at: FieldPath = ("columns", name)
        if (other := folded.setdefault(name.casefold(), name)) != name:
            faults.append((at, repr(name), f"SQL does not tell it from {other!r}: rename one of them"))
        if name != name.strip() or not name:
            faults.append((at, repr(name), "a column's name must not be empty or begin or end with spaces"))
        if name.startswith("_"):
            faults.append((at, repr(name), "names that begin with an underscore are Tidemill's own"))
        for bound in ("min", "max"):
            if getattr(column, bound) is not None and column.type not in NUMERIC:
                faults.append(((*at, bound), column.type, f"{bound} needs a column of type integer or float"))
        if column.min is not None and column.max is not None and column.min > column.max:
            faults.append(((*at, "min"), f"{column.min} > {column.max}", "min must not be above max"))
        if column.values is not None and column.type not in CATEGORICAL | {"boolean"}:
            faults.append(((*at, "values"), column.type, "values need a column of type category or string"))
        if column.values is not None and len(set(column.values)) != len(column.values):
            faults.append(((*at, "values"), "a value twice", "each allowed value is named once"))
        if column.optional and (column.role == "id" or not column.nulls):
            faults.append(
                ((*at, "optional"), "true", "rows of a file without it are empty there: allow nulls")
            )
        if column.role == "time" and column.type not in TEMPORAL:
            faults.append(((*at, "type"), column.type, "a time column needs type date or datetime"))
    return faults


def _reading_faults(project: Project) -> list[Fault]:
    """Faults of `reading.names`, which stand for the header of every file."""
    names = project.reading.names
    if names is None:
        return []
    at: FieldPath = ("reading", "names")
    folded = [name.casefold() for name in names]
    faults: list[Fault] = [
        ((*at, index), repr(name), "each column has a name of its own, in more than its case")
        for index, name in enumerate(names)
        if folded.index(name.casefold()) != index
    ]
    faults += [
        ((*at, index), repr(name), "it is not among columns; one that is not needed has the role ignore")
        for index, name in enumerate(names)
        if name not in project.columns
    ]
    missing = [name for name, column in project.columns.items() if name not in names and not column.optional]
    return faults + [(at, name, "it lacks a column of the contract") for name in missing]


_DIRECTIVE = re.compile(r"%(.?)")


def _spelling_faults(project: Project) -> list[Fault]:
    """Faults of what says how cells are written."""
    faults: list[Fault] = []
    for name, column in project.columns.items():
        at: FieldPath = ("columns", name)
        if column.format is not None and column.type not in TEMPORAL:
            faults.append(((*at, "format"), column.type, "format needs a column of type date or datetime"))
        elif column.format is not None:
            used = _DIRECTIVE.findall(column.format)
            if (
                not set(used) <= set("dmyYHMS")
                or len(set(used)) < len(used)
                or len(set(used) & set("yY")) > 1
            ):
                wrong = "of %d %m %Y %y %H %M %S each stands once at most, and nothing else with a %"
                faults.append(((*at, "format"), repr(column.format), wrong))
            elif not {"d", "m"} <= set(used) or not set(used) & set("yY"):
                wrong = "it must say where day, month and year are: %d, %m and %Y"
                faults.append(((*at, "format"), repr(column.format), wrong))
        if column.thousands is not None and column.type not in NUMERIC:
            wrong = "thousands needs a column of type integer or float"
            faults.append(((*at, "thousands"), column.type, wrong))
        elif column.thousands is not None and column.thousands == project.how_to_read.decimal:
            wrong = "this is the decimal mark of the file already: of reading.decimal, or by another column"
            faults.append(((*at, "thousands"), repr(column.thousands), wrong))
    return faults


def _role_faults(project: Project) -> list[Fault]:
    faults: list[Fault] = []
    for role, allowed in _SINGLE_ROLES:
        names = project.by_role(role)
        if len(names) > 1 or (role == "target" and not names):
            found = ", ".join(names) or "none"
            faults.append((("columns",), found, f"{allowed} must have the role {role}"))
    if not project.feature_columns:
        faults.append((("columns",), "none", "at least one column must have the role feature"))
    return faults


def _task_faults(project: Project) -> list[Fault]:
    targets = project.by_role("target")
    if len(targets) != 1:
        return []
    at: FieldPath = ("columns", targets[0])
    target = project.columns[targets[0]]
    faults: list[Fault] = []
    if project.task == "regression" and target.type not in NUMERIC:
        faults.append(((*at, "type"), target.type, "a regression needs a target of type integer or float"))
    if project.is_classification and target.type in TEMPORAL | {"float", "text"}:
        faults.append(
            (
                (*at, "type"),
                target.type,
                "a classification needs a target of type category, boolean or integer",
            )
        )
    if project.task == "binary" and target.values is not None and len(target.values) != 2:
        faults.append(
            ((*at, "values"), f"{len(target.values)} values", "a binary task has two target values")
        )
    positive = project.labels.positive
    if positive is not None and project.task != "binary":
        faults.append((("labels", "positive"), positive, "only a binary task has a positive class"))
    fitting = ("majority", "dawid-skene") if project.is_classification else ("median", "mean")
    if project.consolidation not in fitting:
        wrong = f"for this task it is one of {', '.join(fitting)}"
        faults.append((("labels", "consolidation"), project.consolidation, wrong))
    if positive is not None and target.values is not None and positive not in target.values:
        faults.append((("labels", "positive"), positive, f"it must be one of {', '.join(target.values)}"))
    if project.task == "text_classification" and not any(
        column.type == "text" for column in project.feature_columns.values()
    ):
        faults.append((("task",), project.task, "it needs a feature of type text"))
    return faults


def _training_faults(project: Project) -> list[Fault]:
    allowed = CLASSIFICATION_METRICS if project.is_classification else REGRESSION_METRICS
    faults: list[Fault] = []
    if project.metric not in allowed:
        faults.append(
            (("training", "metric"), project.metric, f"for this task it is one of {', '.join(allowed)}")
        )
    for name in project.gates.minimum:
        if name not in allowed:
            faults.append(
                (("gates", "minimum", name), name, f"for this task it is one of {', '.join(allowed)}")
            )
    if project.training.threshold is not None and project.task != "binary":
        wrong = "only a binary task has a threshold"
        faults.append((("training", "threshold"), project.training.threshold.aim, wrong))
    if "text" in project.training.candidates and not any(
        column.type == "text" for column in project.feature_columns.values()
    ):
        faults.append((("training", "candidates"), "text", "it needs a feature of type text"))
    faults += _earlier_faults(project)
    kind = project.training.split.kind
    if kind in ("time", "group") and not project.by_role(kind):
        faults.append((("training", "split", "kind"), kind, f"it needs a column with the role {kind}"))
    return faults


def _earlier_faults(project: Project) -> list[Fault]:
    """Faults of what a training takes over from earlier versions."""
    training, faults = project.training, list[Fault]()
    if len(set(training.stack)) < len(training.stack):
        faults.append((("training", "stack"), "a version twice", "each version is named once"))
    if training.warm_start is None or not training.warm_start.boost:
        return faults
    at: FieldPath = ("training", "warm_start", "boost")
    if len(training.candidates) != 1 or training.candidates[0] not in ("lightgbm", "xgboost", "catboost"):
        wrong = "candidates must be the one library that made the trees: others would be judged on other rows"
        faults.append((at, "true", wrong))
    if training.stack:
        faults.append((at, "true", "trees that are there know no stacked answers: leave out stack"))
    return faults


def _evaluation_faults(project: Project) -> list[Fault]:
    faults: list[Fault] = []
    for part in ("slices", "fairness"):
        for place, name in enumerate(getattr(project.evaluation, part)):
            column = project.columns.get(name)
            if column is None:
                faults.append((("evaluation", part, place), name, "there is no such column"))
            elif column.type == "text" or column.role in ("target", "id"):
                found = column.role if column.role in ("target", "id") else column.type
                wrong = "neither a text nor the target or id makes groups of rows"
                faults.append((("evaluation", part, place), f"{name} ({found})", wrong))
    if project.gates.surely_not_worse and project.gates.not_worse_by is None:
        faults.append(
            (("gates", "surely_not_worse"), "true", "it needs not_worse_by: how much may be lost at most")
        )
    return faults


def _rule_faults(project: Project) -> list[Fault]:
    faults: list[Fault] = []
    names: set[str] = set()
    for index, rule in enumerate(project.rules):
        if rule.name in names:
            faults.append((("rules", index, "name"), rule.name, "each rule has a name of its own"))
        names.add(rule.name)
        for place, name in enumerate(rule.columns):
            if name not in project.columns:
                faults.append((("rules", index, "columns", place), name, "there is no such column"))
    if project.rules:
        from tidemill.data import row_rules  # DuckDB, which a project without rules does not wait for

        faults += row_rules.faults(project)
    return faults


def _ingestion_faults(project: Project) -> list[Fault]:
    mode = project.ingestion.mode
    if mode == "upsert" and project.id_column is None:
        return [(("ingestion", "mode"), mode, "it needs a column with the role id")]
    return []
