"""Model bundles: one immutable folder a version, published in one step.

    models/3/bundle.json         what it is: project, estimator, parameters, metrics, provenance, files' hashes
    models/3/model.skops         the fitted pipeline, without pickle
    models/3/model.py            the project's own model code, where the model is of a class of it
    models/3/scorer.npz          the same model compiled for serving, where it was proved to answer alike
    models/3/stacked.parquet     answers of stacked versions for the train rows, where training.stack names any
    models/3/unseen.json         the train rows that the version had not seen whose trees were gone on from
    models/3/environment.json    every installed package with its version, and the hash of uv.lock
    models/3/contract.yaml       the project as it was at training
    models/3/reference.parquet   train rows with label and out-of-fold score: what drift is measured against
    models/3/metrics.json        cross-validation of every candidate and trial
    models/3/import.json         of an imported model alone: how its file is read; model.onnx and such stand for
                                 model.skops then
    models/3/card.md             the model card, and
    models/3/card.html           the same as a page that needs nothing else
    models/3/evaluation.json     held-out metrics, and
    models/3/gate.json           the gate's decision: both beside the rest, added after publication

Here belong what a bundle holds and loading its model and reference rows; pandas and scikit-learn are imported where
they are used. Publishing belongs to `learn/bundle_publish.py`, what a bundle says of itself to
`learn/bundle_info.py`, which version is live to `serve/deployment.py`.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.errors import NotFound
from tidemill.learn.bundle_info import BundleInfo, checked_bytes, load_info
from tidemill.learn.bundle_publish import contract_text, project_facts, publish, write_card
from tidemill.store.durable import locked, replace_json
from tidemill.store.provenance import code_commit

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from tidemill.learn.evaluation import Evaluation
    from tidemill.learn.gate import GateDecision
    from tidemill.learn.imports.imported import ImportedModel
    from tidemill.learn.imports.spec import Spec
    from tidemill.learn.training import Training
    from tidemill.project import Project

LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "skops")


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

    files = {"model.skops": to_bytes(training.best.pipeline), **training.earlier.files()}
    scorer, proof = compiled_scorer(training.best.pipeline, project, reference)
    if training.model_source is not None:
        files["model.py"] = training.model_source
    if scorer is not None:
        files["scorer.npz"] = scorer
    files["contract.yaml"] = (contract or contract_text(project)).encode()
    files["metrics.json"] = json.dumps(_search_document(training)).encode()
    if reference is not None:
        files["reference.parquet"] = _parquet(_reference(reference, training))
    known = {**training.earlier.provenance(), **(provenance or {}), "scorer": proof}

    def document(version: int, hashes: dict[str, str]) -> dict[str, Any]:
        return _document(version, project, training, evaluation, known, hashes)

    beside = {"evaluation.json": evaluation.to_json()} if evaluation is not None else None
    return publish(models_dir, project, files, document, beside)


def write_imported(
    models_dir: Path,
    *,
    project: Project,
    spec: Spec,
    model: bytes,
    scorer: bytes | None,
    provenance: Mapping[str, Any],
    reference: pd.DataFrame,
) -> BundleInfo:
    """Publish a model that was made elsewhere, once it has been looked at, as the next version.

    `reference` has the columns of reference.parquet already. Raises as `write_bundle`.
    """
    from tidemill.learn.imports.spec import FILE

    files = {
        spec.model_file: model,
        FILE: json.dumps(spec.to_json()).encode(),
        "contract.yaml": contract_text(project).encode(),
        "reference.parquet": _parquet(reference),
    }
    if scorer is not None:
        files["scorer.npz"] = scorer

    def document(version: int, hashes: dict[str, str]) -> dict[str, Any]:
        from tidemill.learn.scoring import positive_class

        return {
            "version": version,
            "project": project.name,
            "task": project.task,
            "estimator": f"imported {spec.format}",
            "params": {},
            "metric": project.metric,
            "metrics": {},
            "cv": {"mean": None, "std": None, "scores": []},
            "baseline": {},
            "classes": sorted(spec.classes),
            "positive": (positive := positive_class(spec.classes, project)),
            "threshold": project.serving.threshold if positive is not None else None,
            "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "provenance": {"commit": code_commit(), **provenance, "notes": spec.notes},
            "candidates": [],
            "files": hashes,
        }

    return publish(models_dir, project, files, document)


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
        write_card(info, _stored_facts(folder))
    return info


def load_model(models_dir: Path, version: int) -> Pipeline | ImportedModel:
    """The model of one bundle, checked against its hash and the allow-list. Raises NotFound, Corrupt.

    It has predict and, if it classifies, predict_proba and classes_; an imported one is no pipeline of ours.
    """
    from tidemill.learn.imports.imported import is_imported, load_imported
    from tidemill.learn.persistence import from_bytes

    info = load_info(models_dir, version)
    if is_imported(info):
        return load_imported(info)
    what = f"{info.project} version {version}"
    return from_bytes(checked_bytes(info, "model.skops", what), what, _further_types(info, what))


def _further_types(info: BundleInfo, what: str) -> list[str]:
    """The types beyond the usual that this bundle's model may hold; its own model.py is run for them."""
    from tidemill.learn.boosters import BOOSTERS, TYPES
    from tidemill.learn.own_model import FILE, load_own_models

    stacked = [str(one["estimator"]) for one in info.provenance.get("stack", [])]
    boosters = TYPES if {info.estimator, *stacked} & BOOSTERS.keys() else []
    if FILE in info.files:
        return boosters + load_own_models(checked_bytes(info, FILE, what), info.task != "regression").types
    return boosters


def load_reference(models_dir: Path, version: int) -> pd.DataFrame:
    """Train rows: the feature columns with `_row`, `_label`, `_score` and `_prediction` (out-of-fold)."""
    import pandas as pd

    info = load_info(models_dir, version)
    if "reference.parquet" not in info.files:
        raise NotFound(
            f"Model {version} has no reference rows",
            detail=f"{info.folder} was written without them",
            remedy="Train a new model: its bundle will have them.",
        )
    return pd.read_parquet(io.BytesIO(checked_bytes(info, "reference.parquet", f"model {version}")))


def _stored_facts(folder: Path) -> dict[str, Any]:
    from tidemill.project import Project

    file = folder / "contract.yaml"
    return project_facts(Project.parse(file.read_text(encoding="utf-8"), file))


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


def _reference(features: pd.DataFrame, training: Training) -> pd.DataFrame:
    """Train rows joined with their out-of-fold score and prediction (empty where no fold held them out)."""
    rows = features[features["_split"] == "train"] if "_split" in features.columns else features
    kept = [name for name in rows.columns if name in ("_row", "_label") or not name.startswith("_")]
    scores = training.oof.assign(_row=training.oof["_row"].astype(rows["_row"].dtype))
    return rows[kept].merge(scores, on="_row", how="left", validate="1:1")


def _parquet(rows: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()
