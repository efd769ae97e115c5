"""Assessment: a new model's verdict, from the held-out rows to the gate, kept beside its bundle.

Here the parts come together: evaluation, the live model on the same rows, the gate. Each part is in its own
module; deploying is `serve/deployment.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from tidemill.home import Home
from tidemill.learn.bundle import add_evaluation, load_model
from tidemill.learn.bundle_info import BundleInfo
from tidemill.learn.evaluation import Evaluation, evaluate
from tidemill.learn.gate import GateDecision, decide
from tidemill.learn.plots import plot_evaluation
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

    The live model is evaluated on the same rows only when a gate compares with it.
    """
    models = home.models(project.name)
    evaluation = evaluate(load_model(models, version), features, project)
    decision = decide(evaluation, project, _champion(home, state, project, version, features))
    info = add_evaluation(models, version, evaluation, decision)
    return Assessment(info, evaluation, decision, plot_evaluation(evaluation))


def _champion(
    home: Home, state: State, project: Project, version: int, features: pd.DataFrame
) -> Evaluation | None:
    live = current(state, project.name)
    if project.gates.not_worse_by is None or live is None or live.champion == version:
        return None
    return evaluate(load_model(home.models(project.name), live.champion), features, project)
