"""Rules over a row: what they may say, which rows they reject, and what they say of a table."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tidemill.data import ledger
from tidemill.data.checks import Violation, check_table
from tidemill.data.ingest import ingest_pending
from tidemill.data.render import render_yaml
from tidemill.data.row_rules import faults, named_columns
from tidemill.errors import ProjectFileError
from tidemill.home import Home
from tidemill.project import Column, Project, Rule
from tidemill.store.state import State
from tidemill.store.tables import TableStore


def project(check: str, **fields: object) -> Project:
    """A project with one rule; its columns have names that SQL and Tidemill use themselves."""
    columns = {
        "c0": Column(type="integer"),
        "line": Column(type="date"),
        "End date": Column(type="date"),
        "name": Column(type="string"),
        "t": Column(type="boolean", role="target"),
    }
    rule = Rule.model_validate({"name": "fits", "check": check, **fields})
    return Project(name="p", task="binary", columns=columns, rules=[rule])


@pytest.mark.parametrize(
    ("check", "columns"),
    [
        ('"End date" >= line', ["line", "End date"]),
        ("C0 > 1 -- small ones are odd", ["c0"]),
        ("c0 BETWEEN 1 AND 9 OR name LIKE 'x%' OR year(line) IN (2000, 2001)", ["c0", "line", "name"]),
        ("CASE WHEN t THEN c0 % 2 = 0 ELSE length(name) < 3 END", ["c0", "name", "t"]),
        ("CAST(name AS INTEGER) > c0", ["c0", "name"]),
        ('"End date" <= line + INTERVAL 30 DAY AND name IS NOT NULL', ["line", "End date", "name"]),
    ],
)
def test_expressions_over_a_row_are_understood(check: str, columns: list[str]) -> None:
    good = project(check)
    assert faults(good) == []
    assert named_columns(good.rules[0], good) == columns


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("c0 >", "SQL cannot read it"),
        ("c0 > 1) OR (t", "SQL cannot read it"),
        ("c0 > 1; DROP TABLE x", "SQL cannot read it"),
        ("c0 > 1 FROM other", "without FROM"),
        ("c0 > 1, t", "one expression"),
        ("c0 > 1 ORDER BY 1", "one expression"),
        ("t AS good", "without a name"),
        ("ALL t", "SQL cannot read it"),
        ("c0 + 1", "true or false"),
        ("name > c0", "SQL cannot compute it"),
        ("1 = 1", "reads no column"),
        ("nam = 'x'", "did you mean name?"),
        ('name = "basic"', "single quotes"),
        ("c0 > (SELECT 1)", "a subquery is not allowed"),
        ("row_number() OVER () > c0", "a window function is not allowed"),
        ("COLUMNS(*) > 1", "* is not allowed"),
        ("c0 > ?", "a parameter is not allowed"),
        ("sum(c0) > 1", "the function sum is not allowed"),
        ("line < now()", "the function now is not allowed"),
        ("random() < c0", "the function random is not allowed"),
        ("read_text(name) = 'x'", "the function read_text is not allowed"),
        ("NOT " * 490 + "t", "nested too deeply"),
    ],
)
def test_what_reaches_beyond_the_row_is_refused(check: str, words: str) -> None:
    (fault,) = faults(project(check))
    assert fault[0] == ("rules", 0, "check")
    assert words in fault[2]


def test_a_fault_has_its_line(home: Home, shop: Project) -> None:
    file = home.project_file(shop.name)
    file.write_text(
        file.read_text()
        + "rules:\n  - {name: one, check: 'age > 1'}\n  - {name: one, check: 'agee > 1', columns: [x]}\n"
    )
    with pytest.raises(ProjectFileError) as raised:
        Project.load(file)
    assert [(problem.line, problem.field) for problem in raised.value.problems] == [
        (15, "rules.1.name"),
        (15, "rules.1.columns.0"),
        (15, "rules.1.check"),
    ]


def test_rows_that_break_a_rule_are_rejected_under_its_name(
    home: Home, state: State, shop: Project, drop: Callable[..., Path]
) -> None:
    rules = [
        Rule(name="members_spend", check="NOT member OR spend > 10", message="members spend more than 10"),
        Rule(name="number", check="CASE WHEN age > 0 THEN CAST(plan AS INTEGER) > 0 END", columns=["id"]),
    ]
    ruled = shop.model_copy(update={"rules": rules})
    drop(
        "one.csv",
        "a1,,9.5,basic,yes,2024-01-02,no",
        "a1,,11,basic,yes,,no",
        "a2,,,basic,yes,,no",
        "a3,2,50,plus,no,,yes",
    )
    (outcome,) = ingest_pending(home, state, ruled).files
    assert (outcome.rows, outcome.accepted, outcome.rejected) == (4, 2, 2)
    with ledger.rejects_file(home, "shop", outcome.id).open(newline="") as handle:
        found = [tuple(row.values()) for row in csv.DictReader(handle)]
    assert found == [
        ("2", "spend, member", "9.5, yes", "members_spend: members spend more than 10"),
        # A computation that fails has not passed.
        ("5", "id", "a3", "number: the row must have CASE WHEN age > 0 THEN CAST(plan AS INTEGER) > 0 END"),
    ]
    version = TableStore(home.tables("shop")).current("raw")
    assert version is not None
    # The rejected row did not take the id, and NULL passes.
    assert [row["_line"] for row in version.to_arrow().to_pylist()] == [3, 4]


def test_columns_of_the_data_may_be_called_like_those_of_ingestion(home: Home, state: State) -> None:
    ruled = project('"End date" >= line AND c0 > 0')
    inbox = home.inbox("p")
    inbox.mkdir(parents=True)
    (inbox / "one.csv.part").write_text(
        "name,c0,line,End date,t\nx,1,2024-01-02,2024-01-01,yes\ny,1,2024-01-02,2024-01-03,no\n"
        + "z,1,,,no\n" * 30
    )
    (inbox / "one.csv.part").rename(inbox / "one.csv")
    os.utime(inbox / "one.csv", (1, 1))
    (outcome,) = ingest_pending(home, state, ruled).files
    assert (outcome.accepted, outcome.rejected) == (31, 1)


def test_a_table_is_checked_against_the_rules(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "c0": pd.array([1, 2, None], dtype="Int64"),
            "line": pd.to_datetime(["2024-01-01"] * 3).date,
            "End date": pd.to_datetime(["2024-01-02", "2023-01-01", "2025-01-01"]).date,
            "name": ["a", "b", "c"],
            "t": [True, False, True],
        }
    )
    version = TableStore(tmp_path).publish_frame("raw", rows)
    assert check_table(version, project("c0 < 9")) == []
    assert check_table(version, project('"End date" >= line')) == [
        Violation("line, End date", "fits", 1, ["2024-01-01, 2023-01-01"])
    ]
    other = TableStore(tmp_path).publish_frame("raw", rows.drop(columns="c0"))
    assert [found.rule for found in check_table(other, project("c0 < 0"))] == ["column"]


def test_rules_are_written_and_read_back() -> None:
    ruled = project('"End date" >= line', message="ends: after its start", columns=["line"])
    assert "rules:\n  - {name: fits" in render_yaml(ruled)
