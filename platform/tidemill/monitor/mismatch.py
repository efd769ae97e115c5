"""Train/serve mismatch: do predictions receive records in the form that the live model was trained on?

Here belong differences of form: columns that callers leave out, gaps that they fill, categories in another
spelling, numbers in another unit or rounded, texts and times in another format. A model answers all of these
without a word. That the distribution within the same form moves is drift (`monitor/drift.py`). Records that break
the contract are refused and never come here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from tidemill.home import Home
from tidemill.learn.bundle import load_reference
from tidemill.learn.bundle_info import load_info
from tidemill.monitor.bins import Numbers, as_numbers, as_texts, kind_of
from tidemill.monitor.watch import contract_of, current_window
from tidemill.project import CATEGORICAL, NUMERIC, Column, Project
from tidemill.serve import deployment
from tidemill.store.state import State

Kind = Literal["missing", "never_missing", "unknown_categories", "out_of_range", "unit", "rounded", "format"]

# Shares of rows from which a difference is one of form; smaller ones happen within the same form.
MISSING_MORE = 0.2
GAPS = 0.1
UNKNOWN = 0.05
OUTSIDE = 0.05
OTHER_SHAPE = 0.2
FRACTIONS = 0.5
# So many different values and a text is no category any more: its shape is compared.
MOST_CATEGORIES = 200
FEWEST = 30
UNITS = (10.0, 60.0, 100.0, 1000.0, 1024.0, 3600.0, 1e6)
SHOWN = 3


@dataclass(frozen=True)
class Mismatch:
    """One difference of form in one column: `share` of the rows show it, `advice` says what to do."""

    column: str
    kind: Kind
    share: float
    detail: str
    advice: str


@dataclass(frozen=True)
class Comparison:
    """What was compared. With fewer rows than `monitoring.minimum_rows`, or no model, nothing is found."""

    rows: int
    model_version: int | None
    mismatches: list[Mismatch] = field(default_factory=list)
    note: str = ""


def compare_live(home: Home, state: State, project: Project) -> Comparison:
    """The newest window of predictions of the live model against its training rows."""
    live = deployment.current(state, project.name)
    if live is None:
        return Comparison(0, None, note="no model is deployed")
    models = home.models(project.name)
    contract = contract_of(load_info(models, live.champion), project)
    window = current_window(home, contract, live.champion)
    if len(window) < project.monitoring.minimum_rows:
        return Comparison(
            len(window), live.champion, note=f"{project.monitoring.minimum_rows} predictions are the least"
        )
    found = find_mismatches(load_reference(models, live.champion), window, contract)
    return Comparison(len(window), live.champion, found)


def find_mismatches(reference: pd.DataFrame, current: pd.DataFrame, project: Project) -> list[Mismatch]:
    """Every difference of form between training rows and predictions, by the contract's features in their order.

    Both frames hold the feature columns; a column that `current` lacks counts as empty.
    """
    found: list[Mismatch] = []
    for name, column in project.feature_columns.items():
        then = reference[name]
        now = current[name] if name in current else pd.Series([None] * len(current), dtype=object)
        found += _gaps(then, now, name)
        then, now = then.dropna(), now.dropna()
        if min(len(then), len(now)) < FEWEST:
            continue
        if column.type in NUMERIC:
            found += _numbers(then, now, name, column)
        elif column.type == "text" or (column.type in CATEGORICAL and then.nunique() > MOST_CATEGORIES):
            found += _texts(as_texts(then, kind_of(column)), as_texts(now, kind_of(column)), name)
        elif column.type in CATEGORICAL:
            found += _categories(then.astype(str), now.astype(str), name)
        elif column.type == "datetime":
            found += _times(then, now, name)
    return found


def _gaps(then: pd.Series, now: pd.Series, name: str) -> Iterator[Mismatch]:
    before, after = float(then.isna().mean()), float(now.isna().mean())
    if after - before > MISSING_MORE:
        detail = f"{name!r} is empty in {after:.0%} of the predictions, in training in {before:.0%}"
        advice = "look whether the callers send the field, and under this name"
        yield Mismatch(name, "missing", after, detail, advice)
    if before > GAPS and after == 0 and len(now) >= FEWEST:
        detail = f"{name!r} is never empty in predictions, in training in {before:.0%} of the rows"
        advice = "look whether the callers fill gaps (with 0, or a word): send null for what is not known"
        yield Mismatch(name, "never_missing", 1.0, detail, advice)


def _numbers(then: pd.Series, now: pd.Series, name: str, column: Column) -> Iterator[Mismatch]:
    kind = kind_of(column)
    before, after = as_numbers(then, kind), as_numbers(now, kind)
    low, high = float(before.min()), float(before.max())
    # As wide again on each side: what lies beyond was no accident of the sample.
    margin = high - low
    outside = float(((after < low - margin) | (after > high + margin)).mean())
    if outside > OUTSIDE:
        if (factor := _unit(before, after)) is not None:
            detail = f"{name!r} is about {factor} as in training, as in another unit"
            advice = "look in which unit the callers send it, and have them send that of the training data"
            yield Mismatch(name, "unit", outside, detail, advice)
        else:
            detail = f"{name!r} is far outside of what training saw ({low:g} to {high:g}) in {outside:.0%}"
            advice = "look at what the callers send; if it is right, train on rows that hold such values"
            yield Mismatch(name, "out_of_range", outside, detail, advice)
    whole_then, whole_now = (float(np.mean(each == np.floor(each))) for each in (before, after))
    if whole_now == 1.0 and 1 - whole_then > FRACTIONS:
        detail = (
            f"{name!r} is always a whole number in predictions, in training in {whole_then:.0%} of the rows"
        )
        advice = "look whether the callers round it"
        yield Mismatch(name, "rounded", 1.0, detail, advice)


def _unit(before: Numbers, after: Numbers) -> str | None:
    """How many times as large the values are, when that is what units differ by."""
    middle_then, middle_now = float(np.median(np.abs(before))), float(np.median(np.abs(after)))
    if not middle_then or not middle_now:
        return None
    ratio = middle_now / middle_then
    for unit in UNITS:
        if 0.7 < ratio / unit < 1.4:
            return f"{unit:g} times as large"
        if 0.7 < ratio * unit < 1.4:
            return f"{unit:g} times as small"
    return None


def _categories(then: pd.Series, now: pd.Series, name: str) -> Iterator[Mismatch]:
    known = set(then)
    unknown = now[~now.isin(known)]
    share = len(unknown) / len(now)
    if share <= UNKNOWN:
        return
    shown = ", ".join(map(repr, unknown.value_counts().index[:SHOWN]))
    detail = f"{name!r} holds categories that training never saw in {share:.0%} of the predictions ({shown})"
    plain = {each.strip().casefold() for each in known}
    alike = [each for each in unknown.unique() if each.strip().casefold() in plain]
    if alike:
        advice = f"have the callers spell them as in training: {alike[0]!r} differs in case or spaces only"
    else:
        advice = "look whether the callers send codes or another language; if they are new, train on them"
    yield Mismatch(name, "unknown_categories", share, detail, advice)


def _texts(then: pd.Series, now: pd.Series, name: str) -> Iterator[Mismatch]:
    known = set(then.map(shape))
    other = now[~now.map(shape).isin(known)]
    share = len(other) / len(now)
    # Prose has a shape of its own in every row, in training as in use: only what training has few of tells.
    if len(known) <= MOST_CATEGORIES and share > OTHER_SHAPE:
        detail = f"{name!r} is written otherwise than in training in {share:.0%} of the predictions"
        shown = f" ({other.iloc[0][:40]!r}, in training {then.iloc[0][:40]!r})"
        advice = "look at the format in which the callers send it"
        yield Mismatch(name, "format", share, detail + shown, advice)


def shape(text: str) -> str:
    """What kind of characters a text is made of: `AB-12/7` and `X-3/44` have the same shape."""
    letters = re.sub(r"[^\W\d_]+", "a", text)
    return re.sub(r"\d+", "9", letters)


def _times(then: pd.Series, now: pd.Series, name: str) -> Iterator[Mismatch]:
    at_midnight = [
        float((each == each.dt.normalize()).mean())
        for each in (pd.to_datetime(then, utc=True), pd.to_datetime(now, utc=True))
    ]
    if at_midnight[1] == 1.0 and at_midnight[0] < 1 - FRACTIONS:
        detail = f"{name!r} has no time of day in predictions, in training in all but {at_midnight[0]:.0%}"
        yield Mismatch(name, "format", 1.0, detail, "have the callers send the time with the date")
