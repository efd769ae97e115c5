"""A file held against a contract: what differs, and which contract would take the file.

Here belong the comparison and the suggestion, over a file that nobody has taken in yet. Refusing a file is
`data/accept.py`; a first contract is `data/infer.py`. A suggestion only ever widens: what fits the contract today
fits the suggested one, so that accepting it never shuts out files that were taken before.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import duckdb

from tidemill.data.casting import Broken, broken, cleaned, literal, typed
from tidemill.data.infer import infer_columns, widened
from tidemill.data.read import open_source
from tidemill.data.source import SourceFile
from tidemill.data.staging import workbench
from tidemill.data.survey import TRIED, ColumnSurvey, survey_on, tolerates
from tidemill.errors import InvalidInput
from tidemill.project import NUMERIC, TEMPORAL, Column, ColumnType, Project

EXAMPLES = 5
MOST_VALUES = 50

Bound = Literal["nulls", "min", "max", "values"]
_BOUNDS: dict[Broken, Bound] = {
    Broken.NULL: "nulls",
    Broken.BELOW: "min",
    Broken.ABOVE: "max",
    Broken.VALUES: "values",
}


@dataclass(frozen=True)
class ColumnChange:
    """A column of another type: `rows` of its cells are not of the `expected` one, such as `examples`."""

    column: str
    expected: str
    found: str
    rows: int
    examples: list[str]


@dataclass(frozen=True)
class BoundChange:
    """Values outside one rule of a column: `rows` of its cells break it, such as `examples`."""

    column: str
    rule: Bound
    rows: int
    examples: list[str]


@dataclass(frozen=True)
class ContractDiff:
    """What a file would change.

    `added` are its columns that the contract lacks, as they could stand there. `dirty` are columns of the right
    type with a few wrong cells: their rows would be rejected, and the contract is right.
    """

    file: str
    rows: int
    added: dict[str, Column] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    renamed: list[dict[str, str]] = field(default_factory=list)
    changed: list[ColumnChange] = field(default_factory=list)
    bounds: list[BoundChange] = field(default_factory=list)
    dirty: list[ColumnChange] = field(default_factory=list)
    surveys: dict[str, ColumnSurvey] = field(default_factory=dict, repr=False)

    @property
    def is_same(self) -> bool:
        """Whether the file fits the contract as it is."""
        return not (self.added or self.missing or self.changed or self.bounds)


def compare(file: Path, project: Project) -> ContractDiff:
    """What `file` would change against the contract of `project`. Raises InvalidInput for what is no table."""
    source = open_source(file, reading=project.how_to_read)
    with TemporaryDirectory(prefix="tidemill-") as scratch, workbench(Path(scratch)) as connection:
        found = survey_on(connection, source)
        if not found.rows:
            raise InvalidInput(
                "The file has no rows",
                detail=f"{source.name} has a header and no row below it that can be read",
                remedy="Give a file with some rows: types and ranges are found in them.",
            )
        fresh = infer_columns(found)
        missing = missing_columns(source.columns, project)
        added = {name: fresh[name] for name in source.columns if name not in project.columns}
        diff = ContractDiff(
            file=source.name,
            rows=found.rows,
            added=added,
            missing=missing,
            renamed=renamed_columns(missing, list(added)),
            surveys={column.name: column for column in found.columns},
        )
        for index, name in enumerate(source.columns):
            if name in project.columns:
                _compare_column(connection, source, index, project.columns[name], fresh[name], diff)
    return diff


def missing_columns(found: Sequence[str], project: Project) -> list[str]:
    """The contract's columns that a file with the columns `found` should have and has not."""
    return [name for name, column in project.columns.items() if not column.optional and name not in found]


def renamed_columns(missing: Sequence[str], added: Sequence[str]) -> list[dict[str, str]]:
    """Missing columns that are probably there under another name, as `expected` and `found`."""
    folded = {name.casefold(): name for name in added}
    pairs = []
    for name in missing:
        if close := difflib.get_close_matches(name.casefold(), list(folded), 1, 0.75):
            pairs.append({"expected": name, "found": folded[close[0]]})
    return pairs


def _compare_column(
    connection: duckdb.DuckDBPyConnection,
    source: SourceFile,
    index: int,
    column: Column,
    fresh: Column,
    diff: ContractDiff,
) -> None:
    """Note in `diff` what the cells of one column break; doubled values are faults of rows, not of the contract."""
    name = source.columns[index]
    found = connection.execute(
        f"WITH texts AS (SELECT {cleaned(column, f'c{index}')} AS r FROM cells), "
        f"typed AS (SELECT r, {typed(column, 'r', source.decimal)} AS t FROM texts) "
        f"SELECT f, count(*), list(DISTINCT r ORDER BY r)[:{EXAMPLES}] "
        f"FROM (SELECT r, {broken(column, 'r', 't')} AS f FROM typed) WHERE f <> 0 GROUP BY f ORDER BY f"
    ).fetchall()
    for code, rows, examples in found:
        if code == Broken.TYPE:
            alike = fresh.type == column.type or (fresh.type, column.type) == ("integer", "float")
            filled = diff.surveys[name].filled
            still = alike and tolerates(filled - rows, filled)
            kind = kind_of(connection, examples, source.decimal) if still else fresh.type
            change = ColumnChange(name, column.type, kind, rows, examples)
            (diff.dirty if still else diff.changed).append(change)
        else:
            shown = [] if code == Broken.NULL else examples
            diff.bounds.append(BoundChange(name, _BOUNDS[Broken(code)], rows, shown))


def kind_of(connection: duckdb.DuckDBPyConnection, texts: Sequence[str], decimal: str) -> ColumnType:
    """The narrowest type that all of some cells are of; string when they are of no other."""
    values = ", ".join(f"({literal(text)})" for text in texts)
    for kind in (*TRIED, "boolean") if texts else ():
        parsed = typed(Column(type=kind), "v", decimal)
        query = f"SELECT bool_and(({parsed}) IS NOT NULL) FROM (VALUES {values}) AS x(v)"
        ((all_are,),) = connection.execute(query).fetchall()
        if all_are:
            return kind
    return "string"


def suggest(diff: ContractDiff, project: Project) -> dict[str, Column]:
    """The contract's columns, widened so that the file fits as well as all that fitted before.

    New columns are optional, as earlier files lack them; missing ones become so. Ids are left as they are. Raises
    InvalidInput when no widening would do.
    """
    columns = dict(project.columns)
    for name in diff.missing:
        if columns[name].role == "id":
            raise _no_way(diff, f"the id column {name!r} is missing", "Send the file with it")
        columns[name] = _with(columns[name], optional=True, nulls=True)
    for change in diff.changed:
        columns[change.column] = _of_wider_type(columns[change.column], change, diff)
    for bound in diff.bounds:
        old = columns[bound.column]
        if old.role == "id":
            raise _no_way(diff, f"the id column {bound.column!r} has empty cells", "Fill them")
        # A column of a new type has been given bounds to fit already.
        if bound.rule == "nulls" or old.type == project.columns[bound.column].type:
            columns[bound.column] = _of_wider_bound(old, bound, diff.surveys[bound.column])
    columns |= {name: _with(column, optional=True, nulls=True) for name, column in diff.added.items()}
    return columns


def _of_wider_type(old: Column, change: ColumnChange, diff: ContractDiff) -> Column:
    if change.found == change.expected:
        raise _no_way(
            diff,
            f"{change.column!r} holds {change.examples[0]!r}, a {change.expected} written in another way",
            "Write it as before, or say `format` or `thousands` of the column",
        )
    kinds: dict[tuple[str, str], ColumnType] = {
        ("integer", "float"): "float",
        ("date", "datetime"): "datetime",
    }
    kind = kinds.get((old.type, change.found), "string")
    if old.role == "time" and kind not in TEMPORAL:
        raise _no_way(
            diff, f"the time column {change.column!r} holds {change.examples[0]!r}", "Mend its dates"
        )
    if old.role == "target":
        raise _no_way(
            diff,
            f"the target {change.column!r} holds {change.examples[0]!r}, no {old.type}",
            "Mend its values",
        )
    # What says how values of the old type look says nothing of the new one's.
    gone = [] if kind in NUMERIC else ["min", "max", "thousands"]
    gone += [] if kind in TEMPORAL else ["format"]
    new = _with(old, type=kind, values=None, **dict.fromkeys(gone))
    return _of_wider_range(new, diff.surveys[change.column]) if kind in NUMERIC else new


def _of_wider_range(old: Column, found: ColumnSurvey) -> Column:
    """`old` with its bounds, where it has any, moved to let in every number found, and some more."""
    least, greatest = widened(found, old.type)
    if found.numbers is None or least is None or greatest is None:
        return _with(old, min=None, max=None)
    low = least if old.min is not None and found.numbers[0] < old.min else old.min
    high = greatest if old.max is not None and found.numbers[1] > old.max else old.max
    return _with(old, min=low, max=high)


def _of_wider_bound(old: Column, bound: BoundChange, found: ColumnSurvey) -> Column:
    match bound.rule:
        case "nulls":
            return _with(old, nulls=True)
        case "min" | "max":
            return _of_wider_range(old, found)
        case "values":
            values = list(old.values or ())
            values += sorted({value for value, _ in found.values} - set(values))
            return _with(old, values=values if found.values and len(values) <= MOST_VALUES else None)


def _with(column: Column, **changes: Any) -> Column:
    return Column.model_validate(column.model_dump() | changes)


def _no_way(diff: ContractDiff, why: str, remedy: str) -> InvalidInput:
    return InvalidInput(
        "No wider contract would take the file",
        detail=f"{diff.file}: {why}",
        remedy=f"{remedy}, or edit project.yaml yourself if the data changed its meaning.",
    )
