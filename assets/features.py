"""Station 3, features: labelled rows with the columns a model may see, each on its side of the split.

Encoding is not done here: it belongs to the fitted pipeline, so that training and serving share it
(`tidemill.learn.pipeline`).
"""

from dataclasses import asdict
from typing import Any

from dagster import AssetCheckResult, AssetCheckSeverity, AssetKey, MetadataValue, Output, asset, asset_check

from resources.home import HomeResource
from resources.tables import TableOutput
from tidemill.project import Project
from tidemill.store.tables import TableVersion

# Suspects that a run shows, the most suspicious first.
SUSPECTS_SHOWN = 50


def build(project: Project) -> list[Any]:
    """The asset `features` of one project and its checks."""

    @asset(
        name="features",
        key_prefix=project.name,
        deps=[AssetKey([project.name, "raw"])],
        group_name=project.name,
        io_manager_key="tables",
        kinds={"parquet"},
        description="Features and label of each labelled row, split into train and test.",
    )
    def features(labels: TableVersion, home: HomeResource) -> Output[TableOutput]:
        from tidemill.labels.production import all_rows, labelled_versions
        from tidemill.learn.features import build_features

        # The rows that were labelled, not what has landed since.
        raw, production = labelled_versions(home.tables(project.name), labels)
        rows = all_rows(raw, production).to_pandas()
        built = build_features(rows, labels.to_pandas(), home.project(project.name))
        return Output(
            TableOutput(built, parents=[raw, *([production] if production else []), labels]),
            metadata={
                "train_rows": int((built["_split"] == "train").sum()),
                "test_rows": int((built["_split"] == "test").sum()),
            },
        )

    @asset_check(
        asset=features,
        name="leakage",
        blocking=True,
        description="Neither target nor id is among the features, and no row is in both train and test.",
    )
    def leakage(features: TableVersion, home: HomeResource) -> AssetCheckResult:
        from tidemill.learn.leakage import find_leakage

        leaks = find_leakage(features.to_pandas(), home.project(project.name))
        grave = [leak for leak in leaks if leak.blocking]
        return AssetCheckResult(
            passed=not leaks,
            severity=AssetCheckSeverity.ERROR if grave else AssetCheckSeverity.WARN,
            description="; ".join(leak.detail for leak in leaks) or "no leakage found",
            metadata={"leaks": MetadataValue.json([f"{leak.kind}: {leak.detail}" for leak in leaks])},
        )

    return [features, leakage, _quality(project), _label_noise(project)]


def _quality(project: Project) -> Any:
    @asset_check(
        asset=[project.name, "features"],
        name="quality",
        description="Nothing makes the model learn less than it could: no copies of rows, no rows that contradict "
        "each other, no constant or id-like features, no class too rare.",
    )
    def quality(features: TableVersion, home: HomeResource) -> AssetCheckResult:
        from tidemill.learn.quality import find_concerns

        concerns = find_concerns(features.to_pandas(), home.project(project.name))
        return AssetCheckResult(
            passed=not concerns,
            severity=AssetCheckSeverity.WARN,
            description="; ".join(f"{concern.detail}: {concern.advice}" for concern in concerns)
            or "nothing odd in the rows or features",
            metadata={"concerns": MetadataValue.json([asdict(concern) for concern in concerns])},
        )

    return quality


def _label_noise(project: Project) -> Any:
    @asset_check(
        asset=[project.name, "features"],
        name="label_noise",
        description="The labels are those that the features speak for, judged by a model that did not see them.",
    )
    def label_noise(features: TableVersion, home: HomeResource) -> AssetCheckResult:
        from tidemill.labels.suspects import CHECKED_ROWS, examine

        rows = features.to_pandas()
        found = examine(rows, rows["_label"], home.project(project.name), most_rows=CHECKED_ROWS)
        said = f"{len(found.suspects)} of {found.looked} labels are suspects, {found.plain} of them plainly"
        if found.is_noisy:
            first = ", ".join(found.suspects["_row"].head(5))
            said += f": look at their rows first (such as {first}) and correct the labels that are wrong"
        shown = found.suspects.head(SUSPECTS_SHOWN)
        return AssetCheckResult(
            passed=not found.is_noisy,
            severity=AssetCheckSeverity.WARN,
            description="; ".join(part for part in (said, found.note) if part),
            metadata={
                "suspects": MetadataValue.json(shown.to_dict("records")),
                "judged": found.looked,
            },
        )

    return label_noise
