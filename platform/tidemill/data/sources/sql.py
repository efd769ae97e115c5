"""Databases, through SQLAlchemy: the result of one SELECT, in pieces, as a Parquet file.

Here belong the connection, the watermark and how values become columns. The transaction is read-only where the
database has that, the cursor is the server's, and no message holds the URL with its password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, SQLAlchemyError

from tidemill.data.sources.credentials import read_secret
from tidemill.data.sources.source import Found, Poured, Sink, Source
from tidemill.data.sources.statement import stripped
from tidemill.errors import InvalidInput, SourceAway
from tidemill.home import Home
from tidemill.project_sources import SqlSource

ROWS_AT_ONCE = 5_000
STREAMED = {"stream_results": True, "yield_per": ROWS_AT_ONCE}
NAME = "result"
# Drivers that are there, where SQLAlchemy's default is another.
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
# PostgreSQL's types by number: what a column is, even when its first rows are empty.
POSTGRES_TYPES: dict[int, pa.DataType] = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int64(),
    23: pa.int64(),
    700: pa.float64(),
    701: pa.float64(),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", tz="UTC"),
}
PYTHON_TYPES: tuple[tuple[type, pa.DataType], ...] = (
    (bool, pa.bool_()),
    (int, pa.int64()),
    (float, pa.float64()),
    (datetime, pa.timestamp("us")),
    (date, pa.date32()),
)
WATERMARKS: dict[str, tuple[type, Callable[[str], Any]]] = {
    "integer": (int, int),
    "decimal": (Decimal, Decimal),
    "datetime": (datetime, datetime.fromisoformat),
    "date": (date, date.fromisoformat),
    "text": (str, str),
}
# SQLSTATE classes for which the next look may find all well: connection, resources, operator, system.
AWAY = ("08", "53", "57", "58", "40")


class Sql(Source):
    """The result of `source.query`, beyond `since` when the source has a watermark."""

    def __init__(
        self, home: Home, source: SqlSource, timeout: float, *, since: dict[str, str] | None = None
    ) -> None:
        self.source = source
        self.since = since
        self.url = _url(home, source)
        self.where = self.url.set(password=None).render_as_string(hide_password=True)
        with self._explained():
            self.engine = sa.create_engine(
                self.url, poolclass=sa.NullPool, connect_args=_limits(self.url, timeout)
            )

    def close(self) -> None:
        self.engine.dispose()

    def find(self) -> list[Found]:
        """One result, always: whether it holds anything new is known when it has been read."""
        with self._explained(), self.engine.connect():
            pass
        return [Found(NAME, None, None, datetime.now(UTC).isoformat(timespec="microseconds"), is_ready=True)]

    def pour(self, found: Found, sink: Sink) -> Poured:
        stamp = datetime.fromisoformat(found.signature).strftime("%Y%m%dT%H%M%SZ")
        query, values = self._statement()
        with (
            self._explained(),
            self._reading() as connection,
            connection.execute(query, values, execution_options=STREAMED) as result,
        ):
            declared = _declared(self.engine, result)
            writing = _Writing(self.source, sink, list(result.keys()), declared)
            with writing:
                for rows in _pieces(result, self._explained):
                    writing.add(rows)
        shown = f"{self.source.name}-{stamp}.parquet"
        return Poured(shown, is_empty=writing.rows == 0, watermark=writing.watermark)

    def _statement(self) -> tuple[sa.TextClause, dict[str, Any]]:
        query = _literal(stripped(self.source.query))
        if self.source.watermark is None:
            return sa.text(query), {}
        column = _literal(self.engine.dialect.identifier_preparer.quote_identifier(self.source.watermark))
        beyond, values = f"q.{column} IS NOT NULL", {}
        if self.since is not None:
            beyond, values = f"q.{column} > :tidemill_since", {"tidemill_since": _value_of(self.since)}
        return sa.text(f"SELECT q.* FROM (\n{query}\n) AS q WHERE {beyond} ORDER BY q.{column}"), values

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        options: dict[str, Any] = {}
        name = self.engine.dialect.name
        if name == "postgresql":
            options = {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        with self.engine.connect().execution_options(**options) as connection:
            if name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {self.source.timeout * 1000}")
            elif name == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only = ON")
            elif name in ("mysql", "mariadb"):
                connection.exec_driver_sql("START TRANSACTION READ ONLY")
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what SQLAlchemy raises into an error without URL, password or values."""
        try:
            yield
        except (NoSuchModuleError, ModuleNotFoundError, ArgumentError) as error:
            raise InvalidInput(
                "The database's dialect is not known",
                detail=f"source {self.source.name}: {self.url.drivername}",
                remedy="PostgreSQL and SQLite are known; for others install the driver that SQLAlchemy names.",
            ) from error
        except SQLAlchemyError as error:
            # From None: the cause's message and a traceback may hold what the driver was given.
            raise self._told(error) from None

    def _told(self, error: SQLAlchemyError) -> SourceAway | InvalidInput:
        raw = error.orig if isinstance(error, DBAPIError) else None
        state = str(getattr(raw, "sqlstate", None) or "")
        said = _first_line(str(raw if raw is not None else error), self.url.password)
        detail = f"source {self.source.name}, {self.where}: {said}"
        if state[:2] == "28" or "authentication failed" in said or "no password supplied" in said:
            return InvalidInput(
                "The database does not let us in",
                detail=detail,
                remedy=f"Mend the user in `url`, or the file secrets/{self.source.secret or 'NAME'}.yaml.",
            )
        dropped = isinstance(error, DBAPIError) and error.connection_invalidated
        is_away = state[:2] in AWAY and state != "57014"
        lost = not state and type(raw).__name__ == "OperationalError" and "no such" not in said
        if is_away or lost or dropped or isinstance(error, InterfaceError):
            return SourceAway(
                "The database does not answer",
                detail=detail,
                remedy="See whether it runs and can be reached from here. It is looked at again.",
            )
        return InvalidInput(
            "The query of a source cannot be run",
            detail=detail,
            remedy="Mend `query`, `watermark` or `timeout` in project.yaml; try the query in the database's own "
            "client.",
        )


class _Writing:
    """The rows of a result on their way into one Parquet file. Memory holds one piece at a time."""

    def __init__(
        self, source: SqlSource, sink: Sink, names: list[str], declared: list[pa.DataType | None]
    ) -> None:
        self.source = source
        self.rows = 0
        self.watermark: dict[str, str] | None = None
        self._sink = pa.PythonFile(_Writable(sink), mode="w")
        self._names = names
        self._declared = declared
        self._schema: pa.Schema | None = None
        self._writer: pq.ParquetWriter | None = None
        if doubles := sorted({name for name in names if names.count(name) > 1}):
            raise self._wrong(
                f"the result has the column {doubles[0]} twice", "give one another name with AS"
            )
        self._mark = source.watermark and self._place(source.watermark)

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._writer is not None:
            if kind is None:
                self._writer.close()
            else:
                self._writer.is_open = False  # what broke off is thrown away; a footer would not be

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        if self._schema is None:
            kinds = [declared or _guessed(rows, at) for at, declared in enumerate(self._declared)]
            self._schema = pa.schema(list(zip(self._names, kinds, strict=True)))
            self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        assert self._writer is not None
        columns = [self._column(rows, at) for at in range(len(self._names))]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self.rows += len(rows)
        if self._mark is not None:
            self.watermark = self._marked(rows[-1][int(self._mark)])

    def _column(self, rows: Sequence[Sequence[Any]], at: int) -> pa.Array:
        assert self._schema is not None
        kind = self._schema.field(at).type
        values: list[Any] = [row[at] for row in rows]
        try:
            if pa.types.is_string(kind):
                values = [_text(value) for value in values]
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            name = self._names[at]
            raise self._wrong(f"the column {name} is not {kind} throughout", f"CAST {name} in it") from error

    def _place(self, name: str) -> int:
        if name not in self._names:
            raise self._wrong(f"the result has no column {name}", "name one of its columns as `watermark`")
        return self._names.index(name)

    def _marked(self, value: Any) -> dict[str, str]:
        for kind, (python, _) in WATERMARKS.items():
            if isinstance(value, python) and not isinstance(value, bool):
                shown = value.isoformat() if isinstance(value, date) else str(value)
                return {"type": kind, "value": shown}
        raise self._wrong(
            f"the watermark {self.source.watermark} is of the type {type(value).__name__}",
            "take a column of whole numbers, decimals, dates, times or text",
        )

    def _wrong(self, why: str, way: str) -> InvalidInput:
        return InvalidInput(
            "The query of a source gives no table",
            detail=f"source {self.source.name}: {why}",
            remedy=f"Change the query: {way}.",
        )


class _Writable:
    """A sink as the file that Arrow writes to."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._written = 0

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._sink.write(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """The sink is flushed by whoever owns it."""

    def close(self) -> None:
        """So is its end."""


def _url(home: Home, source: SqlSource) -> sa.URL:
    try:
        url = sa.make_url(source.url)
    except (ArgumentError, ValueError):
        raise InvalidInput(
            "The URL of a source cannot be read",
            detail=f"source {source.name}; the URL is not repeated here, it may hold a secret",
            remedy="Write it as dialect://user@host:port/database, special letters as %XX.",
        ) from None
    url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
    if source.secret is None:
        return url
    secret = read_secret(home, source.secret, fields=("password",), needed=("password",))
    return url.set(password=secret["password"])


def _limits(url: sa.URL, timeout: float) -> dict[str, Any]:
    if url.drivername == "postgresql+psycopg":
        return {
            "connect_timeout": max(int(timeout), 2),
            "application_name": "tidemill",
            "tcp_user_timeout": int(timeout * 1000),
            "keepalives_idle": max(int(timeout), 2),
        }
    if url.get_backend_name() == "sqlite":
        return {"timeout": timeout}
    return {}


def _declared(engine: sa.Engine, result: sa.CursorResult[Any]) -> list[pa.DataType | None]:
    """The types that the database says its columns have; None where that must be told from the values."""
    described: Sequence[Sequence[Any]] = result.cursor.description if result.cursor is not None else ()
    if engine.dialect.name != "postgresql":
        return [None for _ in result.keys()]  # noqa: SIM118 (a result is no mapping)
    # Whatever else there is, numeric too, goes as text, exactly as it was.
    return [POSTGRES_TYPES.get(column[1], pa.string()) for column in described]


def _guessed(rows: Sequence[Sequence[Any]], at: int) -> pa.DataType:
    kinds = {type(row[at]) for row in rows if row[at] is not None}
    if kinds == {int, float}:
        return pa.float64()
    only = next(iter(kinds)) if len(kinds) == 1 else None
    return next((arrow for python, arrow in PYTHON_TYPES if only is python), pa.string())


def _pieces(result: sa.CursorResult[Any], explained: Callable[[], Any]) -> Iterator[Sequence[Sequence[Any]]]:
    pieces = result.partitions(ROWS_AT_ONCE)
    while True:
        with explained():
            rows = next(pieces, None)
        if rows is None:
            return
        yield rows


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, int | float | Decimal | UUID):
        return str(value)
    raise TypeError(f"a value of the type {type(value).__name__} is no cell")


def _value_of(mark: dict[str, str]) -> Any:
    return WATERMARKS[mark["type"]][1](mark["value"])


def _literal(text: str) -> str:
    """Text for sa.text() in which a colon is a colon, not a parameter."""
    return re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", text)


def _first_line(message: str, password: str | None) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    said = lines[0][:300] if lines else "no reason was given"
    # Drivers repeat a connection string that they could not read.
    return said.replace(password, "***") if password else said
