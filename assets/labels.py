"""Station 2, labels: what each row is, by whom, and when it was said.

Consolidation and where labels come from is `tidemill.labels`.
"""

from typing import Any

from dagster import Output, asset

from resources.home import HomeResource
from resources.tables import TableOutput
from tidemill.project import Project
from tidemill.store.tables import TableVersion


def build(project: Project) -> list[Any]:
    """The asset `labels` of one project."""

    @asset(
        name="labels",
        key_prefix=project.name,
        group_name=project.name,
        io_manager_key="tables",
        kinds={"parquet"},
        description=f"The label of each labelled row: here the column {project.target}.",
    )
    def labels(raw: TableVersion, home: HomeResource) -> Output[TableOutput]:
        from tidemill.labels.column import labels_from_column

        found = labels_from_column(raw.to_pandas(), home.project(project.name), raw.version)
        counts = (
            found["label"].astype(str).value_counts().head(20).to_dict() if project.is_classification else {}
        )
        return Output(
            TableOutput(found, parents=[raw]),
            metadata={"labelled": len(found), "unlabelled": raw.rows - len(found), "classes": counts},
        )

    return [labels]
