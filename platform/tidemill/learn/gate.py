"""The promotion gate: may this model be deployed?

Here belong the rules of `gates` in project.yaml over two evaluations. Deploying is `serve/deployment.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tidemill.errors import InvalidInput
from tidemill.project import SMALLER_IS_BETTER, Project

if TYPE_CHECKING:
    from tidemill.learn.comparison import Comparison
    from tidemill.learn.evaluation import Evaluation


@dataclass(frozen=True)
class GateCheck:
    """One rule: what was `found` (None: it could not be), what is `needed`, and a sentence with both."""

    name: str
    passed: bool
    found: float | None
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


def decide(evaluation: Evaluation, project: Project, comparison: Comparison | None = None) -> GateDecision:
    """Judge `evaluation` by the project's gates.

    `comparison` is with the live model on the same held-out rows; without one nothing is compared. A live model
    that cannot be compared refuses the new one where `not_worse_by` asks for it. Raises InvalidInput when the two
    are not of the same rows.
    """
    checks = [*_beats_baseline(evaluation, project), *_minimums(evaluation, project)]
    if comparison is not None and project.gates.not_worse_by is not None:
        _require_same_rows(evaluation, comparison)
        checks.append(_not_worse(project, comparison))
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


def _require_same_rows(evaluation: Evaluation, comparison: Comparison) -> None:
    if not comparison.reason and comparison.rows != evaluation.rows:
        raise InvalidInput(
            "The live model was evaluated on other rows",
            detail=f"{comparison.rows} rows against {evaluation.rows}: the two metrics cannot be compared",
            remedy="Evaluate the live model on the current test rows first.",
        )


def _not_worse(project: Project, comparison: Comparison) -> GateCheck:
    """The loss against the live model; its middle, or the end of its interval that speaks against the model."""
    allowed, metric = project.gates.not_worse_by or 0.0, project.metric
    live = f"the live model {comparison.version}"
    if comparison.reason:
        message = f"not_worse_by: {live} cannot be compared: {comparison.reason}"
        return GateCheck("not_worse_by", False, None, allowed, message)
    difference = comparison.differences[metric]
    loses = 1.0 if metric in SMALLER_IS_BETTER else -1.0
    judged = difference.worse_end(metric) if project.gates.surely_not_worse else difference.value
    loss = loses * judged
    # Adding zero turns minus zero, which would be shown with its sign, into zero.
    passed, found = loss <= allowed, loss + 0.0
    which = "the worse end of the 95 % interval of the loss" if project.gates.surely_not_worse else "the loss"
    low, high = sorted((loses * difference.low, loses * difference.high))
    message = (
        f"not_worse_by: against {live} on the same {comparison.rows} rows {which} of {metric} is {found:.4f}, at "
        f"most {allowed:.4f} is allowed ({_gap(loss, allowed)}); the loss is {loses * difference.value + 0.0:.4f} "
        f"({low + 0.0:.4f} to {high + 0.0:.4f}), a loss below zero is a gain"
    )
    return GateCheck("not_worse_by", passed, found, allowed, message)


def _gap(found: float, needed: float) -> str:
    return f"by {abs(found - needed):.4f}"
