"""Station 1, data: files of the inbox become the checked table `raw`.

Reading, typing and rejecting rows is `tidemill.data`; this module only shows it to Dagster.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetsDefinition,
    Failure,
    MetadataValue,
    Output,
    asset,
    asset_check,
)

from resources.home import HomeResource
from tidemill.project import Project
from tidemill.store.tables import TableVersion

# Columns whose profile a run shows; a table of thousands would make a page that nobody can read.
PROFILED = 60


def build(project: Project) -> list[Any]:
    """The asset `raw` of one project and its checks."""
    return [_raw(project), _contract(project), _rejects(project)]


def _raw(project: Project) -> AssetsDefinition:
    @asset(
        name="raw",
        key_prefix=project.name,
        group_name=project.name,
        io_manager_key="tables",
        kinds={"duckdb", "parquet"},
        description=f"Every row accepted for {project.display_name}, typed by the contract, with file and line.",
    )
    def raw(context: AssetExecutionContext, home: HomeResource) -> Iterator[Output[TableVersion]]:
        from tidemill.data.ingest import ingest_pending
        from tidemill.data.progress import ProgressWriter

        with ProgressWriter(home.home, project.name) as progress:
            ingestion = ingest_pending(home.home, home.state(), home.project(project.name), progress)
        for file in ingestion.files:
            context.log.info(
                f"{file.name}: {file.status}, {file.accepted} rows accepted, {file.rejected} rejected"
                + "".join(f", {count} {name}" for name, count in (file.changes or {}).items())
            )
        if ingestion.version is None:
            raise Failure(
                description=f"There is no data for {project.name} yet. Drop a CSV or Excel file into "
                f"{home.home.inbox(project.name)}, or send one to POST /v1/projects/{project.name}/files.",
                allow_retries=False,
            )
        shown = {"files": _outcomes(ingestion.files), "profile": _profile(ingestion.version)}
        yield Output(
            ingestion.version, metadata={name: MetadataValue.md(text) for name, text in shown.items()}
        )

    return raw


def _contract(project: Project) -> Any:
    @asset_check(
        asset=[project.name, "raw"],
        name="contract",
        blocking=True,
        description="Every row keeps the contract of project.yaml as it stands now.",
    )
    def contract(raw: TableVersion, home: HomeResource) -> AssetCheckResult:
        from tidemill.data.checks import check_table

        violations = check_table(raw, home.project(project.name))
        found = [f"{fault.column}: {fault.rule} ({fault.rows} rows)" for fault in violations]
        return AssetCheckResult(
            passed=not violations,
            description="; ".join(found) or f"{raw.rows} rows keep the contract",
            metadata={"rows": raw.rows, "violations": MetadataValue.json(found)},
        )

    return contract


def _rejects(project: Project) -> Any:
    @asset_check(
        asset=[project.name, "raw"],
        name="rejects",
        description="Every refused file and rejected row was made up for since, by its mended rows "
        "or by a file of the same name.",
    )
    def rejects(raw: TableVersion, home: HomeResource) -> AssetCheckResult:
        from tidemill.data.ledger import list_files
        from tidemill.data.repair import outstanding

        files = outstanding(list_files(home.state(), project.name), raw.sources)
        refused = [file["name"] for file in files if file["status"] == "refused"]
        partly = {file["name"]: file["rejected"] for file in files if file["status"] == "accepted"}
        rows = sum(partly.values())
        said = f"{rows} rows rejected; refused: {', '.join(refused) or 'none'}"
        remedy = f"`./tidemill data rejects {project.name} FILE --rows` gives the rows to mend and send again"
        return AssetCheckResult(
            passed=not files,
            severity=AssetCheckSeverity.WARN,
            description=f"{said}; {remedy}" if files else "no rows are missing",
            metadata={
                "rejected_rows": rows,
                "refused_files": MetadataValue.json(refused),
                "partly_accepted_files": MetadataValue.json(partly),
            },
        )

    return rejects


def _outcomes(files: Sequence[Any]) -> str:
    """The outcome of each file as a Markdown table."""
    if not files:
        return "_no new file_"
    lines = ["| file | status | rows | accepted | rejected |", "|---|---|---|---|---|"]
    lines += [f"| {f.name} | {f.status} | {f.rows} | {f.accepted} | {f.rejected} |" for f in files]
    return "\n".join(lines)


def _profile(version: TableVersion) -> str:
    """What the data's columns hold, as a Markdown table."""
    from tidemill.data.profile import markdown
    from tidemill.data.versions import profile_of
    from tidemill.store.tables import TableStore

    columns = profile_of(TableStore(version.folder.parent), version)
    left_out = f"\n\n_and {len(columns) - PROFILED} more columns_" if len(columns) > PROFILED else ""
    return markdown(columns[:PROFILED]) + left_out
