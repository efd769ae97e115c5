"""Does a canary keep to the policy `rollout` of project.yaml? Errors, latency, drift of its answers, quality.

Pure rules over numbers; gathering those is `serve/challenger.py`. Every limit is met with an interval or a least
count, so that one slow answer or one unlucky one does not end a canary: it is looked at again and again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Any, Literal

from tidemill.project_rollout import Rollout

# The normal quantile of a two-sided 95 % interval.
Z = 1.959963984540054
# That of one in ten thousand: drift is looked at every second for hours.
Z_RARE = 3.719016485455709
LEAST_FAILURES = 3
# A canary that answers this fast is not slow, whatever the champion does: nobody who waits for it notices.
NEVER_SLOW_MS = 50.0
DECILES = 10


@dataclass(frozen=True)
class Breach:
    """What a canary broke: the number found, the limit, and the sentence for the history."""

    kind: Literal["errors", "latency", "drift", "quality"]
    found: float
    limit: float
    text: str

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "found": self.found, "limit": self.limit}


@dataclass(frozen=True)
class Truths:
    """Paired losses where truth has come: `count` pairs, the models' mean losses, the interval of the difference.

    The loss is 1 for a wrong label, the absolute error of a regression. `low` and `high` bound challenger less
    champion at 95 %.
    """

    count: int
    champion: float
    challenger: float
    low: float
    high: float


def judge_errors(failed: int, asked: int, policy: Rollout) -> Breach | None:
    """Too many failures among what the canary was asked in the window."""
    if failed < LEAST_FAILURES or wilson(failed, asked)[0] <= policy.max_error_share:
        return None
    share = failed / asked
    text = f"it failed {failed} of {asked} requests ({share:.1%}); {policy.max_error_share:.1%} are allowed"
    return Breach("errors", share, policy.max_error_share, text)


def judge_latency(canary_ms: Sequence[float], champion_ms: Sequence[float], policy: Rollout) -> Breach | None:
    """Too slow at the 95th percentile, absolutely or against the champion in the same window."""
    if len(canary_ms) < policy.minimum_answers:
        return None
    found = quantile(canary_ms, 0.95)
    if policy.max_latency_ms is not None and found > policy.max_latency_ms:
        text = f"its 95th percentile of latency is {found:.1f} ms; {policy.max_latency_ms:g} ms are allowed"
        return Breach("latency", found, policy.max_latency_ms, text)
    if len(champion_ms) < policy.minimum_answers:
        return None
    limit = max(policy.max_latency_ratio * quantile(champion_ms, 0.95), NEVER_SLOW_MS)
    if found <= limit:
        return None
    text = (
        f"its 95th percentile of latency is {found:.1f} ms; {limit:.1f} ms are allowed beside the live model"
    )
    return Breach("latency", found, limit, text)


def judge_drift(champion: Sequence[Any], canary: Sequence[Any], policy: Rollout) -> Breach | None:
    """Answers (labels or numbers) to the same records that are distributed too differently."""
    if len(canary) < policy.minimum_answers:
        return None
    one, other = binned(champion, canary)
    found = psi(one, other)
    limit = max(policy.max_drift, chance(len(one), sum(one), sum(other)))
    if found <= limit:
        return None
    text = f"its answers drift from the live model's on the same records: PSI {found:.2f} over {limit:.2f}"
    return Breach("drift", found, limit, text)


def judge_quality(truths: Truths | None, policy: Rollout, *, is_regression: bool) -> Breach | None:
    """Surely worse than the champion on the same records by more than is allowed."""
    if truths is None or truths.count < policy.minimum_truths:
        return None
    limit = policy.max_quality_loss * (truths.champion if is_regression else 1.0)
    if truths.low <= limit:
        return None
    what = "mean absolute error" if is_regression else "share of wrong labels"
    text = (
        f"its {what} is {truths.challenger:.3g} on {truths.count} known truths, the live model's "
        f"{truths.champion:.3g}; at most {limit:.3g} more is allowed"
    )
    return Breach("quality", truths.challenger - truths.champion, limit, text)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if trials == 0:
        return 0.0, 1.0
    share, spread = successes / trials, Z * Z / trials
    centre = share + spread / 2
    width = Z * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, (centre - width) / (1 + spread)), min(1.0, (centre + width) / (1 + spread))


def paired(losses: Sequence[tuple[float, float]]) -> Truths | None:
    """Means of (champion, challenger) losses, and the normal interval of their mean difference; None under 2."""
    count = len(losses)
    if count < 2:
        return None
    mine = sum(champion for champion, _ in losses) / count
    theirs = sum(challenger for _, challenger in losses) / count
    mean = theirs - mine
    spread = sum((challenger - champion - mean) ** 2 for champion, challenger in losses) / (count - 1)
    width = Z * sqrt(spread / count)
    return Truths(count, mine, theirs, mean - width, mean + width)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def binned(champion: Sequence[Any], canary: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Counts of both in the same bins: labels as they are, numbers by the champion's deciles."""
    if all(isinstance(value, str) for value in [*champion, *canary]):
        one, other = Counter(champion), Counter(canary)
        names = sorted({*one, *other})
        return [one[name] for name in names], [other[name] for name in names]
    edges = sorted({quantile(champion, place / DECILES) for place in range(1, DECILES)})
    counts = []
    for values in (champion, canary):
        places = Counter(sum(value > edge for edge in edges) for value in values)
        counts.append([places[place] for place in range(len(edges) + 1)])
    return counts[0], counts[1]


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """Population stability index of two rows of counts, half a count added where a bin is empty."""
    found = 0.0
    sizes = sum(reference), sum(current)
    for one, other in zip(reference, current, strict=True):
        p, q = max(one, 0.5) / sizes[0], max(other, 0.5) / sizes[1]
        found += (q - p) * log(q / p)
    return found


def chance(bins: int, reference: int, current: int) -> float:
    """The PSI that chance exceeds once in ten thousand looks: chi-square with bins - 1 degrees of freedom times
    (1/n + 1/m), by Wilson and Hilferty's approximation (within 8 %, above it for two bins)."""
    degrees = max(1, bins - 1)
    spread = 2 / (9 * degrees)
    quantile_ = degrees * (1 - spread + Z_RARE * sqrt(spread)) ** 3
    return quantile_ * (1 / reference + 1 / current)
