"""The service `tables`: a project's tables, their first rows and profiles, their versions and what differs."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from api.answers import answer
from api.auth import require_key
from api.context import Context, Ctx, KnownName
from api.schema_out import PROFILE, TABLE, TABLE_DIFF, TABLES, VERSIONS, ok
from tidemill.errors import NotFound

if TYPE_CHECKING:
    from tidemill.store.tables import TableVersion

Number = Annotated[int, Query(ge=1, le=999_999_999)]

router = APIRouter(
    prefix="/v1/projects/{project}/tables", tags=["tables"], dependencies=[Depends(require_key)]
)


@router.get("", summary="Tables", responses=ok(TABLES))
def list_tables(project: KnownName, context: Ctx) -> Response:
    """The current version of each table, with rows, columns and what it was made from."""
    from tidemill.store.tables import TableStore

    store = TableStore(context.home.tables(project))
    return answer({"tables": [_shown(store.require(name)) for name in store.names()]})


@router.get("/{table}", summary="First rows of a table", responses=ok(TABLE))
def get_table(
    project: KnownName, table: str, context: Ctx, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> Response:
    """The first rows of the current version."""
    version = require_table(context, project, table)
    columns, rows = first_rows(version, limit)
    return answer({"table": table, "version": version.version, "columns": columns, "rows": rows})


@router.get("/{table}/profile", summary="Profile of a table", responses=ok(PROFILE))
def get_profile(project: KnownName, table: str, context: Ctx) -> Response:
    """Per column: nulls, distinct values, range, quartiles, most frequent values."""
    version = require_table(context, project, table)
    return answer({"profile": _profile(version.folder, version.table, version.version)})


@router.get("/{table}/versions", summary="Versions of a table", responses=ok(VERSIONS))
def list_versions(project: KnownName, table: str, context: Ctx) -> Response:
    """The kept versions, newest first: rows, files, and how many rows each added, changed and removed."""
    from tidemill.data.versions import history
    from tidemill.store.tables import TableStore

    return answer({"table": table, "versions": history(TableStore(context.home.tables(project)), table)})


@router.get("/{table}/diff", summary="Difference between two versions", responses=ok(TABLE_DIFF))
def get_diff(
    project: KnownName,
    table: str,
    context: Ctx,
    old: Annotated[Number, Query(alias="from", description="The version before.")],
    new: Annotated[Number, Query(alias="to", description="The version after.")],
) -> Response:
    """Rows added, changed and removed, with up to 20 examples of each; columns and their numbers that differ."""
    from tidemill.data.versions import diff
    from tidemill.store.tables import TableStore

    return answer(diff(TableStore(context.home.tables(project)), table, old, new))


def require_table(context: Context, project: str, table: str) -> TableVersion:
    """The current version of a table. Raises NotFound naming the tables there are."""
    from tidemill.store.tables import TableStore

    store = TableStore(context.home.tables(project))
    names = store.names()
    if table not in names:
        raise NotFound(
            "There is no such table",
            detail=f"project {project} has no table {table[:60]!r}; there are: {', '.join(names) or 'none yet'}",
            remedy="Choose one of those, or send data first.",
        )
    return store.require(table)


def first_rows(version: TableVersion, limit: int) -> tuple[list[str], list[list[Any]]]:
    """Columns and the first `limit` rows, reading no more of the files than that takes."""
    import pyarrow.parquet as pq

    columns = list(version.schema)
    rows: list[list[Any]] = []
    for path in version.paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=limit):
                rows += [[row.get(name) for name in columns] for row in batch.to_pylist()]
                if len(rows) >= limit:
                    return columns, rows[:limit]
    return columns, rows


@lru_cache(maxsize=32)
def _profile(folder: Path, table: str, number: int) -> list[Any]:
    # A version never changes, so its profile is worth keeping.
    from tidemill.data.versions import profile_of
    from tidemill.store.tables import TableStore

    store = TableStore(folder.parent)
    return list(profile_of(store, store.version(table, number)))


def _shown(version: TableVersion) -> dict[str, Any]:
    return {
        "name": version.table,
        "version": version.version,
        "rows": version.rows,
        "created": version.created,
        "sha256": version.sha256,
        "columns": version.schema,
        "parents": version.parents,
        "sources": version.sources,
    }
