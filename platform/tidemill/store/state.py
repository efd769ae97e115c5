"""Control state: the few facts that several processes change and must agree on.

Here belong the tables and how a transaction is taken. The rules over them belong to the modules that own them:
`data/ledger.py` (files), `labels/ledger.py` (tasks and answers), `serve/deployment.py`, `monitor/alerts.py`,
`ops/keys.py`, `ops/cancellations.py`, `store/idempotency.py`, `store/audit.py`. What can be derived from tables,
bundles or logs on disk is not kept here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from tidemill.home import Home

metadata = sa.MetaData()

READ_ONLY = "tidemill_read_only"

files = sa.Table(
    "files",
    metadata,
    sa.Column(
        "id", sa.String, primary_key=True
    ),  # first 16 hex digits of the SHA-256, unique within a project
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("origin", sa.String, nullable=False),  # api | inbox | share | sftp | s3 | sql
    sa.Column("status", sa.String, nullable=False),  # received | accepted | refused
    sa.Column("received_at", sa.String, nullable=False),
    sa.Column("finished_at", sa.String),
    sa.Column("dataset_version", sa.Integer),
    sa.Column("rows", sa.Integer),
    sa.Column("accepted", sa.Integer),
    sa.Column("rejected", sa.Integer),
    sa.Column("problem", sa.JSON),
)

remote_objects = sa.Table(
    "remote_objects",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),  # what the source calls it
    sa.Column("signature", sa.String, primary_key=True),  # size, time and etag, as they were seen
    sa.Column("first_seen", sa.Float, nullable=False),  # seconds since 1970, by our clock
    sa.Column("sha256", sa.String, index=True),  # set before the file appears in the inbox
    sa.Column("taken_at", sa.String),  # set after that
    sa.Column("watermark", sa.JSON),
)

source_states = sa.Table(
    "source_states",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("state", sa.String, nullable=False),  # ok | away | wrong
    sa.Column("since", sa.String, nullable=False),
    sa.Column("last_look", sa.String, nullable=False),
    sa.Column("last_ok", sa.String),
    sa.Column("waiting", sa.Integer, nullable=False),
    sa.Column("error", sa.JSON),
    sa.Column("problems", sa.JSON, nullable=False),  # of single files
)

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("champion", sa.Integer, nullable=False),
    sa.Column("previous", sa.Integer),
    sa.Column("changed_at", sa.String, nullable=False),
    sa.Column("challenger", sa.Integer),
    sa.Column("stage", sa.String),  # shadow | canary; null without a challenger
    sa.Column("percent", sa.Float),  # of a canary
    sa.Column("salt", sa.String),  # with an entity's id it decides who belongs to the canary
    sa.Column("paused", sa.Boolean),
    sa.Column("since", sa.Integer),  # the revision that brought the challenger to its stage
    sa.Column("since_at", sa.String),
)

deployment_events = sa.Table(
    "deployment_events",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    # deploy | promote | rollback | shadow | canary | pause | resume | withdraw
    sa.Column("action", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("percent", sa.Float),
    sa.Column("detail", sa.JSON),  # of a change made by a policy: what it found
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", sa.String, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),  # drift | performance | data | service
    sa.Column("subject", sa.String, nullable=False),  # what it is about: one open alert per subject
    sa.Column("state", sa.String, nullable=False),  # open | acknowledged | resolved
    sa.Column("severity", sa.String, nullable=False),  # warning | critical
    sa.Column("title", sa.String, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("times_seen", sa.Integer, nullable=False),
    sa.Column("opened_at", sa.String, nullable=False),
    sa.Column("last_seen_at", sa.String, nullable=False),
    sa.Column("resolved_at", sa.String),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("sha256", sa.String, nullable=False, unique=True),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("revoked_at", sa.String),
    sa.Column("role", sa.String),  # null: made before there were roles, an admin
    sa.Column("projects", sa.JSON(none_as_null=True)),  # null: all
    sa.Column("per_second", sa.Float),  # null: the box's own limit
    sa.Column("expires_at", sa.Float),  # seconds since 1970; null: never
)

audit_entries = sa.Table(
    "audit_entries",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("project", sa.String),
    sa.Column("subject", sa.JSON, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("previous", sa.String, nullable=False),
    sa.Column("hash", sa.String, nullable=False),
)

label_tasks = sa.Table(
    "label_tasks",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),  # what task ids belong to; see LabelBackend.source
    sa.Column("row", sa.String, primary_key=True),
    sa.Column("task_id", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("annotators", sa.Integer, nullable=False),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("suggestion", sa.JSON),
    sa.Column("pushed_at", sa.String, nullable=False),
)

# A row that a person has before them on our own page, until then.
label_leases = sa.Table(
    "label_leases",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("annotator", sa.String, primary_key=True),
    sa.Column("row", sa.String, nullable=False),
    sa.Column("until", sa.String, nullable=False),
)

label_annotations = sa.Table(
    "label_annotations",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("row", sa.String, nullable=False),
    sa.Column("label", sa.JSON),
    sa.Column("annotator", sa.String, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),
    sa.Column("lead_seconds", sa.Float),
    sa.Column("origin", sa.String, nullable=False),
    sa.Column("deleted_at", sa.String),
    sa.Column("problem", sa.String),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("change", sa.Integer, nullable=False, index=True),  # counts the changes of a project's answers
)

label_revisions = sa.Table(
    "label_revisions",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("label", sa.JSON),
    sa.Column("annotator", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),
    sa.Column("deleted_at", sa.String),
    sa.Column("problem", sa.String),
    sa.Column("noted_at", sa.String, nullable=False),
)

label_cursors = sa.Table(
    "label_cursors",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("cursor", sa.String, nullable=False),
    sa.Column("pulls", sa.Integer, nullable=False),
    sa.Column("pulled_at", sa.String, nullable=False),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("actor", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("request", sa.String, nullable=False),  # SHA-256 of method, path and body
    sa.Column("claim", sa.String, nullable=False),  # what is done under this key carries it as its mark
    sa.Column("claimed_at", sa.Float, nullable=False),  # seconds since 1970; 0: the last try did not end well
    sa.Column("expires_at", sa.Float, nullable=False, index=True),
    sa.Column("answer", sa.JSON),  # null until the request has been answered
)

run_cancellations = sa.Table(
    "run_cancellations",
    metadata,
    sa.Column("run", sa.String, primary_key=True),
    sa.Column("project", sa.String, nullable=False, index=True),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
)


def now() -> str:
    """The time in UTC as ISO 8601 with milliseconds: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class State:
    """The control database behind one URL."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_immediately)

    def create(self) -> State:
        """Make the tables that are missing, and the columns that newer tables have, and return self."""
        with self.engine.begin() as connection:
            metadata.create_all(connection)
            _add_columns(connection)
        return self

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction: committed at the end, rolled back on an error."""
        with self.engine.begin() as connection:
            yield connection

    def rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        # A lone SELECT needs no transaction, and must neither take nor wait for the lock of BEGIN IMMEDIATE.
        # SQLAlchemy announces a transaction even for its AUTOCOMMIT level, so the listener is told by an option.
        with self.engine.connect().execution_options(**{READ_ONLY: True}) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def open_state(home: Home, url: str | None = None) -> State:
    """The state of `home` (SQLite in it, or the database at `url`), with its tables made."""
    return _opened(url or f"sqlite:///{home.state_db}")


@lru_cache(maxsize=16)
def _opened(url: str) -> State:
    return State(url).create()


def _add_columns(connection: sa.Connection) -> None:
    """Give tables of an older Tidemill the columns they lack. A column added later must be nullable."""
    inspector = sa.inspect(connection)
    preparer = connection.dialect.identifier_preparer
    # Another process may be at it: SQLite's write lock keeps it out, Postgres is told to look again.
    unless = "" if connection.dialect.name == "sqlite" else "IF NOT EXISTS "
    for table in metadata.sorted_tables:
        known = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name in known:
                continue
            kind = column.type.compile(connection.dialect)
            name = f"{preparer.format_column(column)} {kind}"
            connection.exec_driver_sql(
                f"ALTER TABLE {preparer.format_table(table)} ADD COLUMN {unless}{name}"
            )


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # A rollback journal, not WAL: several processes write, and SQLite before 3.51.3 can lose pages when two
    # processes reset one WAL. Control state changes a few times a minute, so the slower journal costs nothing.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=15000")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_immediately(connection: sa.Connection) -> None:
    if connection.get_execution_options().get(READ_ONLY):
        return
    # A transaction that reads and then writes must not find at its end that another one got in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
