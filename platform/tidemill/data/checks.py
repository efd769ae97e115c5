"""The contract as checks of a published table: SQL that counts the rows breaking each rule.

Ingestion lets no such row in; but the contract may be changed after rows came in, and this says what that means
for them. Here belong the checks of `project.yaml`; statistics over time are the business of `monitor/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import duckdb

from tidemill.data import row_rules
from tidemill.data.casting import ARROW_TYPES, Broken, quoted, rules
from tidemill.data.profile import rows_of
from tidemill.project import Column, Project, Rule
from tidemill.settings import load_settings
from tidemill.store.tables import TableVersion

EXAMPLES = 5
RULES = {Broken.BELOW: "min", Broken.ABOVE: "max", Broken.VALUES: "values"}


@dataclass(frozen=True)
class Violation:
    """One broken rule: how many rows break it, and some of their values.

    `rule` is the contract's field: `nulls`, `min`, `max`, `values`, `unique`, `type`, `column` for a missing or
    unknown column, or the name of a rule over the row; `column` then lists those it is about.
    """

    column: str
    rule: str
    rows: int
    examples: list[str] = field(default_factory=list)


def check_table(version: TableVersion, project: Project) -> list[Violation]:
    """Every rule of the contract that rows of the version break; an empty list when they keep it."""
    violations = list(_shape(version, project))
    wrong = {violation.column for violation in violations}
    with duckdb.connect(config={"memory_limit": load_settings().duckdb_memory}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, column in project.columns.items():
            if name not in wrong:
                violations += _check_column(connection, version, name, column)
        for rule in project.rules:
            needed = {*row_rules.named_columns(rule, project), *row_rules.reported_columns(rule, project)}
            if not wrong & needed:
                violations += _check_row(connection, version, rule, project)
    return violations


def _shape(version: TableVersion, project: Project) -> Iterator[Violation]:
    """Columns that are missing, unknown, or of another type than the contract's."""
    for name, column in project.columns.items():
        found = version.schema.get(name)
        if found is None:
            yield Violation(name, "column", version.rows, ["missing from the table"])
        elif found != ARROW_TYPES[column.type]:
            yield Violation(name, "type", version.rows, [f"{found}, the contract says {column.type}"])
    for name in version.schema:
        if name not in project.columns and not name.startswith("_"):
            yield Violation(name, "column", version.rows, ["not in the contract"])


def _check_column(
    connection: duckdb.DuckDBPyConnection, version: TableVersion, name: str, column: Column
) -> Iterator[Violation]:
    value = quoted(name)
    broken = {RULES[code]: condition for code, condition in rules(column, value).items()}
    if column.role == "id" or not column.nulls:
        broken["nulls"] = f"{value} IS NULL"
    if column.role == "id" or column.unique:
        twice = f"SELECT {value} FROM {rows_of(version)} GROUP BY {value} HAVING count(*) > 1"
        broken["unique"] = f"{value} IN ({twice})"
    if not broken:
        return
    counts = connection.execute(
        f"SELECT {', '.join(f'count_if({condition})' for condition in broken.values())} FROM {rows_of(version)}"
    ).fetchone()
    for (rule, condition), count in zip(broken.items(), counts or (), strict=True):
        if count:
            yield Violation(name, rule, count, _examples(connection, version, value, condition))


def _check_row(
    connection: duckdb.DuckDBPyConnection, version: TableVersion, rule: Rule, project: Project
) -> Iterator[Violation]:
    columns = row_rules.reported_columns(rule, project)
    rows, condition = rows_of(version), row_rules.breaks(rule)
    found = connection.execute(f"SELECT count_if({condition}) FROM {rows}").fetchone()
    if found and found[0]:
        shown = "concat_ws(', ', " + ", ".join(f"CAST({quoted(name)} AS VARCHAR)" for name in columns) + ")"
        examples = connection.execute(
            f"SELECT DISTINCT {shown} FROM {rows} WHERE {condition} ORDER BY 1 LIMIT {EXAMPLES}"
        ).fetchall()
        yield Violation(", ".join(columns), rule.name, found[0], [text for (text,) in examples])


def _examples(
    connection: duckdb.DuckDBPyConnection, version: TableVersion, value: str, condition: str
) -> list[str]:
    found = connection.execute(
        f"SELECT DISTINCT CAST({value} AS VARCHAR) FROM {rows_of(version)} "
        f"WHERE {condition} AND {value} IS NOT NULL ORDER BY 1 LIMIT {EXAMPLES}"
    ).fetchall()
    return [text for (text,) in found]
