"""What model bundles say of themselves: which there are, and the description, evaluation and gate of each.

Here belongs what can be read without pandas and scikit-learn, so that the API can list models without loading
any. Writing bundles, their files, and loading the model belong to `learn/bundle.py`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.errors import Corrupt, NotFound


@dataclass(frozen=True)
class BundleInfo:
    """One published model. `evaluation` and `gate` are None until they were added.

    `metrics` maps a name to {"value", "low", "high"} on held-out rows and is empty before the evaluation; `cv` has
    the search's own {"mean", "std", "scores"} of `metric`. `baseline` is the dummy's, of the same rows as
    `metrics`, or by cross-validation before the evaluation.
    """

    folder: Path
    version: int
    project: str
    task: str
    estimator: str
    params: dict[str, Any]
    metric: str
    metrics: dict[str, dict[str, float]]
    cv: dict[str, Any]
    baseline: dict[str, float]
    classes: list[str]
    positive: str | None
    threshold: float | None
    created: str
    provenance: dict[str, Any]
    candidates: list[dict[str, Any]]
    files: dict[str, str]
    evaluation: dict[str, Any] | None = None
    gate: dict[str, Any] | None = None

    @property
    def card(self) -> str:
        """The model card, in Markdown."""
        return (self.folder / "card.md").read_text(encoding="utf-8")

    @property
    def card_html(self) -> str:
        """The model card as a page. Raises NotFound for a bundle that was made before there were any."""
        try:
            return (self.folder / "card.html").read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise NotFound(
                f"Model {self.version} has no card as a page",
                detail=f"{self.folder} was written before cards were pages",
                remedy="Ask for form=markdown, or evaluate the model again.",
            ) from error


def warnings_of(info: BundleInfo) -> list[str]:
    """What a person should know of the earlier versions in this model before believing its figures."""
    said = [*info.provenance.get("stack", []), info.provenance.get("warm_start") or {}]
    return [str(one["warning"]) for one in said if one.get("warning")]


def list_bundles(models_dir: Path) -> list[BundleInfo]:
    """All published models, oldest first. Raises Corrupt for one that cannot be read."""
    return [load_info(models_dir, version) for version in versions(models_dir)]


def load_info(models_dir: Path, version: int) -> BundleInfo:
    """What one bundle says of itself. Raises NotFound, or Corrupt when it cannot be read."""
    folder = models_dir / str(int(version))
    try:
        document = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        return describe(folder, document)
    except FileNotFoundError as error:
        known = ", ".join(map(str, versions(models_dir))) or "none yet"
        raise NotFound(
            f"There is no model {version}",
            detail=f"{folder} is not there; the versions are: {known}",
            remedy="Choose one of those, or train a model first.",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            f"What describes model {version} is not readable",
            detail=f"{folder}: {error}",
            remedy="Restore the bundle's folder from a backup, or train again.",
        ) from error


def versions(models_dir: Path) -> list[int]:
    """The published versions, in order."""
    if not models_dir.is_dir():
        return []
    return sorted(int(path.name) for path in models_dir.iterdir() if path.name.isdecimal())


def describe(folder: Path, document: dict[str, Any]) -> BundleInfo:
    """The bundle in `folder`, of which `document` is bundle.json, with what was laid beside it."""
    evaluation = _beside(folder / "evaluation.json")
    measured = (
        {"metrics": evaluation["metrics"], "baseline": evaluation["baseline"]}
        if evaluation is not None
        else {}
    )
    gate = _beside(folder / "gate.json")
    return BundleInfo(folder=folder, evaluation=evaluation, gate=gate, **{**document, **measured})


def _beside(file: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return document


def checked_bytes(info: BundleInfo, name: str, what: str) -> bytes:
    """The bytes of a file of the bundle, read once and hashed before anybody looks inside."""
    try:
        data = (info.folder / name).read_bytes()
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != info.files.get(name):
        raise Corrupt(
            f"A file of {what} is not what was written",
            detail=f"{info.folder / name} is missing or its SHA-256 differs from bundle.json",
            remedy="Restore the bundle's folder from a backup, or train again.",
        )
    return data
