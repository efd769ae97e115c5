"""Truths as they come, joined to the pairs of answers that a challenger's process has made.

Here belongs the join in memory, of the newest pairs and the newest truths, in whatever order they come. What an
earlier process paired is fetched from the log by `serve/truths_of_pairs.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tidemill.serve.policy import Truths, paired

MOST_PAIRS = 20_000

Losses = tuple[float, float]


class PairedTruths:
    """Losses of (champion, challenger) by prediction: 1 for a wrong label, the absolute error of a number."""

    def __init__(self, *, is_classification: bool) -> None:
        self._is_classification = is_classification
        self._pairs: OrderedDict[str, tuple[Any, Any]] = OrderedDict()
        self._of_entity: OrderedDict[str, list[str]] = OrderedDict()
        self._truths: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._losses: OrderedDict[str, Losses] = OrderedDict()
        self._counted: Truths | None = None
        self._is_counted = True
        # A truth came about something that is not among the pairs in memory.
        self.missed = False

    def add_pair(self, prediction_id: str, entity_id: str | None, champion: Any, challenger: Any) -> None:
        """Two labels for the record of one prediction."""
        _put(self._pairs, prediction_id, (champion, challenger))
        if entity_id is not None:
            known = [*self._of_entity.get(entity_id, []), prediction_id][-50:]
            _put(self._of_entity, entity_id, known)
        for key in (("prediction", prediction_id), ("entity", entity_id or "")):
            if key in self._truths:
                self._note(prediction_id, self._truths[key])
                return

    def take(self, lines: Sequence[bytes]) -> None:
        """New lines of the log of truths; a later truth about the same thing replaces an earlier one."""
        for line in lines:
            event = orjson.loads(line)
            truth, prediction, entity = event["label"], event["prediction_id"], event["entity_id"]
            if truth is None:
                continue
            key = ("prediction", prediction) if prediction is not None else ("entity", str(entity))
            _put(self._truths, key, truth)
            about = [prediction] if prediction is not None else self._of_entity.get(str(entity), [])
            found = [one for one in about if one in self._pairs]
            self.missed = self.missed or not found
            for one in found:
                self._note(one, truth)

    def fill(self, losses: Mapping[str, Losses]) -> None:
        """What the log knows of pairs that are not in memory."""
        for prediction, loss in losses.items():
            if prediction not in self._pairs:
                _put(self._losses, prediction, loss)
                self._is_counted = False

    @property
    def truths(self) -> Truths | None:
        """What is known by now; None for fewer than 2."""
        if not self._is_counted:
            self._counted, self._is_counted = paired(list(self._losses.values())), True
        return self._counted

    def _note(self, prediction: str, truth: Any) -> None:
        champion, challenger = self._pairs[prediction]
        try:
            _put(self._losses, prediction, (self._loss(champion, truth), self._loss(challenger, truth)))
            self._is_counted = False
        except (TypeError, ValueError):
            return  # a truth that is no number says nothing about a regression

    def _loss(self, said: Any, truth: Any) -> float:
        if self._is_classification:
            return float(_text(said) != _text(truth))
        return abs(float(said) - float(truth))


def _text(label: Any) -> str:
    """A label as the log's views write it."""
    return label if isinstance(label, str) else orjson.dumps(label).decode()


def _put(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > MOST_PAIRS:
        kept.popitem(last=False)
