from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tidemill.errors import Corrupt, InvalidInput, NotFound
from tidemill.home import Home
from tidemill.store.compaction import compact
from tidemill.store.events import EventLog
from tidemill.store.history import find, recent
from tidemill.store.sql import connect, query, views
from tidemill.store.tables import TableStore

PROJECT = """
name: ward
task: {task}
columns:
  patient: {{type: string, role: id}}
  age: {{type: integer}}
  Weight: {{type: float}}
  Score: {{type: float}}
  label: {{type: string}}
  a/b "x": {{type: category}}
  seen: {{type: date}}
  at: {{type: datetime}}
  smoker: {{type: boolean}}
  outcome: {{type: {target}, role: target}}
"""

INPUT: dict[str, Any] = {
    "age": 40,
    "Weight": 70.5,
    "Score": 1,
    "label": "a'b",
    'a/b "x"': "red",
    "seen": "2026-02-03",
    "at": "2026-02-03T10:00:00+02:00",
    "smoker": True,
}


def make_home(root: Path, task: str = "binary", target: str = "category") -> Home:
    home = Home(root).ensure()
    file = home.project_file("ward")
    file.parent.mkdir(parents=True)
    file.write_text(PROJECT.format(task=task, target=target))
    return home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "it's a home")


def predict(home: Home, *events: dict[str, Any]) -> None:
    log = EventLog(home, "ward", "predictions")
    base = {"at": "2026-03-01T10:00:00.000+00:00", "project": "ward", "model_version": 2, "role": "champion",
            "request_id": "r", "entity_id": None, "input": INPUT, "label": "ill", "score": 0.5,
            "probabilities": {"ill": 0.5, "well": 0.5}, "flags": ["out_of_range:a:b"],
            "latency_ms": 1.0}  # fmt: skip
    log.append([base | event for event in events])
    log.close()


def tell_truth(home: Home, *events: dict[str, Any]) -> None:
    log = EventLog(home, "ward", "ground_truth")
    base = {"at": "2026-03-02T10:00:00.000+00:00", "project": "ward", "prediction_id": None, "entity_id": None,
            "observed_at": None, "source": "api"}  # fmt: skip
    log.append([base | {"id": f"t{number}"} | event for number, event in enumerate(events)])
    log.close()


def test_an_empty_project_has_its_log_views(home: Home) -> None:
    with connect(home, "ward") as con:
        assert views(con) == ["challenger", "ground_truth", "outcomes", "predictions"]
    assert query(home, "ward", "SELECT count(*) FROM outcomes").rows == [[0]]
    assert list(home.run.glob("sql-*")) == []


@pytest.mark.parametrize("compacted", [False, True])
def test_inputs_are_columns_with_the_contracts_types(home: Home, compacted: bool) -> None:
    predict(home, {"id": "p1"}, {"id": "p2", "input": {"age": "many", "seen": 3, "smoker": None}})
    if compacted:
        compact(home, "ward", "predictions")
    result = query(home, "ward", "SELECT * FROM predictions ORDER BY id")
    first = dict(zip(result.columns, result.rows[0], strict=True))
    assert [first[name] for name in ("age", "Weight", "input_Score", "input_label", 'a/b "x"', "smoker")] == [
        40, 70.5, 1.0, "a'b", "red", True,
    ]  # fmt: skip
    assert str(first["seen"]) == "2026-02-03"
    assert str(first["input_at"]) == "2026-02-03 08:00:00"
    assert str(first["at"]) == "2026-03-01 10:00:00"
    flag = {"field": "a:b", "problem": "out_of_range", "action": "flagged"}
    assert first["flags"] == [flag | {"found": None}]
    assert recent(home, "ward", "predictions")[0]["flags"] == [flag]
    assert (find(home, "ward", "p1") or {})["flags"] == [flag]
    second = dict(zip(result.columns, result.rows[1], strict=True))
    assert [second[name] for name in ("age", "seen", "smoker", "Weight")] == [None] * 4


def test_flags_are_structures(home: Home) -> None:
    flag = {"field": "age", "problem": "out_of_range", "action": "imputed", "found": "200"}
    predict(home, {"id": "p1", "flags": [flag]}, {"id": "p2", "flags": []})
    assert query(home, "ward", "SELECT flags FROM predictions ORDER BY id").rows == [[[flag]], [[]]]
    assert [one["flags"] for one in recent(home, "ward", "predictions")] == [[flag], []]


def test_current_tables_are_views(home: Home) -> None:
    store = TableStore(home.tables("ward"))
    version = store.publish_frame("raw", pd.DataFrame({"_row": ["a", "b"], "age": [1, 2]}))
    with store.draft("raw") as draft:
        draft.write(pd.DataFrame({"_row": ["c"], "age": [3]}))
        store.publish("raw", draft, inherit=version)
    assert query(home, "ward", "SELECT sum(age) FROM raw").rows == [[6]]
    Path(version.paths[0]).unlink()
    with pytest.raises(Corrupt):
        query(home, "ward", "SELECT sum(age) FROM raw")


def test_outcomes_take_the_newest_truth_by_prediction_and_then_by_entity(home: Home) -> None:
    predict(
        home,
        {"id": "p1", "entity_id": "e1"},
        {"id": "p2", "entity_id": "e1"},
        {"id": "p3", "entity_id": "e3"},
    )
    tell_truth(
        home,
        {"prediction_id": "p1", "label": "ill", "observed_at": "2026-03-05T00:00:00Z"},
        {"prediction_id": "p1", "label": "well", "observed_at": "2026-03-04T00:00:00Z"},
        {"entity_id": "e1", "label": "well"},
        {"prediction_id": "unknown", "label": "well"},
    )
    rows = query(home, "ward", "SELECT id, predicted, truth, correct FROM outcomes ORDER BY id").rows
    assert rows == [["p1", "ill", "ill", True], ["p2", "ill", "well", False], ["p3", "ill", None, None]]


def test_a_regression_has_numbers_and_errors(tmp_path: Path) -> None:
    home = make_home(tmp_path, "regression", "float")
    predict(home, {"id": "p1", "label": 3.5, "score": None, "probabilities": None})
    tell_truth(home, {"prediction_id": "p1", "label": 3})
    assert query(home, "ward", "SELECT predicted, truth, error FROM outcomes").rows == [[3.5, 3.0, 0.5]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nonsense FROM predictions",
        "SELECT 'unclosed",
        "",
        "SELECT 1; SELECT 2",
        "SELECT 1) UNION (SELECT 2",
        "CREATE TABLE x AS SELECT 1",
        "DROP VIEW raw",
        "SET memory_limit = '4GB'",
        "SET lock_configuration = false",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH '{out}' AS other",
        "COPY raw TO '{out}'",
        "COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)",
        "WITH x AS (COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)) SELECT 1",
        "WITH x AS (COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)) FROM x; --",
        "WITH x AS (INSERT INTO log.predictions_open (id) VALUES ('x') RETURNING id) FROM x",
        "SELECT * FROM query('WITH x AS (COPY (SELECT 1) TO ''{part}'' (FORMAT parquet)) FROM x')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM read_blob('{home}/state.db')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT getenv('HOME')",
        "SELECT * FROM home",
        "PRAGMA enable_profiling = 'json'",
        "CALL enable_logging(storage = 'file', storage_path = '{out}')",
    ],
)
def test_sql_that_is_wrong_or_reaches_out_is_refused(home: Home, tmp_path: Path, sql: str) -> None:
    version = TableStore(home.tables("ward")).publish_frame("raw", pd.DataFrame({"age": [1, 2]}))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    part = version.paths[0].replace("'", "''")
    with pytest.raises(InvalidInput) as caught:
        query(home, "ward", sql.replace("{part}", part).replace("{out}", str(tmp_path / "out")).replace(
            "{home}", str(home.root).replace("'", "''")))  # fmt: skip
    assert caught.value.remedy
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_wrong_sql_names_the_views(home: Home) -> None:
    with pytest.raises(InvalidInput, match="predictions"):
        query(home, "ward", "SELECT * FROM predictons")


@pytest.mark.parametrize("sql", ["VALUES (1)", "SELECT 1 -- one", "SELECT 1;", "WITH a AS (SELECT 1) FROM a"])
def test_ordinary_sql_is_answered(home: Home, sql: str) -> None:
    assert query(home, "ward", sql).rows == [[1]]


@pytest.mark.parametrize("sql", ["SUMMARIZE predictions", "DESCRIBE predictions", "SHOW TABLES"])
def test_views_can_be_described(home: Home, sql: str) -> None:
    assert query(home, "ward", sql).rows


def test_rows_keep_their_order_and_stop_at_the_limit(home: Home) -> None:
    result = query(home, "ward", "SELECT i FROM range(100) t(i) ORDER BY i DESC", limit=3)
    assert (result.rows, result.truncated) == ([[99], [98], [97]], True)


def test_values_are_plain(home: Home) -> None:
    sql = (
        "SELECT 1.50::DECIMAL(9,2), uuid() IS NOT NULL, INTERVAL 1 MINUTE, {'a': [1::HUGEINT]}, '\\x41'::BLOB"
    )
    assert query(home, "ward", sql).rows == [[1.5, True, 60.0, {"a": [1]}, "41"]]


def test_a_query_without_end_is_stopped(home: Home) -> None:
    with pytest.raises(InvalidInput, match="too long"):
        query(home, "ward", "SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3", seconds=0.3)


def test_an_unknown_project_is_told(home: Home) -> None:
    with pytest.raises(NotFound):
        query(home, "nobody", "SELECT 1")
