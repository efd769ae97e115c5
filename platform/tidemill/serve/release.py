"""What is asked before a model comes to answer, and how the pipeline brings one there.

Here belong the look at a model's gate and the choice between live, shadow and canary that `rollout` of
project.yaml makes. The states themselves are `serve/deployment.py`.
"""

from __future__ import annotations

from tidemill.errors import Conflict
from tidemill.home import Home
from tidemill.learn.bundle_info import load_info
from tidemill.project import Project
from tidemill.serve import challengers, deployment
from tidemill.serve.deployment import Deployment
from tidemill.store.state import State


def require_deployable(home: Home, project: str, version: int, *, despite_gate: bool) -> None:
    """Raise NotFound for a model that is not there, Conflict for one that has not passed its gate."""
    gate = load_info(home.models(project), version).gate
    if despite_gate or (gate and gate.get("passed")):
        return
    reasons = "; ".join(gate.get("reasons", [])) if gate else "it was not evaluated yet"
    raise Conflict(
        "The model has not passed its gate",
        detail=f"project {project}, model {version}: {reasons}",
        remedy="Train again with more or better data. To deploy it all the same, send despite_gate: true.",
        gate=gate,
    )


def release(state: State, project: Project, version: int, *, actor: str, reason: str) -> Deployment:
    """Bring a model that passed its gate to where `rollout.start` says. The first model is live at once.

    A newer model takes the place of an older challenger. Raises Conflict when somebody else was quicker.
    """
    before = deployment.current(state, project.name)
    start = project.rollout.start
    if before is not None and before.champion == version:
        return before
    revision = before.revision if before else 0
    if before is None or start == "live":
        return deployment.deploy(
            state, project.name, version, expected_revision=revision, actor=actor, reason=reason
        )
    if start == "shadow":
        return challengers.shadow(
            state,
            project.name,
            version,
            expected_revision=revision,
            actor=actor,
            reason=reason,
            replaces=True,
        )
    return challengers.canary(
        state,
        project.name,
        version,
        project.rollout.percent,
        expected_revision=revision,
        actor=actor,
        reason=reason,
        replaces=True,
    )
