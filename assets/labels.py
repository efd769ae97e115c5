"""Station 2, labels: what each row is, by whom, and when it was said.

Where people answer, what their answers come to and which rows count is `tidemill.labels`; this module shows it to
Dagster. A project whose labels are a column of the data has the asset `labels` alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import AssetExecutionContext, AssetKey, Output, asset

from resources.home import HomeResource
from resources.tables import TableOutput
from tidemill.project import Project
from tidemill.store.tables import TableVersion


def build(project: Project) -> list[Any]:
    """The assets `annotations`, `production_rows` and `labels` of one project."""
    if project.labels.kind == "column":
        return [_labels_of_column(project)]
    return [_annotations(project), _production_rows(project), _labels(project)]


def _annotations(project: Project) -> Any:
    @asset(
        name="annotations",
        key_prefix=project.name,
        group_name=project.name,
        io_manager_key="tables",
        kinds={"parquet"},
        description=f"Every answer about a row, as it stands, from {project.labels.kind}.",
    )
    def annotations(context: AssetExecutionContext, home: HomeResource) -> Output[Any]:
        from tidemill.labels.snapshot import annotations_frame, digest_of
        from tidemill.labels.sources import sync

        current, state = home.project(project.name), home.state()
        context.log.info(f"taken over from {current.labels.kind}: {sync(home.home, state, current)}")
        frame = annotations_frame(state, current)
        counts = {str(status): int(count) for status, count in frame["status"].value_counts().items()}
        return _new_or_same(project, home, "annotations", frame, digest_of(frame), metadata=counts)

    return annotations


def _production_rows(project: Project) -> Any:
    @asset(
        name="production_rows",
        key_prefix=project.name,
        deps=[AssetKey([project.name, "raw"])],
        group_name=project.name,
        io_manager_key="tables",
        kinds={"parquet"},
        description="The inputs of predictions that people have labelled, as rows to learn from.",
    )
    def production_rows(annotations: TableVersion, home: HomeResource) -> Output[Any]:
        from tidemill.labels.production import production_rows
        from tidemill.labels.snapshot import digest_of

        taken = home.tables(project.name).require("raw").to_pandas(["_row"])["_row"]
        asked = annotations.to_pandas(["_row"])["_row"]
        # Arrow all the way: a frame would lose the types of columns that are empty.
        rows = production_rows(home.home, home.project(project.name), asked, taken)
        digest = digest_of(rows.to_pandas())
        return _new_or_same(project, home, "production_rows", rows, digest, [annotations])

    return production_rows


def _labels(project: Project) -> Any:
    @asset(
        name="labels",
        key_prefix=project.name,
        group_name=project.name,
        io_manager_key="tables",
        kinds={"parquet"},
        description=f"The label of each labelled row: the column {project.target}, and what people say.",
    )
    def labels(
        raw: TableVersion, annotations: TableVersion, production_rows: TableVersion, home: HomeResource
    ) -> Output[Any]:
        from tidemill.labels.production import all_rows, report_truths
        from tidemill.labels.snapshot import label_snapshot

        current = home.project(project.name)
        rows = all_rows(raw, production_rows).to_pandas()
        made = label_snapshot(rows, current, raw.version, at=raw.created, annotations=annotations.to_pandas())
        report_truths(home.home, project.name, made.labels)
        return _labelled(project, home, made, [raw, annotations, production_rows])

    return labels


def _labels_of_column(project: Project) -> Any:
    @asset(
        name="labels",
        key_prefix=project.name,
        group_name=project.name,
        io_manager_key="tables",
        kinds={"parquet"},
        description=f"The label of each labelled row: here the column {project.target}.",
    )
    def labels(raw: TableVersion, home: HomeResource) -> Output[Any]:
        from tidemill.labels.snapshot import label_snapshot

        current = home.project(project.name)
        made = label_snapshot(raw.to_pandas(), current, raw.version, at=raw.created)
        return _labelled(project, home, made, [raw])

    return labels


def _labelled(project: Project, home: HomeResource, made: Any, parents: list[TableVersion]) -> Output[Any]:
    """The labels, with what a reader of the run wants to know of them."""
    from tidemill.labels.snapshot import digest_of

    return _new_or_same(
        project, home, "labels", made.labels, digest_of(made.labels), parents, made.counts(parents[0].rows)
    )


def _new_or_same(
    project: Project,
    home: HomeResource,
    table: str,
    rows: Any,
    digest: str,
    parents: Sequence[TableVersion] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Output[Any]:
    """A new version of the table, or the current one when it holds the same rows made from the same versions."""
    from tidemill.labels.snapshot import DIGEST

    before = home.tables(project.name).current(table)
    made_from = {parent.table: parent.version for parent in parents}
    if before is not None and before.metadata.get(DIGEST) == digest and before.parents == made_from:
        return Output(before, metadata=metadata)
    return Output(TableOutput(rows, parents, {DIGEST: digest}), metadata=metadata)
