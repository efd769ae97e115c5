"""Tables: immutable Parquet, one folder a version, published in one step with a manifest.

    tables/<table>/v000003/part-000.parquet   the rows this version added
    tables/<table>/v000003/manifest.json      all parts of the version, its own and inherited ones
    tables/<table>/current.json               which version readers get

A version is written aside, synced and renamed, and then `current.json` is replaced: a reader sees the old
version or the new one. Readers follow the manifest and never list a folder. What the rows mean belongs to
`data/`, `labels/` and `learn/`; SQL over them to `store/sql.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.errors import Conflict, Corrupt, NotFound
from tidemill.store.durable import disk_full_is_an_error, locked, replace_json, sha256_of, sync_folder
from tidemill.store.provenance import code_commit

if TYPE_CHECKING:  # pyarrow is imported where rows are touched: the API follows manifests without it
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

STALE_AFTER = 24 * 3600.0
TRIED_ROWS = 20_000


@dataclass(frozen=True)
class Part:
    """One Parquet file: `path` is relative to the table's folder."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TableVersion:
    """One published version. `schema` maps column to Arrow type; `parents` maps table to version."""

    folder: Path
    table: str
    version: int
    created: str
    rows: int
    schema: dict[str, str]
    sha256: str
    parts: list[Part]
    sources: list[dict[str, Any]] = field(default_factory=list)
    parents: dict[str, Any] = field(default_factory=dict)
    commit: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Name for people and lineage, such as `raw@3`."""
        return f"{self.table}@{self.version}"

    @property
    def parent(self) -> int | None:
        """The version of the same table that this one follows, None where the manifest names none.

        A rollback has two parents, as a merge has: the version it follows, then the one it restores.
        """
        found = self.parents.get(self.table)
        first = found[0] if isinstance(found, list) else found
        return int(first) if first is not None else None

    @property
    def paths(self) -> list[str]:
        """Absolute paths of the Parquet files, in row order."""
        return [str(self.folder / part.path) for part in self.parts]

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows (of `columns`) as an Arrow table. Raises Corrupt when a part is missing or unreadable."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = list(columns) if columns is not None else None
        try:
            pieces = [pq.read_table(path, columns=names, partitioning=None) for path in self.paths]
        except (OSError, pa.ArrowException) as error:
            raise Corrupt(
                f"A file of {self.id} cannot be read",
                detail=str(error),
                remedy=f"Restore {self.folder} from a backup, or publish the table again from its source.",
            ) from error
        return pa.concat_tables(pieces, promote_options="permissive") if pieces else pa.table({})

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """`to_arrow` as a DataFrame with a plain range index."""
        frame: pd.DataFrame = self.to_arrow(columns).to_pandas()
        return frame

    def verify(self) -> None:
        """Raise Corrupt unless every part has the bytes the manifest promises."""
        for part in self.parts:
            path = self.folder / part.path
            if not path.is_file() or sha256_of(path) != part.sha256:
                raise Corrupt(
                    f"A file of {self.id} is not what was written",
                    detail=f"{path} is missing or its SHA-256 differs from the manifest",
                    remedy="Restore the file from a backup, or publish the table again from its source.",
                )


class TableDraft:
    """Rows on their way into a table, written aside until `TableStore.publish` takes them.

    Use it as a context manager: what was not published is removed at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.schema: pa.Schema | None = None
        self.parts: list[Part] = []
        self._named = 0
        folder.mkdir(parents=True)

    def write(self, rows: pa.Table | pd.DataFrame | Iterable[pa.Table]) -> None:
        """Add one part: a table, a frame, or a stream of tables of one schema (never held at once)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / f"part-{self._named:03d}.parquet"
        self._named += 1
        count = 0
        with disk_full_is_an_error(self.folder):
            writer: pq.ParquetWriter | None = None
            try:
                for batch in _batches(rows):
                    if writer is None:
                        self.schema = batch.schema if self.schema is None else self.schema
                        repetitive = _repetitive(batch)
                        writer = pq.ParquetWriter(
                            path,
                            batch.schema,
                            compression="zstd",
                            use_dictionary=repetitive,
                            # Where few words stand in every group of rows, their least and greatest tell nothing.
                            write_statistics=[
                                each.name
                                for each in batch.schema
                                if not (each.name in repetitive and pa.types.is_string(each.type))
                            ],
                        )
                    writer.write_table(batch)
                    count += batch.num_rows
            finally:
                if writer is not None:
                    writer.close()
            if writer is None:
                return
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
        self.parts.append(Part(path.name, count, path.stat().st_size, sha256_of(path)))

    def extend(self, more: pa.Table) -> None:
        """Write the last part again with more rows behind its own."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        part = self.parts[-1]
        with pq.ParquetFile(self.folder / part.path) as file:
            batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(TRIED_ROWS))
            self.write(chain(batches, [more]))
        self.remove(part)

    def remove(self, part: Part) -> None:
        """Take a part out again; its name is not given a second time."""
        self.parts.remove(part)
        (self.folder / part.path).unlink()

    def __enter__(self) -> TableDraft:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def discard(self) -> None:
        """Remove what was written, if it has not been published."""
        shutil.rmtree(self.folder, ignore_errors=True)


class TableStore:
    """The tables of one project, under `root` (see `Home.tables`)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Tables that have a current version, sorted."""
        return sorted(path.parent.name for path in self.root.glob("*/current.json"))

    def current(self, table: str) -> TableVersion | None:
        """The version readers get, or None before the first."""
        pointer = self.root / table / "current.json"
        try:
            number = int(json.loads(pointer.read_text())["version"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(
                f"The pointer of table {table} is not readable",
                detail=str(pointer),
                remedy="Restore the file from a backup, or write the number of the newest version into it.",
            ) from error
        return self.version(table, number)

    def require(self, table: str) -> TableVersion:
        """`current`, or NotFound with the way to make the table."""
        version = self.current(table)
        if version is None:
            raise NotFound(
                f"There is no table {table} yet",
                detail=f"nothing has been published under {self.root / table}",
                remedy=f"Materialise the asset {table} in Dagster, or send data first.",
            )
        return version

    def version(self, table: str, number: int) -> TableVersion:
        """One version by number. Raises NotFound, or Corrupt for an unreadable manifest."""
        folder = self.root / table
        file = folder / f"v{number:06d}" / "manifest.json"
        try:
            document = json.loads(file.read_text())
            parts = [Part(**part) for part in document.pop("parts")]
            return TableVersion(folder=folder, parts=parts, **document)
        except FileNotFoundError as error:
            raise NotFound(
                f"There is no version {number} of table {table}",
                detail=str(file),
                remedy=f"Choose one of {', '.join(map(str, self.versions(table))) or 'none yet'}.",
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(
                f"The manifest of {table}@{number} is not readable",
                detail=str(file),
                remedy="Restore the file from a backup.",
            ) from error

    def versions(self, table: str) -> list[int]:
        """Numbers of the published versions, oldest first."""
        return sorted(int(path.parent.name[1:]) for path in self.root.glob(f"{table}/v*/manifest.json"))

    def publish_lock(self, table: str) -> Path:
        """The lock file that whoever publishes or removes versions of `table` holds."""
        return self.root / table / ".publish.lock"

    def draft(self, table: str) -> TableDraft:
        """A place aside to write rows into."""
        folder = self.root / table
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".draft-*"):
            if time.time() - left.stat().st_mtime > STALE_AFTER:
                shutil.rmtree(left, ignore_errors=True)
        return TableDraft(folder / f".draft-{uuid.uuid4().hex}")

    def publish(
        self,
        table: str,
        draft: TableDraft,
        *,
        inherit: TableVersion | None = None,
        after: TableVersion | None = None,
        sources: Sequence[Mapping[str, Any]] = (),
        parents: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> TableVersion:
        """Make `draft` the current version of `table`, in one step.

        With `inherit` the rows and sources of that version come first. `after` is the version that the new one
        follows, by default `inherit`; an append names only that, a rollback or a replacement needs both apart.
        Raises Conflict when another version than `after` is current, StorageFull when the disk takes no more.
        """
        folder = self.root / table
        after = after or inherit
        with locked(self.publish_lock(table), what=f"table {table}"):
            if after is not None and (now := self.current(table)) != after:
                raise Conflict(
                    f"Table {table} changed meanwhile",
                    detail=f"the draft continues {after.id}, but {now.id if now else 'nothing'} is current",
                    remedy="Run the step again: it will continue the newer version.",
                )
            number = max(self.versions(table), default=0) + 1
            home = f"v{number:06d}"
            own = [Part(f"{home}/{part.path}", part.rows, part.bytes, part.sha256) for part in draft.parts]
            parts = [*(inherit.parts if inherit else []), *own]
            schema = dict(inherit.schema) if inherit else {}
            if draft.schema is not None:
                schema |= {field.name: str(field.type) for field in draft.schema}
            manifest: dict[str, Any] = {
                "table": table,
                "version": number,
                "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "rows": sum(part.rows for part in parts),
                "schema": schema,
                "sha256": _content_hash(parts),
                "parts": [part.__dict__ for part in parts],
                "sources": [*(inherit.sources if inherit else []), *(dict(source) for source in sources)],
                "parents": dict(parents or {}),
                "commit": code_commit(),
                "metadata": dict(metadata or {}),
            }
            with disk_full_is_an_error(folder):
                replace_json(draft.folder / "manifest.json", manifest)
                sync_folder(draft.folder)
                draft.folder.rename(folder / home)
                sync_folder(folder)
                replace_json(folder / "current.json", {"version": number})
        return self.version(table, number)

    def publish_frame(self, table: str, rows: pa.Table | pd.DataFrame, **manifest: Any) -> TableVersion:
        """`publish` of rows already in memory."""
        with self.draft(table) as draft:
            draft.write(rows)
            return self.publish(table, draft, **manifest)


def _batches(rows: pa.Table | pd.DataFrame | Iterable[pa.Table]) -> Iterable[pa.Table]:
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return [rows]
    if hasattr(rows, "columns") and hasattr(rows, "iloc"):
        return [pa.Table.from_pandas(rows, preserve_index=False)]
    return rows


def _repetitive(rows: pa.Table) -> list[str]:
    """The columns whose first rows hold few different values: for others a dictionary is made in vain."""
    import pyarrow.compute as pc
    from pyarrow import types

    head = rows.slice(0, TRIED_ROWS)
    kinds = {name: head.column(name) for name in head.column_names}
    return [
        name
        for name, column in kinds.items()
        # A frame's column of nothing but empty cells has the type null, whose values cannot be counted.
        if not (types.is_nested(column.type) or types.is_null(column.type))
        and pc.count_distinct(column).as_py() <= head.num_rows // 4
    ]


def _content_hash(parts: Sequence[Part]) -> str:
    """SHA-256 over the parts' hashes, in order: equal rows written alike give equal hashes."""
    return hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
