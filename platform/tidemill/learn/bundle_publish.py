"""Publishing a bundle: a folder written aside, hashed, described, then renamed to its version in one step.

Here belongs that step for every kind of bundle, and what each says of where it was made. What a trained or an
imported one holds is in `learn/bundle.py`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tidemill.home import CHECKOUT
from tidemill.learn.bundle_info import BundleInfo, describe, load_info, versions
from tidemill.learn.card import model_card, model_card_html
from tidemill.project import Project
from tidemill.store.durable import (
    disk_full_is_an_error,
    locked,
    replace_bytes,
    replace_json,
    sha256_of,
    sync_folder,
)

STALE_AFTER = 24 * 3600.0
ENVIRONMENT = "environment.json"


def publish(
    models_dir: Path,
    project: Project,
    files: Mapping[str, bytes],
    document: Callable[[int, dict[str, str]], dict[str, Any]],
    beside: Mapping[str, Any] | None = None,
) -> BundleInfo:
    """Publish `files` (name -> bytes) as the next version, and give it.

    `document` makes bundle.json from the version and the files' hashes; `beside` are JSON documents that are laid
    beside and not hashed, such as the evaluation. Raises StorageFull when the disk takes no more: then nothing is
    published.
    """
    with locked(models_dir / ".publish.lock", what="the model store"), disk_full_is_an_error(models_dir):
        _remove_stale(models_dir)
        version = max(versions(models_dir), default=0) + 1
        aside = models_dir / f".draft-{uuid.uuid4().hex}"
        try:
            aside.mkdir()
            replace_json(aside / ENVIRONMENT, environment())
            for name, data in files.items():
                replace_bytes(aside / name, data)
            hashes = {path.name: sha256_of(path) for path in sorted(aside.iterdir())}
            described = document(version, hashes)
            replace_json(aside / "bundle.json", described)
            for name, value in (beside or {}).items():
                replace_json(aside / name, value)
            info = describe(aside, described)
            write_card(info, project_facts(project))
            sync_folder(aside)
            aside.rename(models_dir / str(version))
            sync_folder(models_dir)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return load_info(models_dir, version)


def write_card(info: BundleInfo, facts: Mapping[str, Any]) -> None:
    """Lay the card of `info` into its folder, as Markdown and as a page."""
    replace_bytes(info.folder / "card.md", model_card(info, facts).encode())
    replace_bytes(info.folder / "card.html", model_card_html(info, facts).encode())


def environment() -> dict[str, Any]:
    """What is installed here, exactly: Python, the machine, each package's version, and the hash of uv.lock."""
    lock = CHECKOUT / "uv.lock"
    found = dict(filter(None, map(_name_and_version, importlib.metadata.distributions())))
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "uv_lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        "packages": dict(sorted(found.items(), key=lambda item: item[0].lower())),
    }


def _name_and_version(distribution: importlib.metadata.Distribution) -> tuple[str, str] | None:
    """Of an installed package, from the head of its METADATA; parsing hundreds whole takes half a second."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    head = dict(line.split(": ", 1) for line in text.partition("\n\n")[0].splitlines() if ": " in line)
    return (head["Name"], head["Version"]) if "Name" in head and "Version" in head else None


def code_hash(folder: Path) -> str | None:
    """SHA-256 of the project's own features.py, or None where there is none."""
    file = folder / "features.py"
    return sha256_of(file) if file.is_file() else None


def project_facts(project: Project) -> dict[str, Any]:
    """What the model card says of the project."""
    return {
        "title": project.display_name,
        "description": project.description,
        "target": project.target,
        "features": {name: column.type for name, column in project.feature_columns.items()},
        "split": project.training.split.kind,
    }


def contract_text(project: Project) -> str:
    """The project as YAML, to be kept with a model."""
    import yaml

    return yaml.safe_dump(
        project.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True
    )


def _remove_stale(models_dir: Path) -> None:
    for left in models_dir.glob(".draft-*"):
        if time.time() - left.stat().st_mtime > STALE_AFTER:
            shutil.rmtree(left, ignore_errors=True)
