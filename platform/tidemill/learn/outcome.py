"""What is said and kept of one candidate when its search is over.

Here belongs what becomes of its best setting, and why there is none. Searching is `learn/search.py`,
choosing among candidates `learn/training.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tidemill.learn.search import CandidateSearch, Trial

# The fit on all rows sees more of them than those that ended themselves, and so can use more iterations.
MORE_ITERATIONS = 1.1


def params_for_all(best: Trial, ends: Sequence[int]) -> dict[str, Any]:
    """The parameters that all train rows are fitted with.

    Of a setting whose fits ended themselves, after `ends` iterations, the number is then fixed by their mean: no
    row has to be held out of the last fit.
    """
    if not ends:
        return best.params
    kept = {name: value for name, value in best.params.items() if name != "early_stopping"}
    return {**kept, "max_iter": max(1, round(MORE_ITERATIONS * float(np.mean(ends))))}


def reason_of_absence(search: CandidateSearch) -> str:
    """One line on a candidate none of whose settings worked."""
    if not search.trials:
        return f"{search.name} was not tried: the time was over"
    reason = next((trial.error for trial in search.trials if trial.error), "the time was over")
    return f"{search.name} was left out: {reason}"


def notes_of_failures(search: CandidateSearch) -> list[str]:
    """A note on a candidate some of whose settings failed; none where all worked."""
    failed = [trial for trial in search.trials if trial.state == "failed"]
    if not failed:
        return []
    return [f"{len(failed)} of {len(search.trials)} settings failed, first with {failed[0].error}"]
