"""Model bundles: one immutable folder a version, published in one step.

    models/3/bundle.json         what it is: project, estimator, parameters, metrics, provenance, files' hashes
    models/3/model.skops         the fitted pipeline, without pickle
    models/3/model.py            the project's own model code, where the model is of a class of it
    models/3/scorer.npz          the same model compiled for serving, where it was proved to answer alike
    models/3/contract.yaml       the project as it was at training
    models/3/reference.parquet   train rows with label and out-of-fold score: what drift is measured against
    models/3/metrics.json        cross-validation of every candidate and trial
    models/3/card.md             the model card
    models/3/evaluation.json     held-out metrics, and
    models/3/gate.json           the gate's decision: both beside the rest, added after publication

Here belong writing a bundle and loading its model and reference rows; pandas and scikit-learn are imported where
they are used. What a bundle says of itself belongs to `learn/bundle_info.py`, which version is live to
`serve/deployment.py`.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.errors import NotFound
from tidemill.learn.bundle_info import BundleInfo, checked_bytes, describe, load_info, versions
from tidemill.learn.card import model_card
from tidemill.store.durable import (
    disk_full_is_an_error,
    locked,
    replace_bytes,
    replace_json,
    sha256_of,
    sync_folder,
)
from tidemill.store.provenance import code_commit

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from tidemill.learn.evaluation import Evaluation
    from tidemill.learn.gate import GateDecision
    from tidemill.learn.training import Training
    from tidemill.project import Project

LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "skops")
STALE_AFTER = 24 * 3600.0


def write_bundle(
    models_dir: Path,
    *,
    project: Project,
    training: Training,
    evaluation: Evaluation | None = None,
    provenance: Mapping[str, Any] | None = None,
    reference: pd.DataFrame | None = None,
    contract: str | None = None,
) -> BundleInfo:
    """Publish the best candidate of `training` as the next version.

    `reference` is the features table: its train rows are kept, and on all its rows the compiled scorer is proved,
    without which none is written. `contract` the text of project.yaml, else it
    is written from `project`. `provenance` says what it was made from; commit, seed and library versions are
    filled in. Raises StorageFull when the disk takes no more: then nothing is published.
    """
    from tidemill.learn.persistence import to_bytes
    from tidemill.learn.proof import compiled_scorer

    model = to_bytes(training.best.pipeline)
    scorer, proof = compiled_scorer(training.best.pipeline, project, reference)
    with locked(models_dir / ".publish.lock", what="the model store"), disk_full_is_an_error(models_dir):
        _remove_stale(models_dir)
        version = max(versions(models_dir), default=0) + 1
        aside = models_dir / f".draft-{uuid.uuid4().hex}"
        try:
            aside.mkdir()
            replace_bytes(aside / "model.skops", model)
            if training.model_source is not None:
                replace_bytes(aside / "model.py", training.model_source)
            if scorer is not None:
                replace_bytes(aside / "scorer.npz", scorer)
            replace_bytes(aside / "contract.yaml", (contract or _contract_text(project)).encode())
            replace_json(aside / "metrics.json", _search_document(training))
            if reference is not None:
                _write_reference(aside / "reference.parquet", reference, training)
            hashes = {path.name: sha256_of(path) for path in sorted(aside.iterdir())}
            known = {**(provenance or {}), "scorer": proof}
            document = _document(version, project, training, evaluation, known, hashes)
            replace_json(aside / "bundle.json", document)
            if evaluation is not None:
                replace_json(aside / "evaluation.json", evaluation.to_json())
            info = describe(aside, document)
            replace_bytes(aside / "card.md", model_card(info, project_facts(project)).encode())
            sync_folder(aside)
            aside.rename(models_dir / str(version))
            sync_folder(models_dir)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return load_info(models_dir, version)


def add_evaluation(
    models_dir: Path, version: int, evaluation: Evaluation, decision: GateDecision | None = None
) -> BundleInfo:
    """Lay the evaluation, the gate's decision and a new card beside a published bundle; bundle.json stays."""
    folder = load_info(models_dir, version).folder
    with locked(models_dir / ".publish.lock", what="the model store"):
        replace_json(folder / "evaluation.json", evaluation.to_json())
        if decision is not None:
            replace_json(folder / "gate.json", decision.to_json())
        info = load_info(models_dir, version)
        replace_bytes(folder / "card.md", model_card(info, _stored_facts(folder)).encode())
    return info


def load_model(models_dir: Path, version: int) -> Pipeline:
    """The fitted pipeline of one bundle, checked against its hash and the allow-list. Raises NotFound, Corrupt."""
    from tidemill.learn.persistence import from_bytes

    info = load_info(models_dir, version)
    what = f"{info.project} version {version}"
    return from_bytes(checked_bytes(info, "model.skops", what), what, _further_types(info, what))


def _further_types(info: BundleInfo, what: str) -> list[str]:
    """The types beyond the usual that this bundle's model may hold; its own model.py is run for them."""
    from tidemill.learn.boosters import BOOSTERS, TYPES
    from tidemill.learn.own_model import FILE, load_own_models

    if info.estimator in BOOSTERS:
        return TYPES
    if FILE in info.files:
        return load_own_models(checked_bytes(info, FILE, what), info.task != "regression").types
    return []


def save_pipeline(pipeline: Pipeline, file: Path) -> None:
    """Write any fitted candidate as a skops file outside of the store, such as for an experiment's artifacts."""
    from tidemill.learn.persistence import save

    save(pipeline, file)


def load_reference(models_dir: Path, version: int) -> pd.DataFrame:
    """Train rows: the feature columns with `_row`, `_label`, `_score` and `_prediction` (out-of-fold)."""
    import io

    import pandas as pd

    info = load_info(models_dir, version)
    if "reference.parquet" not in info.files:
        raise NotFound(
            f"Model {version} has no reference rows",
            detail=f"{info.folder} was written without them",
            remedy="Train a new model: its bundle will have them.",
        )
    return pd.read_parquet(io.BytesIO(checked_bytes(info, "reference.parquet", f"model {version}")))


def project_facts(project: Project) -> dict[str, Any]:
    """What the model card says of the project."""
    return {
        "title": project.display_name,
        "description": project.description,
        "target": project.target,
        "features": {name: column.type for name, column in project.feature_columns.items()},
        "split": project.training.split.kind,
    }


def _stored_facts(folder: Path) -> dict[str, Any]:
    from tidemill.project import Project

    file = folder / "contract.yaml"
    return project_facts(Project.parse(file.read_text(encoding="utf-8"), file))


def _remove_stale(models_dir: Path) -> None:
    for left in models_dir.glob(".draft-*"):
        if time.time() - left.stat().st_mtime > STALE_AFTER:
            shutil.rmtree(left, ignore_errors=True)


def _contract_text(project: Project) -> str:
    import yaml

    return yaml.safe_dump(
        project.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True
    )


def _document(
    version: int,
    project: Project,
    training: Training,
    evaluation: Evaluation | None,
    provenance: dict[str, Any],
    hashes: dict[str, str],
) -> dict[str, Any]:
    best = training.best
    defaults = {
        "commit": code_commit(),
        "seed": project.training.seed,
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "train_rows": training.rows,
        "trials": training.trials,
        "calibration": training.calibration or None,
        "threshold": training.threshold_choice,
    }
    return {
        "version": version,
        "project": project.name,
        "task": project.task,
        "estimator": best.estimator,
        "params": best.params,
        "metric": training.metric,
        "metrics": evaluation.to_json()["metrics"] if evaluation is not None else {},
        "cv": {"mean": best.cv_mean, "std": best.cv_std, "scores": best.cv_scores},
        "baseline": evaluation.baseline if evaluation is not None else training.baseline.metrics,
        "classes": training.classes,
        "positive": training.positive,
        "threshold": training.threshold,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "provenance": {**defaults, **provenance},
        "candidates": [_candidate_summary(candidate, training) for candidate in training.candidates],
        "files": hashes,
    }


def _candidate_summary(candidate: Any, training: Training) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "estimator": candidate.estimator,
        "params": candidate.params,
        "metric": candidate.metric,
        "cv_mean": candidate.cv_mean,
        "cv_std": candidate.cv_std,
        "cv_scores": candidate.cv_scores,
        "seconds": round(candidate.seconds, 3),
        "trials": len(candidate.trials),
        "chosen": candidate is training.best,
        "notes": candidate.notes,
    }


def _search_document(training: Training) -> dict[str, Any]:
    return {
        "metric": training.metric,
        "baseline": {"strategy": training.baseline.strategy, "metrics": training.baseline.metrics},
        "candidates": [
            {
                **_candidate_summary(candidate, training),
                "trials": [
                    {**asdict(trial), "seconds": round(trial.seconds, 3)} for trial in candidate.trials
                ],
            }
            for candidate in training.candidates
        ],
        "seconds": round(training.seconds, 3),
        "notes": training.notes,
    }


def _write_reference(file: Path, features: pd.DataFrame, training: Training) -> None:
    """Train rows joined with their out-of-fold score and prediction (empty where no fold held them out)."""
    from tidemill.store.durable import sync_file

    rows = features[features["_split"] == "train"] if "_split" in features.columns else features
    kept = [name for name in rows.columns if name in ("_row", "_label") or not name.startswith("_")]
    scores = training.oof.assign(_row=training.oof["_row"].astype(rows["_row"].dtype))
    joined = rows[kept].merge(scores, on="_row", how="left", validate="1:1")
    joined.to_parquet(file, index=False, compression="zstd")
    sync_file(file)
