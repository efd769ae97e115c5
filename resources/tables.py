"""The IO manager for tables: what an asset returns becomes a table version; what it takes is one.

Writing is `TableStore.publish`: aside, synced, then in one step with a manifest. Inputs are handed over as
`TableVersion`, so an asset decides itself whether to read columns with DuckDB, Arrow or pandas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dagster import InputContext, MetadataValue, OutputContext, TableColumn, TableSchema
from dagster._core.storage.io_manager import IOManager

from tidemill.data.first import RAW, require_raw
from tidemill.home import Home
from tidemill.store.state import open_state
from tidemill.store.tables import TableDraft, TableStore, TableVersion

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PREVIEW_ROWS = 8
PREVIEW_COLUMNS = 12


@dataclass
class TableOutput:
    """Rows to publish as the asset's table, with the versions they were made from."""

    rows: pd.DataFrame | pa.Table | TableDraft
    parents: Sequence[TableVersion] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


class TableIOManager(IOManager):
    """Tables of every project of the home at `root`; an asset key is `[project, table]`."""

    def __init__(self, root: str) -> None:
        self.root = root

    def handle_output(self, context: OutputContext, obj: TableOutput | TableVersion) -> None:
        store, table = self._table(context.asset_key.path)
        version = obj if isinstance(obj, TableVersion) else publish(store, table, obj)
        context.add_output_metadata(table_metadata(version))

    def load_input(self, context: InputContext) -> TableVersion:
        store, table = self._table(context.asset_key.path)
        if table == RAW:
            home = Home.find(self.root)
            return require_raw(home, open_state(home), context.asset_key.path[0])
        return store.require(table)

    def _table(self, path: Sequence[str]) -> tuple[TableStore, str]:
        project, table = path
        return TableStore(Home.find(self.root).tables(project)), table


def publish(store: TableStore, table: str, output: TableOutput) -> TableVersion:
    """Publish `output` as the next version of `table`."""
    parents = {parent.table: parent.version for parent in output.parents}
    if isinstance(output.rows, TableDraft):
        with output.rows as draft:
            return store.publish(table, draft, parents=parents, metadata=output.metadata)
    return store.publish_frame(table, output.rows, parents=parents, metadata=output.metadata)


def table_metadata(version: TableVersion) -> dict[str, Any]:
    """What Dagster's UI shows of a table version: rows, version, lineage, schema and a preview."""
    columns = [TableColumn(name, kind) for name, kind in version.schema.items()]
    return {
        "dagster/row_count": version.rows,
        "dagster/column_schema": MetadataValue.table_schema(TableSchema(columns)),
        "version": version.version,
        "sha256": version.sha256,
        "parents": MetadataValue.json(version.parents),
        "sources": MetadataValue.json([source.get("name") for source in version.sources]),
        "code_commit": version.commit,
        "folder": MetadataValue.path(str(version.folder)),
        "preview": MetadataValue.md(preview(version)),
    }


def preview(version: TableVersion) -> str:
    """The first rows as a Markdown table; wide tables show their first columns."""
    import pyarrow.parquet as pq

    names = list(version.schema)[:PREVIEW_COLUMNS]
    if not version.parts:
        return "_no rows_"
    file = pq.ParquetFile(version.paths[0])
    batch = next(file.iter_batches(PREVIEW_ROWS, columns=names), None)
    rows = batch.to_pylist() if batch is not None else []
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    left = len(version.schema) - len(names)
    return "\n".join(lines) + (f"\n\n_and {left} more columns_" if left > 0 else "")


def _cell(value: object) -> str:
    shown = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return shown.replace("|", "\\|").replace("\n", " ")[:60]
