"""Rules over several columns of one row: SQL expressions of the contract, understood before any row is read.

Here belong what such an expression may say, which columns it names and the SQL that finds the rows breaking it.
Applying it to a file is `data/accept.py`, to a table `data/checks.py`; rules of one column are `data/casting.py`.

A rule sees the typed values of its own row and nothing else: no other table, file, subquery, clock or chance, so
that the same row gets the same verdict in every run. NULL passes, as in SQL's own CHECK; a computation that fails
(an overflow, a cast that cannot be made) does not.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import duckdb

from tidemill.data.casting import SQL_TYPES, quoted
from tidemill.project import Project, Rule
from tidemill.project_file import Fault

# The parser's words for what stays within one row.
_ALLOWED = frozenset(
    {
        "COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "FUNCTION", "OPERATOR", "CASE", "CAST", "TYPE",
        "BETWEEN",
    }
)  # fmt: skip
_NAMES = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "*",
    "LAMBDA": "a lambda",
    "PARAMETER": "a parameter",
}

Columns = tuple[tuple[str, str], ...]
"""Name and contract type of each column; hashable, so that a project loaded again is not parsed again."""


class BadRule(ValueError):
    """An expression that cannot be a rule; the text says why."""


def faults(project: Project) -> list[Fault]:
    """What is wrong with the expressions of `project.rules`; nothing in a project that was loaded."""
    found: list[Fault] = []
    for index, rule in enumerate(project.rules):
        at = ("rules", index, "check")
        try:
            _understood(rule.check, _columns(project))
        except BadRule as error:
            found.append((at, repr(rule.check), str(error)))
        except RecursionError:
            found.append((at, repr(rule.check[:60]), "it is nested too deeply"))
    return found


def named_columns(rule: Rule, project: Project) -> list[str]:
    """The columns that the expression of `rule` reads, in the contract's order."""
    return list(_understood(rule.check, _columns(project)))


def reported_columns(rule: Rule, project: Project) -> list[str]:
    """The columns that a broken `rule` is reported under: those it says, else those it reads."""
    return rule.columns or named_columns(rule, project)


def breaks(rule: Rule) -> str:
    """SQL that is true for a row which breaks `rule`, over columns with the contract's names and types."""
    # The line break ends a comment in the expression. TRY makes NULL of an error: such a row has not passed.
    return f"(TRY(coalesce(({rule.check}\n), true)) IS DISTINCT FROM true)"


def reason(rule: Rule) -> str:
    """Why a row that breaks `rule` was rejected, for people."""
    return f"{rule.name}: {rule.message or f'the row must have {rule.check}'}"


def _columns(project: Project) -> Columns:
    return tuple((name, column.type) for name, column in project.columns.items())


@lru_cache(maxsize=1024)
def _understood(check: str, columns: Columns) -> tuple[str, ...]:
    """The columns that `check` reads. Raises BadRule when it may not be a rule over `columns`."""
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        expression = _parsed(connection, check)
        used = _used(connection, expression, [name for name, _ in columns])
        if not used:
            raise BadRule("it reads no column, so it says the same of every row")
        _check_is_boolean(connection, check, columns)
    return tuple(name for name, _ in columns if name in used)


def _parsed(connection: duckdb.DuckDBPyConnection, check: str) -> dict[str, Any]:
    bare, bracketed = (_tree(connection, text) for text in (f"SELECT {check}", f"SELECT ({check}\n)"))
    # In brackets is how it is used; an expression that means another thing without them escapes from them.
    if _without_places(bare) != _without_places(bracketed):
        raise BadRule("it must be one expression, such as end_date >= start_date")
    return bare


def _tree(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    """The one selected expression of `query`, as the parser sees it."""
    found = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
    assert found is not None
    answer = json.loads(found[0])
    if answer["error"]:
        raise BadRule(f"SQL cannot read it: {answer['error_message']}")
    nodes = [statement["node"] for statement in answer["statements"]]
    plain = len(nodes) == 1 and nodes[0]["type"] == "SELECT_NODE" and len(nodes[0]["select_list"]) == 1
    if not plain or nodes[0]["from_table"]["type"] != "EMPTY" or _has_clauses(nodes[0]):
        raise BadRule("it must be one expression over the columns of a row, without FROM or other clauses")
    expression: dict[str, Any] = nodes[0]["select_list"][0]
    if expression["alias"]:
        raise BadRule("it must be an expression without a name (AS)")
    return expression


def _has_clauses(node: dict[str, Any]) -> bool:
    clauses = ("modifiers", "where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")
    return any(node.get(clause) for clause in clauses)


def _without_places(part: Any) -> Any:
    """The tree without the places of its parts in the text, which brackets shift."""
    if isinstance(part, dict):
        places = ("query_location", "query_location_length")
        return {key: _without_places(value) for key, value in part.items() if key not in places}
    return [_without_places(each) for each in part] if isinstance(part, list) else part


def _used(connection: duckdb.DuckDBPyConnection, tree: dict[str, Any], columns: Sequence[str]) -> set[str]:
    """The contract's columns in `tree`. Raises BadRule for whatever reaches beyond the row."""
    # SQL does not tell AGE from age, and the contract has no two columns that differ in that alone.
    folded = {name.casefold(): name for name in columns}
    functions = _functions(connection)
    used = set()
    for part in _parts(tree):
        kind = part["class"]
        if kind not in _ALLOWED:
            shown = _NAMES.get(kind, kind.lower().replace("_", " "))
            raise BadRule(f"{shown} is not allowed: a rule is about the values of one row")
        if kind == "COLUMN_REF":
            name = ".".join(part["column_names"])
            if name.casefold() not in folded:
                raise BadRule(_unknown(name, folded))
            used.add(folded[name.casefold()])
        if kind == "FUNCTION" and part["function_name"].casefold() not in functions:
            raise BadRule(
                f"the function {part['function_name']} is not allowed: rules use DuckDB's functions of one row, "
                "without clock, chance or files"
            )
    return used


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _parts(value)
    elif isinstance(tree, list):
        for each in tree:
            yield from _parts(each)


def _unknown(name: str, folded: dict[str, str]) -> str:
    if close := difflib.get_close_matches(name.casefold(), list(folded), 1, 0.6):
        return f"there is no column {name!r}; did you mean {folded[close[0]]}?"
    return f"there is no column {name!r} (text stands in single quotes, odd names in double quotes)"


def _functions(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """DuckDB's functions of one row that give the same answer whenever they are asked."""
    found = connection.execute(
        "SELECT function_name FROM duckdb_functions() WHERE function_type = 'scalar' "
        "GROUP BY ALL HAVING bool_and(coalesce(stability = 'CONSISTENT', false))"
    )
    return {name for (name,) in found.fetchall()}


def _check_is_boolean(connection: duckdb.DuckDBPyConnection, check: str, columns: Columns) -> None:
    row = ", ".join(f"NULL::{SQL_TYPES[kind]} AS {quoted(name)}" for name, kind in columns)
    try:
        described = connection.execute(f"DESCRIBE SELECT ({check}\n) FROM (SELECT {row})").fetchall()
    except duckdb.Error as error:
        raise BadRule(f"SQL cannot compute it: {str(error).splitlines()[0]}") from error
    found = described[0][1]
    if found != "BOOLEAN":
        raise BadRule(f"it must be true or false, such as end_date >= start_date, and is {found}")
