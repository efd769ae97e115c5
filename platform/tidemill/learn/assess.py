"""Assessment: a new model's verdict, from the held-out rows to the gate, kept beside its bundle.

Here the parts come together: evaluation, the live model on the same rows, the gate. Each part is in its own
module; deploying is `serve/deployment.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tidemill.errors import Corrupt, NotFound
from tidemill.home import Home
from tidemill.learn.bundle import add_evaluation, load_model
from tidemill.learn.bundle_info import BundleInfo, load_info
from tidemill.learn.comparison import Comparison, compare
from tidemill.learn.evaluation import Evaluation, evaluate
from tidemill.learn.gate import GateDecision, decide
from tidemill.learn.plots import plot_evaluation
from tidemill.learn.studies import study
from tidemill.learn.training import THREADS
from tidemill.project import Project
from tidemill.serve.deployment import current
from tidemill.store.state import State


@dataclass(frozen=True)
class Assessment:
    """What was found of one model version; `plot` is a PNG of the held-out rows."""

    info: BundleInfo
    evaluation: Evaluation
    decision: GateDecision
    plot: bytes


def assess(home: Home, state: State, project: Project, version: int, features: pd.DataFrame) -> Assessment:
    """Evaluate model `version` on the test rows of `features`, judge it and write both beside its bundle.

    The live model is measured on the same rows, so that the difference has an interval of its own.
    """
    models = home.models(project.name)
    pipeline = load_model(models, version)
    # Beside the services a second thread of a boosted model waits longer than it works.
    with threadpool_limits(limits=THREADS):
        evaluation = study(
            pipeline,
            features,
            project,
            evaluate(pipeline, features, project),
            cv_scores=load_info(models, version).cv.get("scores", []),
        )
        comparison = _against_live(home, state, project, version, pipeline, features)
    decision = decide(evaluation, project, comparison)
    evaluation = replace(evaluation, comparison=comparison)
    info = add_evaluation(models, version, evaluation, decision)
    return Assessment(info, evaluation, decision, plot_evaluation(evaluation))


def _against_live(
    home: Home, state: State, project: Project, version: int, pipeline: Any, features: pd.DataFrame
) -> Comparison | None:
    live = current(state, project.name)
    if live is None or live.champion == version:
        return None
    models = home.models(project.name)
    try:
        champion = load_model(models, live.champion)
    except (NotFound, Corrupt) as error:
        # The new model may be the way out, so it is measured all the same; a gate that compares will refuse it.
        return Comparison(live.champion, reason=f"it cannot be loaded: {error.detail}")
    contract = models / str(live.champion) / "contract.yaml"
    return compare(pipeline, champion, features, project, Project.load(contract), version=live.champion)
