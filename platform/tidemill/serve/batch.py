"""Batch scoring: a whole file through a model, in pieces of bounded memory, into a file of its own.

Here belongs how the rows of a file become records, and the shape of what comes out. Checking a record is
`serve/record.py`, scoring it `serve/scorer.py`: those of the prediction path, so that a file and a request give the
same answers. How the work is started over HTTP is `serve/batch_jobs.py`.

What comes out has the file's rows, all of them, in its order: `_line` (where the row starts in the file), the
file's own columns as they stand, then

    _prediction      the class, or the number of a regression; empty where there is an error
    _score           probability of the positive class (binary) or of the label; empty for a regression
    _p_<class>       a column for each class
    _flags           what was odd, such as `unknown_category:plan` (`unknown_category:plan:imputed` when the model
                     did not see the value), with blanks between
    _error           why the row was not scored: column: reason, with `; ` between
    _model_version
    _prediction_id   with a log only: what the row is called in the prediction log

Rows are checked by the rules of the project's `serving`, as requests are. But a file's columns that the contract
does not know come along into the result, and are no fault: files have remarks. Nor is a column that the model uses
and the file lacks, where `serving` lets fields be missing.

No name can collide, since columns of files may not begin with an underscore. In a CSV, text that a spreadsheet
would run as a formula has an apostrophe before it.
"""

from __future__ import annotations

import csv
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.data.casting import cleaned, typed
from tidemill.data.formula import harmless
from tidemill.data.read import open_source
from tidemill.data.source import SourceFile
from tidemill.data.staging import chunks
from tidemill.errors import InvalidInput
from tidemill.project import Column
from tidemill.serve.live import Live
from tidemill.serve.record import CheckedRecord, RecordFault, flag_text
from tidemill.serve.service import Log

SUFFIXES = (".csv", ".parquet")
PIECE_ROWS = 5_000


class Scored(NamedTuple):
    """What became of a file: rows read, and those of them that were not scored."""

    rows: int
    errors: int


class _Row(NamedTuple):
    """A row on its way: its cells as they stand, and what the contract made of them."""

    line: int
    cells: Sequence[str | None]
    found: CheckedRecord | str


def score_file(
    live: Live,
    source: Path,
    target: Path,
    *,
    name: str | None = None,
    log: Log | None = None,
    on_progress: Callable[[Scored], None] = lambda _: None,
) -> Scored:
    """Score every row of `source` into `target`, a `.csv` or `.parquet`, which appears when it is whole.

    `source` is any file that ingestion reads, `name` what people call it. With `log` the scored rows are in the
    prediction log, under the role `batch`, before they are in the target.

    Raises InvalidInput for a file that cannot be read, lacks a column that the model uses, or for another suffix
    of the target; StorageFull.
    """
    from tidemill.store.durable import disk_full_is_an_error, sync_folder

    if target.suffix.lower() not in SUFFIXES:
        raise InvalidInput(
            "That is not a kind of file that predictions are written to",
            detail=target.name,
            remedy=f"Name a file that ends in {' or '.join(SUFFIXES)}.",
        )
    opened = open_source(source, reading=live.project.how_to_read, name=name, scratch=target.parent)
    work = _Work(live, opened, log)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    writer: type[_Writer] = _CsvWriter if target.suffix.lower() == ".csv" else _ParquetWriter
    done = Scored(0, 0)
    try:
        with disk_full_is_an_error(target.parent):
            with writer(aside, opened.columns, work.added) as out:
                for rows in work.pieces():
                    answers = work.answers(rows)
                    out.write(rows, answers)
                    wrong = sum(isinstance(row.found, str) for row in rows)
                    done = Scored(done.rows + len(rows), done.errors + wrong)
                    on_progress(done)
            os.replace(aside, target)
            sync_folder(target.parent)
    finally:
        aside.unlink(missing_ok=True)
    return done


class _Work:
    """One file under way: from cells to records, from records to answers."""

    def __init__(self, live: Live, source: SourceFile, log: Log | None) -> None:
        self.live = live
        self.source = source
        self.log = log
        self.call = f"batch-{uuid.uuid4().hex[:12]}"
        self.places = {name: index for index, name in enumerate(source.columns)}
        self.features = live.project.feature_columns
        if live.project.serving.missing_fields not in ("flag", "impute"):
            _require(self.features, self.places, source.name)
        self.used = [(name, column) for name, column in self.features.items() if name in self.places]
        self.id = live.project.id_column
        classes = live.scorer.classes
        self.classes: list[str] = list(classes) if classes else []
        self.added = pa.schema(
            [
                ("_prediction", pa.string() if self.classes else pa.float64()),
                ("_score", pa.float64()),
                *((f"_p_{name}", pa.float64()) for name in self.classes),
                ("_flags", pa.string()),
                ("_error", pa.string()),
                ("_model_version", pa.int64()),
                *([("_prediction_id", pa.string())] if log is not None else []),
            ]
        )

    def pieces(self) -> Iterator[list[_Row]]:
        """The file's rows in its order, a few thousand at a time."""
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone='UTC'")
            for chunk in chunks(self.source):
                good = self._typed(connection, chunk.cells)
                bad = [self._unreadable(row) for row in chunk.faults]
                rows = sorted([*good, *bad], key=lambda row: row.line) if bad else good
                for start in range(0, len(rows), PIECE_ROWS):
                    yield rows[start : start + PIECE_ROWS]

    def answers(self, rows: Sequence[_Row]) -> list[list[Any]]:
        """The added cells of each row."""
        checked = [row.found for row in rows if isinstance(row.found, CheckedRecord)]
        version = self.live.scorer.version
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        events: list[dict[str, Any]] = []
        scores = iter(self.live.scorer.score([record.values for record in checked]))
        answers: list[list[Any]] = []
        nothing: list[Any] = [None] * (2 + len(self.classes))
        for row in rows:
            known = [str(uuid.uuid4())] if self.log is not None else []
            if isinstance(row.found, str):
                answers.append([*nothing, None, row.found, version, *([None] if known else [])])
                continue
            score = next(scores)
            shares = [(score.probabilities or {}).get(name) for name in self.classes]
            flags = " ".join(map(flag_text, row.found.flags)) or None
            answers.append([score.label, score.score, *shares, flags, None, version, *known])
            if known:
                events.append(
                    {
                        "id": known[0],
                        "at": at,
                        "project": self.live.project.name,
                        "model_version": version,
                        "role": "batch",
                        "request_id": self.call,
                        "entity_id": row.found.entity_id,
                        "input": row.found.input,
                        "label": score.label,
                        "score": score.score,
                        "probabilities": score.probabilities,
                        "flags": row.found.flags,
                        "latency_ms": None,
                    }
                )
        if self.log is not None and events:
            self.log.append(events)
        return answers

    def _typed(self, connection: duckdb.DuckDBPyConnection, cells: pa.Table) -> list[_Row]:
        """Rows whose cells could be read, each as the record a request would have sent."""
        if not cells.num_rows:
            return []
        width = len(self.source.columns)
        stand = ", ".join(["line", *(f"c{index}" for index in range(width))])
        # Level upon level, so that each expression is worked out once: cleaned, typed, then whether that failed.
        clean, typed_, asked = [stand], [stand], [stand]
        for index, (name, column) in enumerate(self.used):
            clean.append(f"{cleaned(column, f'c{self.places[name]}')} AS k{index}")
            typed_.append(f"k{index}, {typed(column, f'k{index}', self.source.decimal)} AS v{index}")
            asked.append(f"v{index}, v{index} IS NULL AND k{index} IS NOT NULL")
        connection.register("chunk", cells)
        inner = f"(SELECT {', '.join(clean)} FROM chunk)"
        middle = f"(SELECT {', '.join(typed_)} FROM {inner})"
        rows = connection.execute(f"SELECT {', '.join(asked)} FROM {middle} ORDER BY line").fetchall()
        connection.unregister("chunk")
        return [self._row(row[0], row[1 : width + 1], row[width + 1 :]) for row in rows]

    def _row(self, line: int, cells: Sequence[str | None], values: Sequence[Any]) -> _Row:
        wrong: list[RecordFault] = []
        record: dict[str, Any] = {}
        for index, (name, column) in enumerate(self.used):
            record[name] = _as_sent(values[2 * index])
            if values[2 * index + 1]:
                found = cells[self.places[name]] or ""
                wrong.append(RecordFault(name, found[:60], f"{found[:60]!r} is not {_kind(column)}"))
        if self.id is not None and self.id in self.places:
            record[self.id] = cells[self.places[self.id]] or None
        checked = self.live.contract.check(record)
        if isinstance(checked, list):
            named = {fault.field for fault in wrong}
            wrong += [fault for fault in checked if fault.field not in named]
        if wrong or isinstance(checked, list):
            return _Row(line, cells, "; ".join(f"{fault.field}: {fault.message}" for fault in wrong))
        return _Row(line, cells, checked)

    def _unreadable(self, row: Any) -> _Row:
        width = len(self.source.columns)
        cells = [*row.fault.cells, *[None] * width][:width]
        where = f"{row.fault.column}: " if row.fault.column else ""
        return _Row(row.line, cells, f"{where}{row.fault.reason}")


def _require(features: Mapping[str, Column], places: Mapping[str, int], file: str) -> None:
    missing = [name for name, column in features.items() if name not in places and not column.optional]
    if missing:
        raise InvalidInput(
            "The file lacks columns that the model uses",
            detail=f"{file}: {', '.join(missing[:20])}",
            remedy="Add the columns; their cells may be empty where the contract allows it.",
        )


def _as_sent(value: Any) -> Any:
    """A typed value as JSON would have carried it."""
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z"
    return value.isoformat() if isinstance(value, date) else value


def _kind(column: Column) -> str:
    from tidemill.data.casting import KINDS

    return KINDS.get(column.type, f"a {column.type}")


class _Writer(ABC):
    """Writes rows and their answers to a file; synced at the end of its `with`."""

    def __init__(self, file: Path, columns: Sequence[str], added: pa.Schema) -> None:
        self.file = file
        self.columns = columns
        self.added = added

    @abstractmethod
    def __enter__(self) -> _Writer: ...

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @abstractmethod
    def write(self, rows: Sequence[_Row], answers: Sequence[Sequence[Any]]) -> None: ...


class _CsvWriter(_Writer):
    def __enter__(self) -> _Writer:
        self.handle = self.file.open("w", encoding="utf-8", newline="")
        self.writer = csv.writer(self.handle, lineterminator="\n")
        self.writer.writerow([harmless(name) for name in ["_line", *self.columns, *self.added.names]])
        return self

    def __exit__(self, *_: object) -> None:
        with self.handle:
            self.handle.flush()
            os.fsync(self.handle.fileno())

    def write(self, rows: Sequence[_Row], answers: Sequence[Sequence[Any]]) -> None:
        for row, answer in zip(rows, answers, strict=True):
            cells = [harmless(cell) if isinstance(cell, str) else cell for cell in (*row.cells, *answer)]
            self.writer.writerow([row.line, *cells])


class _ParquetWriter(_Writer):
    def __enter__(self) -> _Writer:
        own = [("_line", pa.int64()), *((name, pa.string()) for name in self.columns)]
        self.schema = pa.schema([*own, *self.added])
        self.handle = self.file.open("wb")
        self.writer = pq.ParquetWriter(self.handle, self.schema)
        return self

    def __exit__(self, *_: object) -> None:
        with self.handle:
            self.writer.close()
            self.handle.flush()
            os.fsync(self.handle.fileno())

    def write(self, rows: Sequence[_Row], answers: Sequence[Sequence[Any]]) -> None:
        table = [[row.line, *row.cells, *answer] for row, answer in zip(rows, answers, strict=True)]
        columns = list(zip(*table, strict=True))
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self.schema, strict=True)]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
