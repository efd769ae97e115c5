"""The promotion gate: may this model be deployed?

Here belong the rules of `gates` in project.yaml over two evaluations. Deploying is `serve/deployment.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tidemill.errors import InvalidInput
from tidemill.project import SMALLER_IS_BETTER, Project

if TYPE_CHECKING:
    from tidemill.learn.evaluation import Evaluation


@dataclass(frozen=True)
class GateCheck:
    """One rule: what was `found`, what is `needed`, and a sentence with both."""

    name: str
    passed: bool
    found: float
    needed: float
    message: str


@dataclass(frozen=True)
class GateDecision:
    """`reasons` says for each failed check which it was and by how much; empty when all passed."""

    passed: bool
    reasons: list[str]
    checks: list[GateCheck]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def decide(evaluation: Evaluation, project: Project, champion: Evaluation | None = None) -> GateDecision:
    """Judge `evaluation` by the project's gates.

    `champion` is the live model's evaluation on the same held-out rows; without one nothing is compared with it.
    Raises InvalidInput when the two are not of the same rows.
    """
    checks = [*_beats_baseline(evaluation, project), *_minimums(evaluation, project)]
    if champion is not None:
        checks += _not_worse(evaluation, project, champion)
    failed = [check.message for check in checks if not check.passed]
    return GateDecision(not failed, failed, checks)


def _beats_baseline(evaluation: Evaluation, project: Project) -> list[GateCheck]:
    if not project.gates.beat_baseline:
        return []
    metric = project.metric
    found = evaluation.metrics[metric].worse_end(metric)
    needed = evaluation.baseline[metric]
    smaller = metric in SMALLER_IS_BETTER
    passed = found < needed if smaller else found > needed
    end = "upper" if smaller else "lower"
    verdict = "beats" if passed else "does not beat"
    message = (
        f"beat_baseline: the {end} end of {metric}'s 95 % interval, {found:.4f}, {verdict} "
        f"the dummy model's {needed:.4f} ({_gap(found, needed)})"
    )
    return [GateCheck("beat_baseline", passed, found, needed, message)]


def _minimums(evaluation: Evaluation, project: Project) -> list[GateCheck]:
    checks = []
    for metric, needed in project.gates.minimum.items():
        found = evaluation.metrics[metric].value
        smaller = metric in SMALLER_IS_BETTER
        passed = found <= needed if smaller else found >= needed
        bound = "at most" if smaller else "at least"
        message = f"minimum {metric}: {found:.4f} found, {bound} {needed:.4f} needed ({_gap(found, needed)})"
        checks.append(GateCheck(f"minimum.{metric}", passed, found, needed, message))
    return checks


def _not_worse(evaluation: Evaluation, project: Project, champion: Evaluation) -> list[GateCheck]:
    allowed = project.gates.not_worse_by
    if allowed is None:
        return []
    if champion.rows != evaluation.rows:
        raise InvalidInput(
            "The live model was evaluated on other rows",
            detail=f"{champion.rows} rows against {evaluation.rows}: the two metrics cannot be compared",
            remedy="Evaluate the live model on the current test rows first.",
        )
    metric = project.metric
    found, live = evaluation.metrics[metric].value, champion.metrics[metric].value
    smaller = metric in SMALLER_IS_BETTER
    needed = live + allowed if smaller else live - allowed
    passed = found <= needed if smaller else found >= needed
    bound = "at most" if smaller else "at least"
    message = (
        f"not_worse_by: {metric} {found:.4f} found, {bound} {needed:.4f} needed: the live model has {live:.4f} "
        f"and {allowed:g} may be lost ({_gap(found, needed)})"
    )
    return [GateCheck("not_worse_by", passed, found, needed, message)]


def _gap(found: float, needed: float) -> str:
    return f"by {abs(found - needed):.4f}"
