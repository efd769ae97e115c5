"""Put on PYTHONPATH it makes model 2 fail, in every process, in the way that the file $TEST_FAULT names.

`raise`, `exit` (the process ends at once), `sleep SECONDS`, `hang`, `turn` (the classes change places), `same`
(one answer to everything), or nothing.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidemill.serve import scorer

FAULTY = 2
_open = scorer.open_scorer


class Faulty(scorer.Scorer):
    def __init__(self, inner: scorer.Scorer, fault: Path) -> None:
        self.version = inner.version
        self.classes = inner.classes
        self._inner = inner
        self._fault = fault

    def score(self, records: Sequence[Mapping[str, Any]]) -> list[scorer.Score]:
        what, _, seconds = self._fault.read_text().partition(" ")
        if what == "raise":
            raise ZeroDivisionError("as the test wants it")
        if what == "exit":
            os._exit(9)
        if what in ("sleep", "hang"):
            time.sleep(float(seconds or 3600))
        answers = self._inner.score(records)
        if what == "same":
            return [scorer.Score("yes", 0.9, {"no": 0.1, "yes": 0.9}) for _ in records]
        return [turned(one) for one in answers] if what == "turn" else answers


def turned(score: scorer.Score) -> scorer.Score:
    assert score.probabilities is not None
    assert score.score is not None
    first, second = score.probabilities
    values = {first: score.probabilities[second], second: score.probabilities[first]}
    return scorer.Score(second if score.label == first else first, 1 - score.score, values)


def open_faulty(models: Path, version: int, project: Any) -> scorer.Scorer:
    made = _open(models, version, project)
    fault = os.environ.get("TEST_FAULT")
    return Faulty(made, Path(fault)) if fault and version == FAULTY else made


scorer.open_scorer = open_faulty
