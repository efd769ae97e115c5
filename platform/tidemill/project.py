"""project.yaml: the one file that describes a use case, as a model.

What belongs here: the shape of the file, its words, and getting a project from its file. What does not: finding
the line of a fault (`project_file.py`), faults between fields (`project_checks.py`), inferring a first file from
data (`data/infer.py`) and anything that acts on a project.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tidemill.errors import ProjectFileError
from tidemill.home import PROJECT_NAME, Home
from tidemill.project_evaluation import EvaluationSettings
from tidemill.project_file import problems_of, read_document, read_text, shown_name
from tidemill.project_part import Part
from tidemill.project_rollout import Rollout
from tidemill.project_sources import InboxSource, Source, Watched, inbox_patterns, landed_patterns
from tidemill.project_training import Training
from tidemill.project_triggers import Cron

Task = Literal["binary", "multiclass", "regression", "text_classification"]
ColumnType = Literal["integer", "float", "boolean", "string", "category", "text", "date", "datetime"]
Role = Literal["id", "feature", "target", "time", "group", "ignore"]
IngestionMode = Literal["append", "replace", "upsert"]
LabelsKind = Literal["column", "built-in", "label-studio"]
Consolidation = Literal["majority", "dawid-skene", "median", "mean"]
Policy = Literal["reject", "flag", "impute"]

NUMERIC: frozenset[str] = frozenset({"integer", "float"})
TEMPORAL: frozenset[str] = frozenset({"date", "datetime"})
CATEGORICAL: frozenset[str] = frozenset({"string", "category"})

CLASSIFICATION_METRICS = ("roc_auc", "accuracy", "balanced_accuracy", "f1", "log_loss", "average_precision")
REGRESSION_METRICS = ("mae", "rmse", "r2")
# roc_auc and friends are better when larger; these are better when smaller.
SMALLER_IS_BETTER = frozenset({"log_loss", "mae", "rmse"})


Thousands = Literal[",", ".", " ", "'"]
Encoding = Literal[
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "iso-8859-2", "iso-8859-15",
    "cp437", "cp850", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "mac-roman", "koi8-r",
    "shift_jis", "euc-jp", "euc-kr", "gb18030", "big5",
]  # fmt: skip


class Reading(Part):
    """How files are read. What is unset is found out anew in each file."""

    encoding: Encoding | None = Field(None, description="Encoding of CSV files.")
    delimiter: str | None = Field(
        None, pattern=r"^[,;|\t:~^]$", description="What stands between two cells of a CSV."
    )
    decimal: Literal[".", ","] | None = Field(None, description="The decimal mark in numbers of CSV files.")
    sheet: str | None = Field(None, description="The sheet of a workbook; its first that holds anything.")
    header_row: int = Field(
        1, ge=1, le=10_000, description="Row of a sheet, or line of a CSV, that names the columns."
    )
    header: bool = Field(
        True, description="Whether that row names the columns; false: it is the first row of data."
    )
    names: list[str] | None = Field(
        None,
        min_length=1,
        max_length=5_000,
        description="Names of the file's columns in its order, used in place of its header's.",
    )


class Column(Part):
    """What one column must hold."""

    type: ColumnType
    role: Role = "feature"
    nulls: bool = Field(True, description="Whether empty cells are allowed.")
    optional: bool = Field(
        False, description="Whether a file may lack the column; its rows are then empty there."
    )
    unique: bool = Field(False, description="Whether each value may occur once only. Always so for an id.")
    min: float | None = Field(None, description="Smallest allowed value of a number.")
    max: float | None = Field(None, description="Largest allowed value of a number.")
    values: list[str] | None = Field(
        None, min_length=1, description="The allowed values of a category, string or boolean, as text."
    )
    format: str | None = Field(
        None, description='How dates are written, such as "%d/%m/%Y"; ISO 8601 is read besides.'
    )
    thousands: Thousands | None = Field(
        None, description="The mark between groups of three digits in numbers of this column."
    )
    description: str = ""


class Rule(Part):
    """What the values of one row must be to each other, as an SQL expression over the columns."""

    name: str = Field(pattern="^[a-z][a-z0-9_]{0,59}$", description="What rejects and checks call the rule.")
    check: str = Field(
        min_length=1,
        max_length=2_000,
        description="True for good rows, such as end_date >= start_date. A row for which it is NULL passes.",
    )
    columns: list[str] = Field(
        default_factory=list,
        description="The columns that a reject names; by default those that the expression reads.",
    )
    message: str = Field("", max_length=200, description="What a person is told when a row breaks the rule.")


class Labels(Part):
    """Where labels come from: the target column of the data, or people besides it.

    `labels: label-studio` is short for `labels: {kind: label-studio}`. With people, rows whose target is filled in
    the data are labelled already; the others can be asked about.
    """

    kind: LabelsKind = Field(
        "column",
        description="column: the target column alone; built-in: the dashboard's labelling page; label-studio: a "
        "Label Studio server, ours or `url`.",
    )
    positive: str | None = Field(None, description="The class that counts as positive in a binary task.")
    instructions: str = Field("", max_length=5_000, description="What the people who label are told.")
    annotators: int = Field(1, ge=1, le=20, description="How many people answer about each row.")
    consolidation: Consolidation | None = Field(
        None,
        description="How several answers about a row become one label: majority or dawid-skene for classes "
        "(majority when unset), median or mean for numbers (median when unset).",
    )
    budget: int = Field(50, ge=1, le=100_000, description="Rows that one round asks about.")
    strategy: Literal["uncertain", "random"] = Field(
        "uncertain", description="How rows are chosen: uncertain and unlike each other, or by chance."
    )
    gold: float = Field(
        0.0,
        ge=0.0,
        le=0.5,
        description="Share of a round whose answer is known already, to check annotators.",
    )
    review_below: float | None = Field(
        None, gt=0.0, le=1.0, description="Predictions less sure than this come back as rows to be labelled."
    )
    url: str | None = Field(
        None, pattern="^https?://", description="A Label Studio server that the team has already."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # The model knows nothing of the word that stands for it, so an editor would underline it.
        shape = handler.resolve_ref_schema(handler(core_schema))
        word = {"type": "string", "enum": list(get_args(LabelsKind))}
        return {"anyOf": [word, shape]}


class Features(Part):
    """How columns become features."""

    max_categories: int = Field(
        50, ge=2, le=10_000, description="Categories kept per column; rarer ones merge."
    )
    text_features: int = Field(2_000, ge=10, le=1_000_000, description="TF-IDF terms kept per text column.")


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
    surely_not_worse: bool = Field(
        False,
        description="Whether the whole 95 % interval of that loss must keep within not_worse_by.",
    )


_POLICIES = (
    "reject: it is refused; flag: it is answered as it stands, and the answer says so; impute: the value counts as "
    "missing, which the model fills as it learned to in training, and the answer says so."
)


class Serving(Part):
    """What is asked of records on their way to the model, and from when on an answer is positive."""

    threshold: float = Field(
        0.5, gt=0.0, lt=1.0, description="Probability from which a binary answer is positive."
    )
    unknown_categories: Policy = Field(
        "flag", description=f"What happens to a record with a category outside the contract. {_POLICIES}"
    )
    out_of_range: Policy = Field(
        "flag",
        description=f"What happens to a record with a number outside the contract's range. {_POLICIES}",
    )
    missing_fields: Literal["allow", "reject", "flag", "impute"] = Field(
        "allow",
        description="What happens to a record that lacks a feature. allow: it counts as null, which is refused "
        "where the contract wants a value; flag: so too, and the answer says it; impute: null where the contract "
        "wants a value is taken as well, and the model fills it; reject: each feature must be there, even if null.",
    )
    extra_fields: Literal["reject", "flag"] = Field(
        "reject",
        description="What happens to a record with a field that is no column. reject: it is refused; flag: the "
        "field is left out, and the answer says so.",
    )


class Monitoring(Part):
    window: int = Field(
        500, ge=30, le=10_000_000, description="Newest predictions that are compared with the reference."
    )
    minimum_rows: int = Field(50, ge=10, description="Fewer predictions than this and no verdict is given.")
    false_alarms: float = Field(
        0.01, gt=0.0, lt=0.5, description="Share of windows without a shift that may raise an alert."
    )
    schedule: Cron = Field("0 * * * *", description="Cron line of the drift report, in UTC.")


class Rejects(Part):
    """How many rows of a file may be refused before the whole file is."""

    max_share: float = Field(0.05, ge=0.0, le=1.0)
    max_rows: int | None = Field(
        None, ge=0, description="So many rows at most, however large the file; null: any number."
    )


class Ingestion(Part):
    """What a file does to the rows that are there."""

    mode: IngestionMode = Field(
        "append",
        description="append: its rows are added; replace: they become the whole table; upsert: rows of the same id "
        "are replaced.",
    )


class Retention(Part):
    """How much of the past is kept when `tidemill data prune` clears away."""

    versions: int | None = Field(
        None,
        ge=1,
        description="Newest versions kept of each table, besides what models were made from; null: all.",
    )


class Project(Part):
    """One project.yaml."""

    name: str = Field(pattern=f"^{PROJECT_NAME.pattern}$", description="Also the folder's name.")
    title: str = Field("", max_length=120)
    description: str = ""
    task: Task
    sources: list[Source] = Field(default=[InboxSource()], min_length=1)
    reading: Reading = Reading()
    columns: dict[str, Column] = Field(min_length=2)
    rules: list[Rule] = Field(default_factory=list, description="Rules over several columns of one row.")
    rejects: Rejects = Rejects()
    ingestion: Ingestion = Ingestion()
    labels: Labels = Labels()
    features: Features = Features()
    training: Training = Training()
    evaluation: EvaluationSettings = EvaluationSettings()
    gates: Gates = Gates()
    serving: Serving = Serving()
    rollout: Rollout = Rollout()
    monitoring: Monitoring = Monitoring()
    retention: Retention = Retention()

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
    def inbox_patterns(self) -> list[str]:
        """Shell patterns of the names that people and programs may put into the inbox."""
        return inbox_patterns(self.sources)

    @property
    def landed_patterns(self) -> list[str]:
        """Shell patterns of every name that the inbox takes, whoever put it there."""
        return landed_patterns(self.sources)

    @property
    def watched(self) -> list[Watched]:
        """The sources that are looked at: all but the inbox."""
        return [source for source in self.sources if not isinstance(source, InboxSource)]

    @property
    def how_to_read(self) -> Reading:
        """`reading`, with the decimal mark that the columns' thousands marks imply."""
        marks = {column.thousands for column in self.columns.values()}
        if self.reading.decimal is None and marks & {",", "."}:
            return self.reading.model_copy(update={"decimal": "." if "," in marks else ","})
        return self.reading

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
    def consolidation(self) -> Consolidation:
        """How several answers about a row become one label."""
        return self.labels.consolidation or ("majority" if self.is_classification else "median")

    @property
    def display_name(self) -> str:
        return self.title or self.name.replace("_", " ").capitalize()

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read and check a project.yaml.

        Raises ProjectFileError with every fault found: YAML that cannot be read, unknown or missing fields, wrong
        values, and fields that contradict each other.
        """
        return cls.parse(read_text(file), file)

    @classmethod
    def parse(cls, text: str, file: Path) -> Self:
        """`load`, from text already in hand; `file` is used in messages and for the folder's name."""
        from tidemill.project_checks import contradictions  # checks this model, so it cannot come before it

        shown = shown_name(file)
        document = read_document(text, shown)
        try:
            project = cls.model_validate(document.fields)
        except ValidationError as error:
            raise ProjectFileError(shown, problems_of(error, document, cls)) from error
        problems = [document.problem(*fault) for fault in contradictions(project)]
        folder = file.parent.name
        if file.name == "project.yaml" and folder != project.name:
            message = f"the name must be the folder's, {folder!r}"
            problems.append(document.problem(("name",), repr(project.name), message))
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
