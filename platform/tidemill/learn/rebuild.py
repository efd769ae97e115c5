"""Training a model again from its provenance, and the proof that it answers as it did.

Here belongs finding every input of a model by version and hash, training as then (search, calibration and all, as
many settings as were tried) and comparing outputs on the reference and the test rows. What a bundle holds is in
`learn/bundle.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tidemill.errors import Conflict, Corrupt, NotFound
from tidemill.home import Home
from tidemill.learn import own_model, training
from tidemill.learn.bundle import load_model
from tidemill.learn.bundle_info import BundleInfo, checked_bytes, load_info
from tidemill.learn.bundle_publish import ENVIRONMENT, code_hash, environment
from tidemill.learn.earlier import read_earlier
from tidemill.learn.features import TEST, TRAIN
from tidemill.learn.imports.imported import is_imported
from tidemill.project import Project
from tidemill.store.provenance import code_commit
from tidemill.store.tables import TableStore

# Sums may be made in another order by another processor; labels may not differ at all.
LARGEST_DIFFERENCE = 1e-9


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild found. Differences are of probabilities, or of predictions relative to 1 where larger.

    `changed` names inputs that are not what they were: packages, commit, features.py. It is the likely cause when
    `equal` is false.
    """

    project: str
    version: int
    equal: bool
    train_rows: int
    test_rows: int
    max_abs_difference: float
    label_flips: int
    changed: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @property
    def text(self) -> str:
        """What the command line says."""
        verdict = "answers as it did" if self.equal else "does NOT answer as it did"
        lines = [
            f"Model {self.version} of {self.project}, trained again, {verdict}.",
            f"  largest difference {self.max_abs_difference:.3g}, {self.label_flips} labels differ, on "
            f"{self.train_rows} reference rows and {self.test_rows} test rows",
        ]
        return "\n".join([*lines, *(f"  changed since: {what}" for what in self.changed)])


def rebuild(home: Home, name: str, version: int) -> Rebuilt:
    """Train `version` of project `name` again and compare.

    Raises NotFound when an input is gone, Corrupt when a table is not what it was, Conflict for a model that was
    not trained here.
    """
    models = home.models(name)
    info = load_info(models, version)
    if is_imported(info):
        raise Conflict(
            f"Model {version} was not trained here",
            detail=f"it was imported from {info.provenance['file']}; its training is not known",
            remedy="Compare the file's SHA-256 in its provenance with the one you have.",
        )
    what = f"{info.project} version {info.version}"
    text = checked_bytes(info, "contract.yaml", what).decode("utf-8")
    project = Project.parse(text, info.folder / "contract.yaml")
    rows = _features(home, info)
    train, test = (rows[rows["_split"] == side].reset_index(drop=True) for side in (TRAIN, TEST))
    kept = load_model(models, version)
    again = training.train(
        rows,
        project,
        model_source=_model_source(info),
        trials=info.provenance.get("trials") or None,
        earlier=read_earlier(info, kept, project),
    )
    with threadpool_limits(limits=training.THREADS):
        difference, flips = _compare(kept, again.best.pipeline, [train, test], project)
    changed = _changed(home, info)
    if (again.best.estimator, again.best.params) != (info.estimator, info.params):
        changed.append(
            f"the search chose {again.best.estimator} {again.best.params}, then it chose {info.estimator} "
            f"{info.params}"
        )
    return Rebuilt(
        project=name,
        version=version,
        equal=difference <= LARGEST_DIFFERENCE and flips == 0,
        train_rows=len(train),
        test_rows=len(test),
        max_abs_difference=difference,
        label_flips=flips,
        changed=changed,
    )


def _features(home: Home, info: BundleInfo) -> pd.DataFrame:
    """The features table the model was made from. Raises NotFound, Corrupt."""
    identity = str(info.provenance.get("features", ""))
    table, _, number = identity.rpartition("@")
    if not table or not number.isdecimal():
        raise NotFound(
            f"Model {info.version} does not say which rows it was made from",
            detail=f"{info.folder / 'bundle.json'} has no features in its provenance",
            remedy="Train a new model: its bundle will say.",
        )
    try:
        found = TableStore(home.tables(info.project)).version(table, int(number))
    except NotFound as error:
        raise NotFound(
            f"An input of model {info.version} is gone",
            detail=f"the table {identity} was removed ({error.detail})",
            remedy="Restore it from a backup; `tidemill data prune` keeps what models were made from.",
        ) from error
    if found.sha256 != info.provenance.get("features_sha256"):
        raise Corrupt(
            f"An input of model {info.version} is not what it was",
            detail=f"{identity} has the hash {found.sha256[:16]}, at training it was "
            f"{str(info.provenance.get('features_sha256'))[:16]}",
            remedy="Restore the table from a backup.",
        )
    return found.to_pandas()


def _model_source(info: BundleInfo) -> bytes | None:
    """The project's model.py as the bundle keeps it."""
    return (
        checked_bytes(info, own_model.FILE, f"model {info.version}") if own_model.FILE in info.files else None
    )


def _compare(kept: Any, again: Any, parts: list[pd.DataFrame], project: Project) -> tuple[float, int]:
    """Largest difference and number of labels that differ, over all rows of `parts`."""
    difference, flips = 0.0, 0
    for part in (part[list(project.feature_columns)] for part in parts if len(part)):
        if project.is_classification:
            if list(map(str, kept.classes_)) != list(map(str, again.classes_)):
                return float("inf"), len(part)
            before, after = kept.predict_proba(part), again.predict_proba(part)
            difference = max(difference, float(np.abs(before - after).max()))
            flips += int((before.argmax(axis=1) != after.argmax(axis=1)).sum())
        else:
            before, after = np.asarray(kept.predict(part)), np.asarray(again.predict(part))
            apart = np.abs(before - after) / np.maximum(1.0, np.abs(before))
            difference = max(difference, float(apart.max()))
    return difference, flips


def _changed(home: Home, info: BundleInfo) -> list[str]:
    """Inputs besides the rows that are not what they were at training."""
    found = []
    if ENVIRONMENT in info.files:
        then = json.loads(checked_bytes(info, ENVIRONMENT, f"model {info.version}"))
        now = environment()
        found += [
            f"{part.replace('_', ' ')}: {then[part]} then, {now[part]} now"
            for part in ("python", "machine", "uv_lock_sha256")
            if then[part] != now[part]
        ]
        names = sorted(then["packages"].keys() | now["packages"].keys())
        for name in names:
            before, after = then["packages"].get(name, "absent"), now["packages"].get(name, "absent")
            if before != after and name != "tidemill":
                found.append(f"{name}: {before} then, {after} now")
    commit = info.provenance.get("commit")
    if commit != (now_at := code_commit()):
        found.append(f"code: commit {commit} then, {now_at} now")
    code = code_hash(home.project_file(info.project).parent)
    if "features_py_sha256" in info.provenance and info.provenance["features_py_sha256"] != code:
        found.append("features.py is another file than at training")
    return found
