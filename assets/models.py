"""Station 4, models: a search over candidates on the train rows, then a verdict on the held-out rows.

Search, metrics, gate and bundles are `tidemill.learn`; what MLflow remembers goes through `resources/tracking.py`.
"""

import tempfile
from pathlib import Path
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    MetadataValue,
    Output,
    asset,
    asset_check,
)

from resources.bundles import BundleVersion, inline_image
from resources.home import HomeResource
from resources.tracking import Tracking
from tidemill.project import Project
from tidemill.store.tables import TableVersion


def build(project: Project) -> list[Any]:
    """The assets `model` and `evaluation` of one project, the promotion gate and the checks of what is measured."""
    checks = [_promotion_gate(project), _overfit(project)]
    if project.training.stack or project.training.warm_start is not None:
        checks.append(_earlier_models(project))
    return [_model(project), _evaluation(project), *checks]


def _model(project: Project) -> Any:
    @asset(
        name="model",
        key_prefix=project.name,
        group_name=project.name,
        io_manager_key="bundles",
        kinds={"scikitlearn", "mlflow"},
        description="The best candidate of the search, fitted on the train rows, as an immutable bundle.",
    )
    def model(
        context: AssetExecutionContext, features: TableVersion, home: HomeResource, tracking: Tracking
    ) -> Output[BundleVersion]:
        from tidemill.learn.bundle import write_bundle
        from tidemill.learn.bundle_publish import code_hash
        from tidemill.learn.earlier import open_earlier
        from tidemill.learn.own_model import model_source
        from tidemill.learn.plots import plot_candidates
        from tidemill.learn.progress import write_progress
        from tidemill.learn.training import train

        current = home.project(project.name)
        rows = features.to_pandas()
        tags = {"project": current.name, "dataset": _dataset(features), "code_commit": features.commit}
        candidates = len(set(current.training.candidates))
        with tracking.training_run(context, current.name, tags, candidates) as tracked:
            tracked.log_dataset(features.id, features.sha256, features.folder)
            training = train(
                rows,
                current,
                on_candidate=lambda candidate: _track_candidate(tracked, candidate, tags),
                on_failed=lambda name, trials: tracked.log_failed_candidate(
                    name, {**tags, "candidate": name}, trials, current.metric
                ),
                model_source=model_source(home.home.project_file(current.name)),
                earlier=open_earlier(home.home.models(current.name), current, rows),
                on_progress=lambda step: write_progress(home.home, context.run.run_id, step),
            )
            info = write_bundle(
                home.home.models(current.name),
                project=current,
                training=training,
                provenance={
                    "dataset": _dataset(features),
                    "labels": f"labels@{features.parents['labels']}",
                    "features": features.id,
                    "features_sha256": features.sha256,
                    "features_py_sha256": code_hash(home.home.project_file(current.name).parent),
                    "commit": features.commit,
                    "run_id": context.run.run_id,
                    "mlflow_run_id": tracked.id,
                },
                reference=rows,
            )
            tracked.log(
                params={"estimator": info.estimator, **info.params},
                metrics={f"cv_{training.metric}": training.best.cv_mean},
                artifacts=info.folder,
            )
        return Output(
            BundleVersion(current.name, info.version),
            metadata={
                "candidates": MetadataValue.md(inline_image(plot_candidates(training))),
                "estimator": info.estimator,
                "metric": training.metric,
                "cross_validated": training.best.cv_mean,
                "mlflow_run_id": info.provenance["mlflow_run_id"],
            },
        )

    return model


def _track_candidate(tracked: Any, candidate: Any, tags: dict[str, str]) -> None:
    """Write one candidate to MLflow: parameters, scores and a plot of its folds."""
    from tidemill.learn.plots import plot_folds

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "folds.png").write_bytes(plot_folds(candidate))
        tracked.log_candidate(
            candidate.name,
            params={"estimator": candidate.estimator, **candidate.params},
            metrics={
                f"cv_{candidate.metric}": candidate.cv_mean,
                f"cv_{candidate.metric}_std": candidate.cv_std,
                "seconds": candidate.seconds,
            },
            tags={**tags, "candidate": candidate.name},
            artifacts=Path(folder),
            trials=candidate.trials,
            metric=candidate.metric,
        )


def _dataset(features: TableVersion) -> str:
    return f"raw@{features.parents['raw']}"


def _evaluation(project: Project) -> Any:
    @asset(
        name="evaluation",
        key_prefix=project.name,
        group_name=project.name,
        io_manager_key="bundles",
        kinds={"scikitlearn"},
        description="The model on the held-out rows: metrics with intervals, the baseline, the gate's verdict.",
    )
    def evaluation(
        model: BundleVersion, features: TableVersion, home: HomeResource, tracking: Tracking
    ) -> Output[BundleVersion]:
        from resources.registry import reconcile
        from tidemill.learn.assess import assess
        from tidemill.learn.plots import evaluation_plots

        current = home.project(project.name)
        assessed = assess(home.home, home.state(), current, model.version, features.to_pandas())
        if run_id := assessed.info.provenance.get("mlflow_run_id"):  # a model made elsewhere has no run
            tracking.add_evaluation(
                run_id,
                {f"test_{name}": interval.value for name, interval in assessed.evaluation.metrics.items()},
                [assessed.info.folder / name for name in ("card.html", "evaluation.json")],
                {"evaluation": assessed.plot, **evaluation_plots(assessed.evaluation)},
            )
        reconcile(tracking, home.state(), current.name)
        return Output(
            model,
            metadata={
                **{
                    name: MetadataValue.md(
                        f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"
                    )
                    for name, interval in assessed.evaluation.metrics.items()
                },
                "test_rows": assessed.evaluation.rows,
                "plot": MetadataValue.md(inline_image(assessed.plot)),
            },
        )

    return evaluation


def _promotion_gate(project: Project) -> Any:
    @asset_check(
        asset=[project.name, "evaluation"],
        name="promotion_gate",
        blocking=True,
        description="The model beats the baseline and keeps the minimums of project.yaml on the held-out rows.",
    )
    def promotion_gate(evaluation: BundleVersion, home: HomeResource) -> AssetCheckResult:
        from tidemill.learn.bundle_info import load_info

        gate = load_info(home.home.models(project.name), evaluation.version).gate or {}
        return AssetCheckResult(
            passed=bool(gate.get("passed")),
            severity=AssetCheckSeverity.ERROR,
            description="; ".join(gate.get("reasons", [])) or "every gate is passed",
            metadata={"checks": MetadataValue.json(gate.get("checks", []))},
        )

    return promotion_gate


def _overfit(project: Project) -> Any:
    @asset_check(
        asset=[project.name, "evaluation"],
        name="overfit",
        description="The metric holds from train rows and cross-validation to the held-out rows.",
    )
    def overfit(evaluation: BundleVersion, home: HomeResource) -> AssetCheckResult:
        from tidemill.learn.bundle_info import load_info

        found = load_info(home.home.models(project.name), evaluation.version).evaluation or {}
        gaps = found.get("gaps") or {}
        warnings = gaps.get("warnings", [])
        return AssetCheckResult(
            passed=not warnings,
            severity=AssetCheckSeverity.WARN,
            description="; ".join(warnings) or "no gap beyond chance and custom",
            metadata={"gaps": MetadataValue.json(gaps)},
        )

    return overfit


def _earlier_models(project: Project) -> Any:
    @asset_check(
        asset=[project.name, "evaluation"],
        name="earlier_models",
        description="What the model takes over from earlier versions cannot have known the rows it is judged on.",
    )
    def earlier_models(evaluation: BundleVersion, home: HomeResource) -> AssetCheckResult:
        from tidemill.learn.bundle_info import load_info, warnings_of

        warnings = warnings_of(load_info(home.home.models(project.name), evaluation.version))
        return AssetCheckResult(
            passed=not warnings,
            severity=AssetCheckSeverity.WARN,
            description="; ".join(warnings) or "what is taken over had not learnt from held-out rows",
        )

    return earlier_models
