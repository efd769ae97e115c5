"""A first contract, inferred from a file: types, roles, ranges, allowed values, and the task.

Here belong the judgements; the counting they rest on is `data/survey.py`. An inferred contract accepts the file
it came from, but for cells that are plainly wrong in a column of numbers or dates. It is a start to be read and
corrected by a person, so every judgement that is not obvious comes with a note that says why.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from tidemill.data.header import proposed
from tidemill.data.read import named, open_as_it_stands
from tidemill.data.source import SourceFile
from tidemill.data.survey import ColumnSurvey, Survey, survey, tolerable
from tidemill.errors import InvalidInput
from tidemill.home import check_project_name
from tidemill.project import (
    NUMERIC,
    TEMPORAL,
    Column,
    ColumnType,
    Labels,
    Project,
    Role,
    Task,
)
from tidemill.project_checks import contradictions

MOST_CLASSES = 20
MOST_VALUES = 50
# A text of more words than this on average is prose, not a category.
PROSE_WORDS = 4.0
# With fewer rows a value than this a category says nothing about rows to come.
ROWS_PER_VALUE = 20
NAMED_LIKE_ID = re.compile(
    r"(.*[ _\-.])?(id|ids|key|uuid|guid|number|no|nr|num|code)|.*[a-z](ID|Id|Key|No|Nr|Number)", re.ASCII
)
POSITIVE_WORDS = frozenset(
    re.findall(
        r"\w+",
        "true yes y t 1 ja oui si sí sì sim positive pos malignant churn churned fraud fraudulent spam default "
        "defaulted sick ill dead died fail failed failure defect defective bad anomaly attack",
    )
)


@dataclass(frozen=True)
class Inference:
    """What was inferred. `notes` says why, per column; `remarks` is what a person should know besides."""

    project: Project
    rows: int
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def infer_project(path: Path, *, name: str, target: str, task: Task | None = None) -> Project:
    """The first contract of a project called `name` that predicts `target`. Raises InvalidInput."""
    return infer(path, name=name, target=target, task=task).project


def infer(path: Path, *, name: str, target: str, task: Task | None = None) -> Inference:
    """`infer_project`, with the reasons.

    Raises InvalidInput for a file that cannot be read, a target that is not in it or cannot be one, and a task
    that does not fit the target.
    """
    check_project_name(name)
    _check_task(task)
    source = open_as_it_stands(path)
    reading, made_up = proposed(source)
    source = named(source, reading)
    _check_target_is_there(source, target)
    found = survey(source)
    if not found.rows:
        raise InvalidInput(
            "The file has no rows",
            detail=f"{path.name} has a header and no row below it that can be read",
            remedy="Give a file with some rows: types and ranges are inferred from them.",
        )
    inferred = _Judge(found, source.name, name, target, task).judge()
    project = inferred.project.model_copy(update={"reading": reading})
    return replace(inferred, project=project, remarks=[_how_written(source), *made_up, *inferred.remarks])


def infer_columns(found: Survey) -> dict[str, Column]:
    """What each column would be in a contract, none of them being target, id or time."""
    judge = _Judge(found, "", "", "", None)
    return {each.name: judge._spelled(each.name, judge._column(each, None)) for each in found.columns}


def _check_task(task: str | None) -> None:
    if task is not None and task not in get_args(Task):
        raise InvalidInput(
            "There is no such task",
            detail=f"{task!r} was given",
            remedy=f"Choose one of {', '.join(get_args(Task))}, or leave it out to have it inferred.",
        )


def _check_target_is_there(source: SourceFile, target: str) -> None:
    if target in source.columns:
        return
    folded = {column.casefold(): column for column in source.columns}
    close = difflib.get_close_matches(target.casefold(), list(folded), 1, 0.5)
    hint = f"Did you mean {folded[close[0]]!r}? " if close else ""
    raise InvalidInput(
        "The target column is not in the file",
        detail=f"{source.name} has no column {target!r}",
        remedy=f"{hint}The columns are {', '.join(source.columns[:40])}.",
    )


class _Judge:
    """Goes from the counts to a project; collects notes and remarks on the way."""

    def __init__(self, found: Survey, file: str, name: str, target: str, task: Task | None) -> None:
        self.found = found
        self.file = file
        self.name = name
        self.target = target
        self.wanted = task
        self.surveys = {column.name: column for column in found.columns}
        self.notes: dict[str, str] = {}
        self.remarks: list[str] = []
        self.types = {name: self._type(column) for name, column in self.surveys.items()}

    def judge(self) -> Inference:
        id_column = self._id_column()
        columns = {
            name: self._column(column, id_column)
            for name, column in self.surveys.items()
            if name != self.target
        }
        self._choose_time(columns)
        task = self.wanted or self._task(columns)
        target = self._target(task)
        columns = {name: self._spelled(name, columns.get(name, target)) for name in self.surveys}
        positive = self._positive(target) if task == "binary" else None
        self._check_features(columns)
        project = Project(name=self.name, task=task, columns=columns, labels=Labels(positive=positive))
        self._check_consistent(project)
        if self.found.unreadable:
            self.remarks.append(f"{self.found.unreadable} lines cannot be read as rows and will be rejected")
        return Inference(project, self.found.rows, self.notes, self.remarks)

    def _spelled(self, name: str, column: Column) -> Column:
        """The column with how its cells are written, where that is no plain way."""
        found = self.surveys[name]
        said: dict[str, str] = {}
        if found.format and column.type in TEMPORAL:
            said, note = {"format": found.format}, f"dates are written like {found.format}"
        elif found.thousands and column.type in NUMERIC:
            said, note = {"thousands": found.thousands}, f"{found.thousands!r} stands between thousands"
        else:
            note = found.unsure
        if note:
            self.notes[name] = "; ".join(filter(None, [self.notes.get(name), note]))
        return column.model_copy(update=said)

    def _id_column(self) -> str | None:
        """The column that names each row, if one does."""
        unique = [
            column
            for column in self.surveys.values()
            if column.name != self.target and column.is_unique and column.rows > 1 and not column.fractions
        ]
        named = [
            column for column in unique if NAMED_LIKE_ID.fullmatch(column.name) or column.name.lower() == "id"
        ]
        texts = [column for column in unique if self.types[column.name] == "string" and column.words < 2]
        chosen = next(iter(named or texts), None)
        return chosen.name if chosen else None

    def _column(self, column: ColumnSurvey, id_column: str | None) -> Column:
        """One column that is not the target."""
        kind = self.types[column.name]
        if column.name == id_column:
            self.notes[column.name] = "each value occurs once: names the row"
            return Column(
                type="integer" if kind == "integer" else "string", role="id", nulls=False, unique=True
            )
        role, why = self._role(column, kind)
        if why:
            self.notes[column.name] = why
        if role == "ignore":
            return Column(type=kind if kind != "category" else "string", role="ignore")
        least, greatest = widened(column, kind)
        return Column(
            type=kind,
            role=role,
            nulls=column.nulls > 0,
            min=least,
            max=greatest,
            values=sorted(value for value, _ in column.values) if kind == "category" else None,
        )

    def _role(self, column: ColumnSurvey, kind: ColumnType) -> tuple[Role, str]:
        if not column.filled:
            return "ignore", "empty in every row"
        if column.distinct == 1:
            return "ignore", "the same value in every row"
        if kind == "integer" and column.is_counter and column.rows > 20:
            return "ignore", "counts the rows, which tells nothing about a new one"
        if kind == "string" and column.distinct * ROWS_PER_VALUE > column.rows:
            return "ignore", f"{column.distinct} different values in {column.rows} rows"
        return "feature", ""

    def _type(self, column: ColumnSurvey) -> ColumnType:
        filled = column.filled
        if not filled:
            return "string"
        if column.boolean_words == filled:
            return "boolean"
        if column.leading_zeros:
            return self._text_type(column, "its leading zeros count, so it is text")
        whole: ColumnType = "float" if column.fractions else "integer"
        kinds: tuple[ColumnType, ...] = (whole, "float", "date", "datetime")
        for kind in kinds:
            if column.parsed[kind] == filled:
                return kind
        for kind in kinds:
            # One dirty cell must not make text of a column of numbers.
            if tolerable(column, kind):
                wrong = filled - column.parsed[kind]
                self.notes[column.name] = f"{wrong} cells are not of this type: their rows will be rejected"
                return kind
        return self._text_type(column)

    def _text_type(self, column: ColumnSurvey, why: str = "") -> ColumnType:
        if why:
            self.notes[column.name] = why
        if column.words > PROSE_WORDS and column.distinct > 0.3 * column.filled:
            return "text"
        few = column.distinct <= MOST_VALUES and column.distinct <= max(0.5 * column.filled, 2)
        return "category" if few else "string"

    def _choose_time(self, columns: dict[str, Column]) -> None:
        """The first date becomes the time of the rows; further ones stay features."""
        for name, column in columns.items():
            if column.type in TEMPORAL and column.role == "feature":
                columns[name] = column.model_copy(update={"role": "time"})
                self.notes[name] = "when the row was observed: orders the rows, is no feature"
                return

    def _task(self, columns: dict[str, Column]) -> Task:
        """The task that the target's values suggest."""
        target, kind = self.surveys[self.target], self.types[self.target]
        if kind in TEMPORAL or kind == "text" or target.distinct < 2:
            raise self._bad_target(_KINDS_OF_TARGET.get(kind, "") if target.distinct > 1 else "")
        if target.distinct > 2 and kind in NUMERIC:
            few = target.distinct <= MOST_CLASSES and target.distinct <= 0.5 * target.filled
            if not (few and target.parsed["integer"] == target.filled):
                return "regression"
        if target.distinct > MOST_CLASSES:
            raise self._bad_target("they are neither numbers nor a few classes")
        features = [column for column in columns.values() if column.role == "feature"]
        if features and all(column.type == "text" for column in features):
            return "text_classification"
        return "binary" if target.distinct == 2 else "multiclass"

    def _target(self, task: Task) -> Column:
        target, kind = self.surveys[self.target], self.types[self.target]
        nulls = target.nulls > 0
        if target.distinct < 2:
            raise self._bad_target("")
        if nulls:
            self.remarks.append(
                f"{target.nulls} rows have no {self.target}: they are kept, but teach the model nothing"
            )
        if task == "regression":
            if kind not in NUMERIC:
                raise self._bad_target("a regression needs numbers")
            least, greatest = widened(target, kind)
            return Column(type=kind, role="target", nulls=nulls, min=least, max=greatest)
        if task == "binary" and target.distinct != 2:
            raise self._bad_target("a binary task needs two")
        if target.parsed["integer"] == target.filled and not target.leading_zeros and target.numbers:
            least, greatest = target.numbers
            return Column(type="integer", role="target", nulls=nulls, min=least, max=greatest)
        if kind in TEMPORAL | {"float", "text"} or not target.values:
            raise self._bad_target("a classification needs a few classes")
        if target.true_false == target.filled:
            return Column(type="boolean", role="target", nulls=nulls)
        # Yes and No stay words here: predictions then answer in the words of the file.
        values = sorted(value for value, _ in target.values)
        return Column(type="category", role="target", nulls=nulls, values=values)

    def _bad_target(self, why: str) -> InvalidInput:
        target = self.surveys[self.target]
        shown = ", ".join(value for value, _ in target.values[:3])
        few = f" ({shown})" if shown else ""
        return InvalidInput(
            "That column cannot be the target",
            detail=f"{self.file}: {self.target} has {target.distinct} different values{few}"
            f" in {target.filled} of {target.rows} rows{'; ' + why if why else ''}",
            remedy="Choose a column with at least two classes, or with numbers, or another task.",
        )

    def _positive(self, target: Column) -> str:
        """The class that a binary task is about: one whose name says so, else the rarer one."""
        counts = {_class_name(value, target): count for value, count in self.surveys[self.target].values}
        named = [value for value in counts if value.lower() in POSITIVE_WORDS]
        positive = named[0] if len(named) == 1 else min(sorted(counts), key=lambda value: counts[value])
        why = "by its name" if len(named) == 1 else "the rarer class"
        self.remarks.append(f"{positive!r} counts as the positive class ({why}); see labels.positive")
        return positive

    def _check_features(self, columns: dict[str, Column]) -> None:
        if any(column.role == "feature" for column in columns.values()):
            return
        raise InvalidInput(
            "No column can be a feature",
            detail="\n".join(
                f"{name}: {self.notes.get(name, column.role)}" for name, column in columns.items()
            ),
            remedy="Give a file with columns that can tell the target from row to row.",
        )

    def _check_consistent(self, project: Project) -> None:
        if faults := contradictions(project):
            raise InvalidInput(
                "The file does not fit the task",
                detail="\n".join(f"{'.'.join(map(str, path))}: {wrong}" for path, _, wrong in faults),
                remedy="Choose another task or target.",
            )


_KINDS_OF_TARGET = {
    "date": "they are dates",
    "datetime": "they are points in time",
    "text": "they are prose",
}


def _how_written(source: SourceFile) -> str:
    """How the file was read, for the summary."""
    merged = "of merged cells only the first holds a value"
    shown = [
        f"{name.replace('_', ' ')} {value!r}" for name, value in source.found.items() if name != "format"
    ]
    how = f"read as {source.format}" + (f": {', '.join(shown)}" if shown else "")
    return f"{how} ({merged})" if source.merged else how


def _class_name(value: str, target: Column) -> str:
    """A class as labels name it, from the text in the file."""
    if target.type == "integer":
        return str(int(float(value.replace(",", "."))))
    return value.lower() if target.type == "boolean" else value


def widened(column: ColumnSurvey, kind: ColumnType) -> tuple[float | None, float | None]:
    """The range that later files may use: half the observed span wider on each side, the sign kept.

    Bounds are rounded outwards. A column of 0 and 1 stays one. Columns that are no numbers have no range.
    """
    if kind not in NUMERIC or column.numbers is None:
        return None, None
    least, greatest = column.numbers
    if kind == "integer" and (least, greatest) == (0, 1):
        return least, greatest
    span = greatest - least
    low = 0.0 if least >= 0 else least - span / 2
    high = 0.0 if least < 0 and greatest <= 0 else greatest + span / 2
    if not math.isfinite(low) or not math.isfinite(high):
        return None, None
    step = 1.0 if kind == "integer" else 10.0 ** (math.floor(math.log10(span or 1.0)) - 1)
    return _rounded(math.floor(low / step), step), _rounded(math.ceil(high / step), step)


def _rounded(steps: int, step: float) -> float:
    # Through text: 3 x 0.1 would be 0.30000000000000004 in the file.
    return float(f"{steps * step:.12g}")
