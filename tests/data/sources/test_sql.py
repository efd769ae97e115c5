"""Queries as sources, against a real PostgreSQL (and SQLite for what is told from values)."""

import io
import json
import logging
import os
import sqlite3
import time
import tracemalloc
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from source_servers import Postgres, free_port

from tidemill.data import ledger
from tidemill.data.ingest import ingest_pending
from tidemill.data.sources.fetch import Look, connect, look
from tidemill.data.sources.seen import overview
from tidemill.errors import InvalidInput, SourceAway
from tidemill.home import Home
from tidemill.project import Project
from tidemill.project_sources import SqlSource
from tidemill.settings import Settings
from tidemill.store.state import State
from tidemill.store.tables import TableStore

COLUMNS = "id text, age int, spend numeric(10,2), plan text, member boolean, seen date, churn text, n bigint"
SELECT = "SELECT id, age, spend, plan, member, seen, churn FROM customers"


@pytest.fixture
def database(postgres: Postgres, home: Home) -> Postgres:
    """An empty table `customers`, and the secret `db`."""
    postgres.run(f"DROP TABLE IF EXISTS customers; CREATE TABLE customers ({COLUMNS})")
    secret = home.secrets / "db.yaml"
    secret.write_text(f"password: {json.dumps(postgres.password)}\n")
    secret.chmod(0o600)
    return postgres


def source(database: Postgres, query: str = f"{SELECT} ORDER BY id", **fields) -> SqlSource:
    given = {"url": database.url, "secret": "db", **fields}
    return SqlSource(kind="sql", name="orders", query=query, **given)


def add(database: Postgres, first: int, last: int) -> None:
    database.run(
        "INSERT INTO customers SELECT 'c' || lpad(i::text, 9, '0'), 20 + i % 50, i + 0.25, 'basic', true,"
        f" DATE '2024-01-01' + (i % 300)::int, 'no', i FROM generate_series({first}, {last}) AS i"
    )


def look_once(home: Home, state: State, project: Project, asked: SqlSource) -> Look:
    return look(home, state, project, asked, Settings(source_timeout=3))


def rows_of(home: Home) -> list[dict]:
    (file,) = home.inbox("shop").glob("orders__*.parquet")
    return pq.read_table(file).to_pylist()


def test_a_result_becomes_rows_of_the_table(database, home: Home, state: State, shop: Project) -> None:
    add(database, 1, 3)
    found = look_once(home, state, shop, source(database))
    assert found.error is None
    (name,) = found.taken
    assert name.startswith("orders-2")
    assert name.endswith("Z.parquet")
    project = shop.model_copy(update={"sources": [source(database)]})
    (file,) = ingest_pending(home, state, project).files
    assert (file.status, file.accepted, file.rejected) == ("accepted", 3, 0)
    version = TableStore(home.tables("shop")).require("raw")
    assert version.sources[0]["origin"] == {"kind": "sql", "source": "orders", "name": "result"}
    rows = pq.read_table(version.paths[0]).to_pylist()
    assert [row["spend"] for row in rows] == [1.25, 2.25, 3.25]


def test_the_same_result_is_taken_once(database, home: Home, state: State, shop: Project) -> None:
    add(database, 1, 3)
    assert len(look_once(home, state, shop, source(database)).taken) == 1
    again = look_once(home, state, shop, source(database))
    assert (again.taken, again.known) == ([], 1)
    add(database, 4, 4)
    assert len(look_once(home, state, shop, source(database)).taken) == 1
    shown = overview(state, shop.model_copy(update={"sources": [source(database)]}))
    assert shown[0]["taken"] == 2


def test_an_empty_result_is_nothing(database, home: Home, state: State, shop: Project) -> None:
    found = look_once(home, state, shop, source(database))
    assert (found.state, found.taken, found.waiting) == ("ok", [], 0)
    assert list(home.inbox("shop").iterdir()) == []


def test_a_watermark_takes_each_row_once(database, home: Home, state: State, shop: Project) -> None:
    asked = source(database, "SELECT * FROM customers -- all of it", watermark="n")
    project = Project.model_validate(
        shop.model_dump(exclude_unset=True)
        | {
            "columns": shop.model_dump()["columns"] | {"n": {"type": "integer"}},
            "sources": [asked.model_dump()],
        }
    )
    total = 0
    for first, last in ((1, 5), (6, 6), (7, 9)):
        add(database, first, last)
        assert len(look_once(home, state, project, asked).taken) == 1
        # Not yet ingested: going on would pass over what may be refused.
        waiting = look_once(home, state, project, asked)
        assert (waiting.taken, waiting.waiting) == ([], 1)
        (file,) = ingest_pending(home, state, project).files
        assert (file.accepted, file.rejected) == (last - first + 1, 0)
        total += last - first + 1
        idle = look_once(home, state, project, asked)
        assert (idle.taken, idle.waiting, idle.error) == ([], 0, None)
    assert TableStore(home.tables("shop")).require("raw").rows == total


def test_rows_of_a_refused_result_are_asked_for_again_when_the_contract_changed(
    database, home: Home, state: State, shop: Project
) -> None:
    add(database, 1, 3)
    query = "SELECT id, age, spend, plan, member, seen, churn, n FROM customers"
    asked = source(database, query, watermark="n")
    text = home.project_file("shop").read_text() + (
        f"sources: [{{kind: sql, name: orders, url: '{database.url}', query: '{query}', watermark: n}}]\n"
    )
    home.project_file("shop").write_text(text)
    refusing = Project.load(home.project_file("shop"))
    assert len(look_once(home, state, refusing, asked).taken) == 1
    assert [file.status for file in ingest_pending(home, state, refusing).files] == ["refused"]  # n is new
    add(database, 4, 4)
    held = look_once(home, state, refusing, asked)
    assert held.state == "wrong"
    assert held.error is not None
    assert "refused" in held.error["title"]
    home.project_file("shop").write_text(text.replace("rejects:", "  n: {type: integer}\nrejects:"))
    later = time.time() + 5
    os.utime(home.project_file("shop"), (later, later))
    mended = Project.load(home.project_file("shop"))
    assert len(look_once(home, state, mended, asked).taken) == 1
    assert [file.accepted for file in ingest_pending(home, state, mended).files] == [4]
    assert shop.name == mended.name


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", "(1), (2)"),
        ("numeric", "(1.5), (2.5)"),
        ("timestamptz", "('2024-01-01 10:00+02'), ('2024-01-01 10:00+01')"),
        ("timestamp", "('2024-01-01 10:00:00.000001'), ('2024-01-01 10:00:00.000002')"),
        ("date", "('2024-01-01'), ('2024-01-02')"),
        ("text", "('a'), ('b')"),
    ],
)
def test_watermarks_of_every_type_come_back_as_they_were(
    kind: str, values: str, database, home: Home, state: State, shop: Project
) -> None:
    database.run(f'DROP TABLE IF EXISTS marks; CREATE TABLE marks ("M k" {kind})')
    database.run(f"INSERT INTO marks VALUES {values}, (NULL)")
    asked = source(database, 'SELECT "M k" FROM marks', watermark="M k")
    assert len(look_once(home, state, shop, asked).taken) == 1
    assert len(rows_of(home)) == 2
    (record,) = ledger.list_files(state, "shop")
    ledger.finish(state, "shop", record["id"], "accepted", rows=2, accepted=2, rejected=0)
    for file in home.inbox("shop").iterdir():
        file.unlink()
    assert look_once(home, state, shop, asked).taken == []


def test_types_are_the_databases_even_where_the_first_rows_are_empty(
    database, home: Home, state: State, shop: Project
) -> None:
    database.run(
        "DROP TABLE IF EXISTS wide; CREATE TABLE wide AS SELECT i, CASE WHEN i > 6000 THEN i END AS late,"
        " CASE WHEN i > 6000 THEN i + 0.125 END AS exact, CASE WHEN i > 6000 THEN i::float8 END AS float,"
        " i % 2 = 0 AS even, now() AS at, NULL::text AS never, gen_random_uuid() AS uid"
        " FROM generate_series(1, 7000) AS i"
    )
    found = look_once(home, state, shop, source(database, "SELECT * FROM wide ORDER BY i"))
    assert found.error is None
    rows = rows_of(home)
    assert len(rows) == 7000
    assert (rows[0]["late"], rows[-1]["late"], rows[-1]["exact"]) == (None, 7000, "7000.125")
    assert (rows[-1]["float"], rows[-1]["even"], rows[-1]["never"]) == (7000.0, True, None)
    assert rows[0]["at"].tzinfo is not None


def test_odd_but_honest_queries_are_run_as_they_are(
    database, home: Home, state: State, shop: Project
) -> None:
    query = (
        "WITH a AS (SELECT '12:30' AS t, 50::int AS p) SELECT t, p, p % 7 AS r FROM a WHERE t LIKE '%:3_' ;"
    )
    found = look_once(home, state, shop, source(database, query))
    assert found.error is None
    assert rows_of(home) == [{"t": "12:30", "p": 50, "r": 1}]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nextval('counter') AS n",
        "SELECT set_config('transaction_read_only', 'off', false), nextval('counter') AS n",
        "SELECT pg_sleep(5) AS n",
        "SELECT 1 AS a, 2 AS a",
        "SELECT nothing FROM nowhere",
        "SELECT ARRAY[1, 2] AS list",
    ],
)
def test_what_changes_or_hangs_or_is_no_table_is_refused(
    query: str, database, home: Home, state: State, shop: Project
) -> None:
    database.run("DROP SEQUENCE IF EXISTS counter; CREATE SEQUENCE counter")
    began = time.monotonic()
    found = look_once(home, state, shop, source(database, query, timeout=1))
    assert time.monotonic() - began < 4
    assert found.state == "wrong", found
    assert list(home.inbox("shop").iterdir()) == []
    database.run("DO $$ BEGIN IF (SELECT is_called FROM counter) THEN RAISE 'it was changed'; END IF; END $$")


def test_memory_stays_small_however_long_the_result(database, home: Home) -> None:
    class Counting:
        written = 0

        def write(self, data: bytes, /) -> int:
            self.written += len(data)
            return len(data)

    query = "SELECT i, md5(i::text) || repeat('x', 400) AS filler FROM generate_series(1, 60000) AS i"
    with connect(home, source(database, query), 3.0, None) as opened:
        sink = Counting()
        (found,) = opened.find()
        tracemalloc.start()
        opened.pour(found, sink)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 15e6  # the result's text alone is 26 MB
    assert sink.written > 1e6


@pytest.mark.parametrize("way", ["wrong password", "no server", "no such driver", "bad query"])
def test_no_message_and_no_log_holds_a_password(
    way: str, database, home: Home, state: State, shop: Project, caplog: pytest.LogCaptureFixture, capfd
) -> None:
    caplog.set_level(logging.DEBUG)
    word = "Sesame-4711"
    secret = home.secrets / "db.yaml"
    secret.write_text(f"password: {word}\n")
    fields = {
        "wrong password": {},
        "no server": {"url": f"postgresql://owner@127.0.0.1:{free_port()}/postgres"},
        "no such driver": {"url": "oracle://owner@127.0.0.1/postgres"},
        "bad query": {"query": f"SELECT '{word}' FROM nowhere"},
    }[way]
    if way == "bad query":
        secret.write_text(f"password: {json.dumps(database.password)}\n")
        word = database.password
        fields = {"query": "SELECT x FROM nowhere"}
    found = look_once(home, state, shop, source(database, **fields))
    assert found.state == ("away" if way == "no server" else "wrong")
    told = [str(found.error), caplog.text, *capfd.readouterr(), str(overview(state, shop))]
    with (
        pytest.raises((InvalidInput, SourceAway)) as raised,
        connect(home, source(database, **fields), 3.0, None) as opened,
    ):
        opened.pour(opened.find()[0], io.BytesIO())
    told += [str(raised.value), repr(raised.value.__cause__)]
    for text in told:
        assert word not in text


def test_a_password_in_the_url_is_refused_and_not_repeated(shop: Project) -> None:
    for url in (
        "postgresql://me:Sesame-4711@h/d",
        "postgresql://h/d?password=Sesame-4711",
        "//:Sesame-4711@[",
    ):
        text = (
            "name: shop\ntask: binary\ncolumns: {a: {type: integer}, b: {type: category, role: target}}\n"
            f"sources: [{{kind: sql, name: orders, url: '{url}', query: SELECT 1}}]\n"
        )
        with pytest.raises(InvalidInput) as refused:
            Project.parse(text, Path("shop/project.yaml"))
        assert "Sesame" not in str(refused.value)
        assert "sources.0.url" in str(refused.value)
    assert shop.name == "shop"


def test_a_database_that_is_away_comes_back(database, home: Home, state: State, shop: Project) -> None:
    add(database, 1, 2)
    database.stop()
    try:
        found = look_once(home, state, shop, source(database))
        assert (found.state, found.taken) == ("away", [])
    finally:
        database.start()
    found = look_once(home, state, shop, source(database))
    assert (found.state, len(found.taken)) == ("ok", 1)


def test_sqlite_is_read_and_never_written(home: Home, state: State, shop: Project, tmp_path: Path) -> None:
    file = tmp_path / "lab.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b REAL, c TEXT, d)")
        connection.execute("INSERT INTO t VALUES (1, 1.5, 'x', NULL), (2, NULL, 'y', NULL)")
    connection.close()
    asked = SqlSource(
        kind="sql", name="orders", url=f"sqlite:///{file}", query="SELECT * FROM t", watermark="a"
    )
    assert len(look_once(home, state, shop, asked).taken) == 1
    assert rows_of(home) == [
        {"a": 1, "b": 1.5, "c": "x", "d": None},
        {"a": 2, "b": None, "c": "y", "d": None},
    ]
