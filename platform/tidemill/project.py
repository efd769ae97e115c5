"""project.yaml: the one file that describes a use case, as a model and as a reader that names lines.

What belongs here: the shape of the file, the checks between its fields, and errors with line and field. What
does not: inferring a first file from data (`data/infer.py`) and anything that acts on a project.
"""

from __future__ import annotations

import difflib
import json
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidemill.errors import FieldProblem, ProjectFileError
from tidemill.home import PROJECT_NAME, Home

Task = Literal["binary", "multiclass", "regression", "text_classification"]
ColumnType = Literal["integer", "float", "boolean", "string", "category", "text", "date", "datetime"]
Role = Literal["id", "feature", "target", "time", "group", "ignore"]
Estimator = Literal["linear", "random_forest", "hist_gradient_boosting"]

NUMERIC: frozenset[str] = frozenset({"integer", "float"})
TEMPORAL: frozenset[str] = frozenset({"date", "datetime"})
CATEGORICAL: frozenset[str] = frozenset({"string", "category"})

CLASSIFICATION_METRICS = ("roc_auc", "accuracy", "balanced_accuracy", "f1", "log_loss", "average_precision")
REGRESSION_METRICS = ("mae", "rmse", "r2")
# roc_auc and friends are better when larger; these are better when smaller.
SMALLER_IS_BETTER = frozenset({"log_loss", "mae", "rmse"})


class Part(BaseModel):
    """A part of the file: unknown fields are faults, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InboxSource(Part):
    """Files dropped into `inbox/<project>/` of the home, or sent to the API."""

    kind: Literal["inbox"] = "inbox"
    pattern: str = Field("*", description="Shell pattern of the file names that are taken.")


class Column(Part):
    """What one column must hold."""

    type: ColumnType
    role: Role = "feature"
    nulls: bool = Field(True, description="Whether empty cells are allowed.")
    unique: bool = Field(False, description="Whether each value may occur once only. Always so for an id.")
    min: float | None = Field(None, description="Smallest allowed value of a number.")
    max: float | None = Field(None, description="Largest allowed value of a number.")
    values: list[str] | None = Field(
        None, min_length=1, description="The allowed values of a category, string or boolean, as text."
    )
    description: str = ""


class Labels(Part):
    """Where labels come from. `column` takes the target column of the data."""

    kind: Literal["column"] = "column"
    positive: str | None = Field(None, description="The class that counts as positive in a binary task.")


class Features(Part):
    """How columns become features."""

    max_categories: int = Field(
        50, ge=2, le=10_000, description="Categories kept per column; rarer ones merge."
    )
    text_features: int = Field(2_000, ge=10, le=1_000_000, description="TF-IDF terms kept per text column.")


class Split(Part):
    """How the held-out test rows are chosen. Rows keep their side when data is appended."""

    kind: Literal["random", "time", "group"] = "random"
    test: float = Field(0.25, gt=0.0, lt=0.9, description="Share of rows held out.")


class Training(Part):
    candidates: list[Estimator] = Field(
        default=["linear", "random_forest", "hist_gradient_boosting"], min_length=1
    )
    trials: int = Field(6, ge=1, le=500, description="Parameter settings tried per candidate.")
    folds: int = Field(3, ge=2, le=20, description="Cross-validation folds of the search.")
    metric: str | None = Field(
        None, description="What the search maximises or minimises; roc_auc or rmse by default."
    )
    seed: int = Field(7, ge=0)
    split: Split = Split()


class Gates(Part):
    """What a model must show on the held-out rows before it is deployed."""

    beat_baseline: bool = Field(
        True, description="The metric's interval must lie beyond the dummy model's value."
    )
    minimum: dict[str, float] = Field(
        default_factory=dict, description="Metric name -> least value (largest, for errors and losses)."
    )
    not_worse_by: float | None = Field(
        None, ge=0, description="Largest loss of the metric against the live model on the same rows."
    )


class Serving(Part):
    threshold: float = Field(
        0.5, gt=0.0, lt=1.0, description="Probability from which a binary answer is positive."
    )
    unknown_categories: Literal["flag", "reject"] = Field(
        "flag", description="What happens to a record with a category outside the contract."
    )
    out_of_range: Literal["flag", "reject"] = Field(
        "flag", description="What happens to a record with a number outside the contract's range."
    )


class Monitoring(Part):
    window: int = Field(
        500, ge=30, le=10_000_000, description="Newest predictions that are compared with the reference."
    )
    minimum_rows: int = Field(50, ge=10, description="Fewer predictions than this and no verdict is given.")
    false_alarms: float = Field(
        0.01, gt=0.0, lt=0.5, description="Share of windows without a shift that may raise an alert."
    )
    schedule: str = Field("0 * * * *", description="Cron line of the drift report, in UTC.")


class Rejects(Part):
    """How many rows of a file may be refused before the whole file is."""

    max_share: float = Field(0.05, ge=0.0, le=1.0)


class Project(Part):
    """One project.yaml."""

    name: str = Field(pattern=f"^{PROJECT_NAME.pattern}$", description="Also the folder's name.")
    title: str = Field("", max_length=120)
    description: str = ""
    task: Task
    sources: list[InboxSource] = Field(default_factory=lambda: [InboxSource()], min_length=1)
    columns: dict[str, Column] = Field(min_length=2)
    rejects: Rejects = Rejects()
    labels: Labels = Labels()
    features: Features = Features()
    training: Training = Training()
    gates: Gates = Gates()
    serving: Serving = Serving()
    monitoring: Monitoring = Monitoring()

    def by_role(self, role: Role) -> list[str]:
        """Names of the columns with `role`, in the file's order."""
        return [name for name, column in self.columns.items() if column.role == role]

    @property
    def target(self) -> str:
        return self.by_role("target")[0]

    @property
    def id_column(self) -> str | None:
        return next(iter(self.by_role("id")), None)

    @property
    def feature_columns(self) -> dict[str, Column]:
        """The columns a model may use, in the file's order."""
        return {name: column for name, column in self.columns.items() if column.role == "feature"}

    @property
    def is_classification(self) -> bool:
        return self.task != "regression"

    @property
    def metric(self) -> str:
        """The metric that search, gate and monitor look at."""
        if self.training.metric:
            return self.training.metric
        return "roc_auc" if self.is_classification else "rmse"

    @property
    def display_name(self) -> str:
        return self.title or self.name.replace("_", " ").capitalize()

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read and check a project.yaml.

        Raises ProjectFileError with every fault found: YAML that cannot be read, unknown or missing fields, wrong
        values, and fields that contradict each other.
        """
        return cls.parse(_read_text(file), file)

    @classmethod
    def parse(cls, text: str, file: Path) -> Self:
        """`load`, from text already in hand; `file` is used in messages and for the folder's name."""
        shown = f"{file.parent.name}/{file.name}"
        document, lines = _read_yaml(text, shown)
        try:
            project = cls.model_validate(document)
        except ValidationError as error:
            raise ProjectFileError(shown, _problems_of(error, lines)) from error
        problems = [
            FieldProblem(_line(lines, path), _dotted(path), found, message)
            for path, found, message in contradictions(project)
        ]
        if file.name == "project.yaml" and file.parent.name != project.name:
            problems.append(
                FieldProblem(
                    _line(lines, ("name",)),
                    "name",
                    repr(project.name),
                    f"the name must be the folder's, {file.parent.name!r}",
                )
            )
        if problems:
            raise ProjectFileError(shown, problems)
        return project


def load_project(home: Home, name: str) -> Project:
    """The project called `name` in `home`. Raises NotFound or ProjectFileError."""
    return Project.load(home.require_project(name))


def json_schema() -> dict[str, Any]:
    """JSON Schema of project.yaml, for editors."""
    schema = Project.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Tidemill project"
    return schema


def write_schema(file: Path) -> None:
    """Write `json_schema` to `file`, as docs/project.schema.json holds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


Path_ = tuple[str | int, ...]


def contradictions(project: Project) -> list[tuple[Path_, str, str]]:
    """Faults between fields, as (path, what was found, what is wrong)."""
    return [
        *_column_faults(project),
        *_role_faults(project),
        *_task_faults(project),
        *_training_faults(project),
    ]


def _column_faults(project: Project) -> list[tuple[Path_, str, str]]:
    faults: list[tuple[Path_, str, str]] = []
    folded: dict[str, str] = {}
    for name, column in project.columns.items():
        at: Path_ = ("columns", name)
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
        if column.role == "time" and column.type not in TEMPORAL:
            faults.append(((*at, "type"), column.type, "a time column needs type date or datetime"))
    return faults


_SINGLE_ROLES: tuple[tuple[Role, str], ...] = (("target", "exactly one column"), ("id", "at most one column"))


def _role_faults(project: Project) -> list[tuple[Path_, str, str]]:
    faults: list[tuple[Path_, str, str]] = []
    for role, allowed in _SINGLE_ROLES:
        names = project.by_role(role)
        if len(names) > 1 or (role == "target" and not names):
            found = ", ".join(names) or "none"
            faults.append((("columns",), found, f"{allowed} must have the role {role}"))
    if not project.feature_columns:
        faults.append((("columns",), "none", "at least one column must have the role feature"))
    return faults


def _task_faults(project: Project) -> list[tuple[Path_, str, str]]:
    targets = project.by_role("target")
    if len(targets) != 1:
        return []
    at: Path_ = ("columns", targets[0])
    target = project.columns[targets[0]]
    faults: list[tuple[Path_, str, str]] = []
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
    if positive is not None and target.values is not None and positive not in target.values:
        faults.append((("labels", "positive"), positive, f"it must be one of {', '.join(target.values)}"))
    if project.task == "text_classification" and not any(
        column.type == "text" for column in project.feature_columns.values()
    ):
        faults.append((("task",), project.task, "it needs a feature of type text"))
    return faults


def _training_faults(project: Project) -> list[tuple[Path_, str, str]]:
    allowed = CLASSIFICATION_METRICS if project.is_classification else REGRESSION_METRICS
    faults: list[tuple[Path_, str, str]] = []
    if project.metric not in allowed:
        faults.append(
            (("training", "metric"), project.metric, f"for this task it is one of {', '.join(allowed)}")
        )
    for name in project.gates.minimum:
        if name not in allowed:
            faults.append(
                (("gates", "minimum", name), name, f"for this task it is one of {', '.join(allowed)}")
            )
    kind = project.training.split.kind
    if kind in ("time", "group") and not project.by_role(kind):
        faults.append((("training", "split", "kind"), kind, f"it needs a column with the role {kind}"))
    return faults


def _read_text(file: Path) -> str:
    shown = f"{file.parent.name}/{file.name}"
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problem = FieldProblem(1, "file", f"byte {error.start}", "the file is not UTF-8")
        raise ProjectFileError(shown, [problem], remedy="Save the file as UTF-8.") from error
    except OSError as error:
        problem = FieldProblem(1, "file", error.strerror or "an error", "the file cannot be read")
        raise ProjectFileError(shown, [problem], remedy=f"Check that {file} is a readable file.") from error


def _read_yaml(text: str, shown: str) -> tuple[Any, dict[Path_, int]]:
    """The document and the line of every path in it."""
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
    lines: dict[Path_, int] = {}
    doubles: list[FieldProblem] = []
    _walk(root, (), lines, doubles)
    if doubles:
        raise ProjectFileError(shown, doubles)
    return document, lines


def _walk(node: Any, path: Path_, lines: dict[Path_, int], doubles: list[FieldProblem]) -> None:
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


def _problems_of(error: ValidationError, lines: dict[Path_, int]) -> list[FieldProblem]:
    problems = []
    for fault in error.errors(include_url=False):
        path: Path_ = tuple(fault["loc"])
        message = fault["msg"]
        if fault["type"] == "extra_forbidden":
            message = "there is no such field" + _nearest(path)
        elif fault["type"] == "string_type":
            message = _unquoted(fault["input"])
        found = "nothing" if fault["type"] == "missing" else _shorten(fault["input"])
        problems.append(FieldProblem(_line(lines, path), _dotted(path), found, message))
    return sorted(problems, key=lambda problem: problem.line)


def _unquoted(value: Any) -> str:
    """Why YAML made something else of what was meant as text."""
    if isinstance(value, bool):
        return "YAML reads yes, no, on, off, true and false as booleans: quote the word, such as 'yes'"
    if isinstance(value, int | float | date):
        return f"YAML reads this as {type(value).__name__}: quote it, such as '{value}'"
    if value is None:
        return "YAML reads an empty place, ~ and null as nothing: quote the word, such as 'null'"
    return "a text is needed here"


def _nearest(path: Path_) -> str:
    """A hint at the field that was probably meant."""
    model: Any = Project
    for part in path[:-1]:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            model = Column if path[0] == "columns" else model
            continue
        model = field.annotation
    known = list(model.model_fields) if hasattr(model, "model_fields") else []
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}" if known else ""


def _line(lines: dict[Path_, int], path: Path_) -> int:
    """The line of `path`, or of the nearest part of it that is in the file."""
    for end in range(len(path), -1, -1):
        if (line := lines.get(_textual(path[:end]))) is not None:
            return line
    return 1


def _textual(path: Path_) -> Path_:
    # A key that YAML reads as a number or a date is found under its text.
    return tuple(str(part) for part in path)


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path) or "file"


def _shorten(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
