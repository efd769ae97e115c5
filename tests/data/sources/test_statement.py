"""One SELECT, and nothing that changes."""

import pytest

from tidemill.data.sources.statement import fault_of, stripped


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        " select a -- ; drop\nfrom t ;",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "SELECT ';' AS a, 'it''s; delete' AS b",
        'SELECT "update", "x;y" FROM t',
        "SELECT updated_at, created, is_deleted FROM t /* delete ; */",
        "SELECT $$; drop table t$$ AS x",
        "/* why */ SELECT 1",
        "-- why\nSELECT 1",
    ],
)
def test_one_select_is_allowed(query: str) -> None:
    assert fault_of(query) is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("DELETE FROM t", "SELECT"),
        ("", "SELECT"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT 1; DROP TABLE t", "one statement"),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "DELETE"),
        ("SELECT * INTO copy FROM t", "INTO"),
        ("SELECT * FROM t FOR UPDATE", "UPDATE"),
        ("(SELECT 1)", "SELECT"),
        ("EXPLAIN ANALYZE DELETE FROM t", "SELECT"),
        ("COPY t TO PROGRAM 'x'", "SELECT"),
        ("SELECT 'a' -- '\n; DELETE FROM t -- '", "one statement"),
    ],
)
def test_anything_else_is_refused(query: str, words: str) -> None:
    fault = fault_of(query)
    assert fault is not None
    assert words in fault


def test_the_semicolon_at_the_end_goes() -> None:
    assert stripped(" SELECT 1 ; \n") == "SELECT 1"
