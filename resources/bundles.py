"""The IO manager for model bundles: assets hand each other the version number, the bundle stays in the store.

Bundles are written, atomically, by `tidemill.learn.bundle`; this module finds them again and describes them.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from dagster import InputContext, MetadataValue, OutputContext
from dagster._core.storage.io_manager import IOManager

from tidemill.errors import NotFound
from tidemill.home import Home


@dataclass(frozen=True)
class BundleVersion:
    """One model version of a project."""

    project: str
    version: int


class BundleIOManager(IOManager):
    """Model bundles of every project of the home at `root`; an asset key is `[project, name]`."""

    def __init__(self, root: str) -> None:
        self.root = root

    def handle_output(self, context: OutputContext, obj: BundleVersion) -> None:
        from tidemill.learn.bundle_info import load_info

        info = load_info(Home.find(self.root).models(obj.project), obj.version)
        context.add_output_metadata(
            {
                "version": info.version,
                "folder": MetadataValue.path(str(info.folder)),
                "provenance": MetadataValue.json(info.provenance),
            }
        )

    def load_input(self, context: InputContext) -> BundleVersion:
        """The version this run made, else the newest: two trainings at once must not judge each other's model."""
        from tidemill.learn.bundle_info import list_bundles

        project = context.asset_key.path[0]
        bundles = list_bundles(Home.find(self.root).models(project))
        if not bundles:
            raise NotFound(
                f"Project {project} has no model yet",
                remedy=f"Materialise {project}/model, or run the job {project}__training.",
            )
        step = context._step_context
        own = [info for info in bundles if step and info.provenance.get("run_id") == step.run_id]
        return BundleVersion(project, max(info.version for info in own or bundles))


def inline_image(png: bytes) -> str:
    """A PNG as Markdown that Dagster's UI shows in place."""
    return f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})"
