"""A model's raw answer as the JSON of label, score and probabilities, without the objects between.

Here belongs the text; what is label and score is decided by `Verdict` in `serve/scorer.py`, which this follows.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import orjson

from tidemill.serve.scorer import Verdict

# From probabilities in the order of the classes, or one number; None where JSON has no such number.
Wording = Callable[[list[float]], str | None]


def wording(verdict: Verdict) -> Wording:
    """What `verdict` says of a row, as JSON."""
    if verdict.classes is None:
        return _number
    if verdict.positive is not None and len(verdict.classes) == 2:
        return _of_two(verdict.classes, verdict.positive, verdict.threshold)
    return _of_many(verdict)


def _number(row: list[float]) -> str | None:
    value = row[0]
    return f'"label":{value!r},"score":null,"probabilities":null' if isfinite(value) else None


def _of_two(classes: list[str], positive: str, threshold: float) -> Wording:
    first, second = (_json(name) for name in classes)
    place = classes.index(positive)
    yes, no = (first, second) if place == 0 else (second, first)

    def said(row: list[float]) -> str | None:
        one, two = row
        if not isfinite(one + two):
            return None
        label = yes if row[place] >= threshold else no
        one_text, two_text = repr(one), repr(two)
        score = two_text if place else one_text
        return f'"label":{label},"score":{score},"probabilities":{{{first}:{one_text},{second}:{two_text}}}'

    return said


def _of_many(verdict: Verdict) -> Wording:
    names = {name: _json(name) for name in verdict.classes or []}

    def said(row: list[float]) -> str | None:
        if not isfinite(sum(row)):
            return None
        score = verdict(row)
        probabilities = ",".join(f"{name}:{value!r}" for name, value in zip(names.values(), row, strict=True))
        label = names[str(score.label)]
        return f'"label":{label},"score":{score.score!r},"probabilities":{{{probabilities}}}'

    return said


def _json(text: str) -> str:
    return orjson.dumps(text).decode()
