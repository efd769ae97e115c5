"""SQL over a project: one DuckDB in memory with a view on every table and on the log, sealed against all else.

Here belong the views and the seal. The bytes beneath belong to `store/tables.py` and `store/history.py`; no
`.duckdb` file is ever made, because one process would hold it against all others.

The seal, because people and programs send SQL here: no file can be read but the Parquet files behind the views,
none can be written, no extension loaded, no setting changed, memory is bounded and a query that takes too long is
interrupted. DuckDB lets `WITH x AS (COPY ... TO 'file')` pass as a SELECT and `allowed_paths` allow writing too,
so each query is first bound as a subquery, where DuckDB refuses every statement that changes anything.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import duckdb

from tidemill.errors import Corrupt, InvalidInput, TidemillError
from tidemill.home import Home
from tidemill.project import Project, load_project
from tidemill.settings import load_settings
from tidemill.store import history
from tidemill.store.events import STREAMS
from tidemill.store.tables import TableStore, TableVersion

PREDICTION_COLUMNS = (
    "id",
    "at",
    "logged_at",  # the same: AT is a reserved word in SQL and needs quotes, which nobody guesses
    "model_version",
    "role",
    "request_id",
    "entity_id",
    "label",
    "score",
    "probabilities",
    "flags",
    "latency_ms",
)

# What `outcomes` adds: a feature of such a name gets the prefix everywhere, to be called the same in all views.
OUTCOME_COLUMNS = ("predicted", "truth", "truth_at", "correct", "error")

SQL_TYPES = {
    "integer": "BIGINT",
    "float": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "datetime": "TIMESTAMP",
}


@dataclass(frozen=True)
class QueryResult:
    """Rows as plain Python values; `truncated` when there were more than the limit."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool = False


def connect(
    home: Home, name: str, *, project: Project | None = None, memory: str | None = None, asked: str = ""
) -> duckdb.DuckDBPyConnection:
    """A sealed DuckDB connection with the views of project `name`; close it when done.

    Views: every current table (`raw`, `labels`, `features` ...), `predictions` (one column per feature, typed by
    the contract; `input_<name>` where a feature has the name of a log column), `ground_truth`, `outcomes`
    (predictions with the newest truth known for them), and `challenger` (what one said in shadow of a prediction's
    record, or why a canary did not answer it). Times are TIMESTAMP in UTC. It shows the moment of the
    call. A kept version of a table (`raw_v3`) has a view when its name stands in the text `asked`. `memory`
    defaults to the setting duckdb_memory. Raises NotFound, ProjectFileError, Corrupt.
    """
    project = project or load_project(home, name)
    home.run.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": memory or load_settings().duckdb_memory,
            "threads": 2,
            "temp_directory": str(home.run / f"sql-{uuid.uuid4().hex}"),
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        },
    )
    try:
        con.execute("SET TimeZone = 'UTC'")
        store = TableStore(home.tables(name))
        paths = _table_views(con, store)
        paths += _version_views(con, store, asked)
        paths += _log_views(con, home, name, project)
        _seal(con, paths)
    except BaseException:
        con.close()
        raise
    return con


def query(
    home: Home, name: str, sql: str, *, limit: int | None = 10_000, seconds: float = 60.0
) -> QueryResult:
    """The answer to one SELECT over the views of project `name`.

    At most `limit` rows (None: all), and no longer than `seconds`. Raises InvalidInput with DuckDB's message for
    SQL that is wrong, that changes anything, or that takes too long.
    """
    con = connect(home, name, asked=sql)
    timer = threading.Timer(seconds, con.interrupt)
    timer.daemon = True
    timer.start()
    try:
        statement = _only_select(con, sql)
        result = con.execute(statement)
        columns = [column[0] for column in result.description]
        rows = result.fetchall() if limit is None else result.fetchmany(limit + 1)
    except duckdb.Error as error:
        raise _refusal(con, error, seconds, version_names(TableStore(home.tables(name)))) from error
    finally:
        timer.cancel()
        con.close()
    truncated = limit is not None and len(rows) > limit
    return QueryResult(columns, [[plain(value) for value in row] for row in rows[:limit]], truncated)


def views(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the views that `connect` made, sorted."""
    found = con.execute(
        "SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main' ORDER BY 1"
    ).fetchall()
    return [row[0] for row in found]


def plain(value: Any) -> Any:
    """`value` without the types that only databases have."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def identifier(name: str) -> str:
    """`name` quoted as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` quoted as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _table_views(con: duckdb.DuckDBPyConnection, store: TableStore) -> list[str]:
    paths: list[str] = []
    for table in store.names():
        version = store.require(table)
        if version.paths:
            _table_view(con, version)
            paths += version.paths
    return paths


def version_names(store: TableStore) -> list[str]:
    """What the views of the kept versions are called: `raw_v1`, `raw_v2` ..., oldest first."""
    return [f"{table}_v{number}" for table in store.names() for number in store.versions(table)]


def _version_views(con: duckdb.DuckDBPyConnection, store: TableStore, asked: str) -> list[str]:
    """Views on the versions named in `asked`: a table with a thousand of them must not cost a thousand views."""
    paths: list[str] = []
    taken = {name.lower() for name in store.names()}
    for word in sorted({word.lower() for word in re.findall(r"(?i)\w+_v[0-9]+", asked)} - taken):
        table, number = word.rsplit("_v", 1)
        found = next((name for name in store.names() if name.lower() == table), None)
        if found is None or len(number) > 9 or int(number) not in store.versions(found):
            continue  # DuckDB says that there is no such view, and the answer lists those that there are.
        version = store.version(found, int(number))
        if version.paths:
            _table_view(con, version, word)
            paths += version.paths
    return paths


def _table_view(con: duckdb.DuckDBPyConnection, version: TableVersion, name: str | None = None) -> None:
    listed = ", ".join(literal(path) for path in version.paths)
    try:
        con.execute(
            f"CREATE VIEW {identifier(name or version.table)} AS "
            f"SELECT * FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
        )
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise Corrupt(
            f"A file of {version.id} cannot be read",
            detail=str(error).splitlines()[0],
            remedy=f"Restore {version.folder} from a backup, or publish the table again from its source.",
        ) from error


def _log_views(con: duckdb.DuckDBPyConnection, home: Home, name: str, project: Project) -> list[str]:
    logs = [history.read(home, name, stream, con) for stream in STREAMS]
    label = _label_sql(project)
    con.execute(f"CREATE VIEW predictions AS {_predictions_sql(project, label)}")
    con.execute(
        'CREATE VIEW ground_truth AS SELECT id, "at", "at" AS logged_at, prediction_id, entity_id, '
        f'{label} AS label, coalesce(observed_at, "at") AS observed_at, source FROM log.ground_truth'
    )
    con.execute(
        'CREATE VIEW challenger AS SELECT id, "at", "at" AS logged_at, model_version, role, request_id, entity_id, '
        f"prediction_id, {label} AS label, score, probabilities, error, latency_ms FROM log.challenger"
    )
    con.execute(f"CREATE VIEW outcomes AS {_outcomes_sql(project)}")
    return [path for log in logs for path in log.paths]


def _label_sql(project: Project) -> str:
    text = "json_extract_string(label, '$')"
    return text if project.is_classification else f"TRY_CAST({text} AS DOUBLE)"


def feature_names(project: Project) -> dict[str, str]:
    """Feature -> its column in `predictions`; DuckDB's names do not know capitals from small letters."""
    taken = {*PREDICTION_COLUMNS, *OUTCOME_COLUMNS}
    names: dict[str, str] = {}
    for feature in project.feature_columns:
        name = feature if feature.lower() not in taken else f"input_{feature}"
        number = 2
        while name.lower() in taken:
            name = f"input_{feature}_{number}"
            number += 1
        taken.add(name.lower())
        names[feature] = name
    return names


# Flags used to be texts such as `out_of_range:age`; in old rows they are still.
_OLD_FLAGS = "from_json(flags, '[\"VARCHAR\"]')"
_NEW_FLAGS = (
    """from_json(flags, '[{"field":"VARCHAR","problem":"VARCHAR","action":"VARCHAR","found":"VARCHAR"}]')"""
)
_FLAGS = (
    f"""CASE WHEN flags LIKE '["%' THEN list_transform({_OLD_FLAGS}, lambda old: """
    "{'field': regexp_replace(old, '^[^:]*:', ''), 'problem': split_part(old, ':', 1), 'action': 'flagged', "
    f"'found': CAST(NULL AS VARCHAR)}}) ELSE {_NEW_FLAGS} END"
)


def _predictions_sql(project: Project, label: str) -> str:
    special = {
        "logged_at": '"at" AS logged_at',
        "label": f"{label} AS label",
        "flags": f"{_FLAGS} AS flags",
    }
    own = ", ".join(special.get(name, identifier(name)) for name in PREDICTION_COLUMNS)
    # One parse per row for all features. Fields of a struct do not know capitals either: number them.
    features = project.feature_columns
    pointers = ", ".join(literal(_pointer(name)) for name in features)
    columns = ", ".join(
        f"{_feature_sql(index, features[feature].type)} AS {identifier(column)}"
        for index, (feature, column) in enumerate(feature_names(project).items(), start=1)
    )
    inner = f"SELECT *, json_extract_string(input, [{pointers}]) AS input_values FROM log.predictions"
    return f"SELECT {own}, {columns} FROM ({inner})"


def _feature_sql(index: int, kind: str) -> str:
    value = f"input_values[{index}]"
    if kind == "datetime":
        return f"TRY_CAST({value} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
    wanted = SQL_TYPES.get(kind)
    return f"TRY_CAST({value} AS {wanted})" if wanted else value


def _pointer(name: str) -> str:
    """`name` as a JSON pointer (RFC 6901)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _outcomes_sql(project: Project) -> str:
    verdict = "predicted = truth AS correct" if project.is_classification else "predicted - truth AS error"
    return f"""
        WITH known AS (SELECT * FROM ground_truth WHERE label IS NOT NULL),
        by_prediction AS (
            SELECT prediction_id, label, observed_at FROM known WHERE prediction_id IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY observed_at DESC, "at" DESC) = 1
        ),
        by_entity AS (
            SELECT entity_id, label, observed_at FROM known WHERE prediction_id IS NULL AND entity_id IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY entity_id ORDER BY observed_at DESC, "at" DESC) = 1
        ),
        joined AS (
            SELECT p.* RENAME (label AS predicted),
                   CASE WHEN i.prediction_id IS NULL THEN e.label ELSE i.label END AS truth,
                   CASE WHEN i.prediction_id IS NULL THEN e.observed_at ELSE i.observed_at END AS truth_at
            FROM predictions p
            LEFT JOIN by_prediction i ON i.prediction_id = p.id
            LEFT JOIN by_entity e ON e.entity_id = p.entity_id
        )
        SELECT *, {verdict} FROM joined
    """


def _seal(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    listed = ", ".join(literal(path) for path in paths)
    con.execute(f"SET allowed_paths = [{listed}]")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def _only_select(con: duckdb.DuckDBPyConnection, sql: str) -> str:
    """`sql` when it is one SELECT (or VALUES, DESCRIBE, SUMMARIZE, SHOW) that changes nothing."""
    statements = con.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InvalidInput(
            "Only one SELECT is answered",
            detail="the SQL is empty, has several statements, or is not a SELECT",
            remedy="Send a single SELECT, SUMMARIZE or DESCRIBE; data changes by sending files and predictions.",
        )
    text = statements[0].query.strip().rstrip(";")
    con.execute(f"EXPLAIN SELECT * FROM (\n{text}\n)")
    return text


def _refusal(
    con: duckdb.DuckDBPyConnection, error: duckdb.Error, seconds: float, versions: Sequence[str]
) -> TidemillError:
    message = str(error).strip()
    if isinstance(error, duckdb.InterruptException):
        return InvalidInput(
            "The query took too long",
            detail=f"it was stopped after {seconds:g} s",
            remedy="Ask for fewer rows or columns.",
        )
    return InvalidInput(
        "The SQL cannot be answered",
        detail=message,
        remedy=f"The views are: {', '.join(views(con))}. `DESCRIBE name` lists a view's columns."
        + (f" Kept versions of tables: {_listed(versions)}." if versions else ""),
        views=views(con),
        versions=list(versions),
    )


def _listed(names: Sequence[str], most: int = 12) -> str:
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")
