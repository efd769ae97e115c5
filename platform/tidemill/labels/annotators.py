"""How each person who labels is doing: pace, skips, agreement with the others, and rows whose answer is known.

Here belongs the report on people; agreement of all of them together is `labels/agreement.py`.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from tidemill.labels.ledger import Answer

Z95 = 1.959963984540054


@dataclass(frozen=True)
class AnnotatorReport:
    """One person. Shares are None where there was nothing to compare.

    `agreement` is the share of pairs (own answer, another's answer about the same row) that are equal, in
    `pairs`; for numbers it is None and `distance` is the mean absolute difference of those pairs. `gold_right` of
    `gold` rows with a known label were answered so, and `gold_low` to `gold_high` is the 95 % Wilson interval of
    that share; for numbers `gold_error` is the mean absolute error.
    """

    annotator: str
    answers: int
    skipped: int
    skip_share: float
    median_seconds: float | None
    pairs: int
    agreement: float | None
    distance: float | None
    gold: int
    gold_right: int | None
    gold_low: float | None
    gold_high: float | None
    gold_error: float | None


def report(
    answers: Sequence[Answer], known: Mapping[str, str | float], *, numeric: bool = False
) -> list[AnnotatorReport]:
    """One report a person, by name. `known` are the true labels of gold rows."""
    live = [each for each in answers if each.is_live]
    by_row: dict[str, list[Answer]] = defaultdict(list)
    own: dict[str, list[Answer]] = defaultdict(list)
    for each in live:
        own[each.annotator].append(each)
        if each.is_label:
            by_row[each.row].append(each)
    return [_of(name, given, by_row, known, numeric) for name, given in sorted(own.items())]


def _of(
    name: str,
    given: Sequence[Answer],
    by_row: Mapping[str, Sequence[Answer]],
    known: Mapping[str, str | float],
    numeric: bool,
) -> AnnotatorReport:
    labels = [each for each in given if each.is_label]
    skipped = len(given) - len(labels)
    seconds = [each.lead_seconds for each in given if each.lead_seconds is not None]
    pairs = [
        (each.label, other.label) for each in labels for other in by_row[each.row] if other.annotator != name
    ]
    gold = [(each.label, known[each.row]) for each in labels if each.row in known]
    right = sum(one == truth for one, truth in gold)
    low, high = wilson(right, len(gold)) if gold and not numeric else (None, None)
    return AnnotatorReport(
        annotator=name,
        answers=len(labels),
        skipped=skipped,
        skip_share=skipped / len(given),
        median_seconds=statistics.median(seconds) if seconds else None,
        pairs=len(pairs),
        agreement=sum(a == b for a, b in pairs) / len(pairs) if pairs and not numeric else None,
        distance=_distance(pairs) if numeric else None,
        gold=len(gold),
        gold_right=None if numeric else right,
        gold_low=low,
        gold_high=high,
        gold_error=_distance(gold) if numeric else None,
    )


def _distance(pairs: Sequence[tuple[str | float | None, str | float | None]]) -> float | None:
    apart = [abs(float(a) - float(b)) for a, b in pairs if a is not None and b is not None]
    return statistics.fmean(apart) if apart else None


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share. Wilson (1927)."""
    share = hits / total
    scale = 1 + Z95**2 / total
    middle = (share + Z95**2 / (2 * total)) / scale
    half = Z95 / scale * sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)
