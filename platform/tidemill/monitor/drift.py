"""Drift: has the newest window of predictions moved away from the rows the live model was trained on?

Here belong the statistics, their thresholds and the report as data. Fetching windows and raising alerts belong to
`monitor/watch.py`, files to `monitor/report.py`.

The statistic is the population stability index, PSI = sum (c - r) ln(c / r) over the bins' shares r (reference)
and c (current) [Siddiqi, Credit Risk Scorecards, 2006]. Smoothing: each side receives k/2 pseudo-rows (k bins)
spread as both sides pooled, so a cell empty on one side has a small share and a cell empty on both adds nothing.

A fixed limit such as 0.2 is wrong for small windows: without any drift PSI is about (k - 1)(1/n + 1/m) for n
reference and m current rows. Here the threshold comes from resampling: pairs of n and m rows are drawn from the
reference, rows whole so that columns keep their dependence, and each column's PSI is brought to a common scale by
the cube-root transform of Wilson and Hilferty (PNAS 1931) with the column's resampled mean and variance. The
(1 - false_alarms) quantile of the LARGEST column of each pair is the limit: `monitoring.false_alarms` is then the
share of windows without a shift in which any column alarms, not that of each column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.errors import Corrupt, InvalidInput
from tidemill.monitor.bins import Binning, Kind, as_numbers, as_texts, kind_of, make_binning
from tidemill.project import Project
from tidemill.store.state import now

Verdict = Literal["stable", "drift", "too few rows"]
Numbers = NDArray[np.float64]

PREDICTION = "_prediction"
SCORE = "_score"
MOST_SHOWN = 10
# Cells (resamples x reference rows) up to which whole rows are drawn; beyond it each column is drawn by itself,
# which only raises the limit a little, as dependent columns alarm together.
WHOLE_ROWS = 20_000_000


@dataclass(frozen=True)
class ColumnDrift:
    """One column of a report. Shares are of all rows; `js` is the Jensen-Shannon distance in base 2.

    `ks` (numbers, times, text lengths) is the largest distance of the distribution functions; `chi2` and
    `cramers_v` (categories) are without Yates' correction. `out_of_range` is the share of current values outside
    the contract's range, or the reference's where the contract has none.
    """

    column: str
    kind: str
    value: float
    threshold: float
    expected_without_drift: float
    drifted: bool
    js: float
    ks: float | None
    chi2: float | None
    cramers_v: float | None
    missing_reference: float
    missing_current: float
    new_categories: list[str]
    out_of_range: float | None
    bins: list[str]
    reference_share: list[float]
    current_share: list[float]
    statistic: str = "psi"


@dataclass(frozen=True)
class DriftReport:
    """One comparison. `columns` is empty when there were too few rows; the most drifted column comes first."""

    project: str
    created: str
    verdict: Verdict
    rows: int
    minimum_rows: int
    reference_rows: int
    window_from: str | None
    window_to: str | None
    model_version: int | None
    false_alarms: float
    resamples: int
    columns: list[ColumnDrift] = field(default_factory=list)

    @property
    def drifted(self) -> list[str]:
        """Names of the columns that drifted, the most drifted first."""
        return [column.column for column in self.columns if column.drifted]

    def to_json(self) -> dict[str, Any]:
        """The report as values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> DriftReport:
        """A report from what `to_json` gave. Raises Corrupt."""
        try:
            columns = [ColumnDrift(**column) for column in document["columns"]]
            return cls(**{**document, "columns": columns})
        except (KeyError, TypeError) as error:
            raise Corrupt(
                "A drift report is not readable",
                detail=str(error),
                remedy="Remove the file; the next run writes a new report.",
            ) from error


def drift_report(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    project: Project,
    *,
    model_version: int | None = None,
    created: str | None = None,
) -> DriftReport:
    """Compare `current` with `reference`, column by column over the contract's features.

    Both frames have the feature columns; predictions are compared as well when both have `_score` (binary: the
    positive class's probability) or `_prediction` (label or value). `current` may have `at` (UTC), which gives
    the window's ends. Raises InvalidInput for a missing column or an empty reference.
    """
    return Reference(reference, project).compare(current, model_version=model_version, created=created)


class Reference:
    """The rows a model was trained on, binned once for any number of windows."""

    def __init__(self, rows: pd.DataFrame, project: Project) -> None:
        if len(rows) == 0:
            raise InvalidInput(
                "There are no reference rows",
                detail=f"the reference of project {project.name} is empty",
                remedy="Train the model again: its bundle holds the reference.",
            )
        self.project = project
        self.sources = _sources(rows, project)
        self.rows = rows = _with_every_answer(rows, self.sources, project.training.seed)
        self.false_alarms = project.monitoring.false_alarms
        self.resamples = int(np.clip(20 / self.false_alarms, 1000, 4000))
        self.binnings = {
            name: make_binning(name, kind, _column(rows, source, "reference"))
            for name, (source, kind) in self.sources.items()
        }
        self.codes = {
            name: binning.codes(rows[self.sources[name][0]]) for name, binning in self.binnings.items()
        }
        self.counts = {
            name: np.bincount(self.codes[name], minlength=binning.size).astype(np.float64)
            for name, binning in self.binnings.items()
        }
        self._limits: dict[tuple[int, tuple[str, ...]], dict[str, float]] = {}

    def compare(
        self, current: pd.DataFrame, *, model_version: int | None = None, created: str | None = None
    ) -> DriftReport:
        """The report on one window."""
        settings = self.project.monitoring
        enough = len(current) >= settings.minimum_rows
        columns = self._columns(current) if enough else []
        verdict: Verdict = "too few rows"
        if enough:
            verdict = "drift" if any(column.drifted for column in columns) else "stable"
        first, last = _ends(current)
        return DriftReport(
            project=self.project.name,
            created=created or now(),
            verdict=verdict,
            rows=len(current),
            minimum_rows=settings.minimum_rows,
            reference_rows=len(self.rows),
            window_from=first,
            window_to=last,
            model_version=model_version,
            false_alarms=self.false_alarms,
            resamples=self.resamples,
            columns=columns,
        )

    def _columns(self, current: pd.DataFrame) -> list[ColumnDrift]:
        names = [
            name
            for name, (source, _) in self.sources.items()
            if name != PREDICTION or source in current.columns
        ]
        limits = self.limits(len(current), names)
        found = [self._column(name, current, limits[name]) for name in names]
        return sorted(found, key=lambda column: column.value / column.threshold, reverse=True)

    def _column(self, name: str, current: pd.DataFrame, limit: float) -> ColumnDrift:
        source, kind = self.sources[name]
        binning = self.binnings[name]
        before, after = self.rows[source], _column(current, source, "window")
        reference, counts = self.counts[name], binning.counts(after).astype(np.float64)
        value = float(psi(reference, counts))
        chi2 = None if binning.ordered else chi_square(reference, counts)
        shares = (reference / reference.sum(), counts / counts.sum())
        return ColumnDrift(
            column=name,
            kind=kind,
            value=value,
            threshold=limit,
            expected_without_drift=self._expected(name, len(current)),
            drifted=value > limit,
            js=jensen_shannon(*shares),
            ks=kolmogorov_smirnov(as_numbers(before, kind), as_numbers(after, kind))
            if binning.ordered
            else None,
            chi2=chi2,
            cramers_v=None if chi2 is None else float(np.sqrt(chi2 / (reference.sum() + counts.sum()))),
            missing_reference=float(shares[0][-1]),
            missing_current=float(shares[1][-1]),
            new_categories=_new_categories(binning, before, after),
            out_of_range=self._out_of_range(name, before, after),
            bins=binning.labels,
            reference_share=[float(share) for share in shares[0]],
            current_share=[float(share) for share in shares[1]],
        )

    def _expected(self, name: str, rows: int) -> float:
        """PSI to expect without drift."""
        filled = int(np.count_nonzero(self.counts[name]))
        return max(1, filled - 1) * (1 / len(self.rows) + 1 / rows)

    def _out_of_range(self, name: str, before: pd.Series, after: pd.Series) -> float | None:
        column = self.project.columns.get(name)
        if column is None or kind_of(column) != "number":
            return None
        known, values = as_numbers(before, "number"), as_numbers(after, "number")
        known, given = known[~np.isnan(known)], values[~np.isnan(values)]
        low = column.min if column.min is not None else (known.min() if len(known) else -np.inf)
        high = column.max if column.max is not None else (known.max() if len(known) else np.inf)
        return float(np.mean((given < low) | (given > high))) if len(given) else 0.0

    def limits(self, rows: int, names: list[str]) -> dict[str, float]:
        """Each column's limit for a window of `rows` rows, over the family of columns `names`."""
        key = (rows, tuple(names))
        if key not in self._limits:
            self._limits[key] = self._resampled_limits(rows, names)
        return self._limits[key]

    def _resampled_limits(self, rows: int, names: list[str]) -> dict[str, float]:
        rng = np.random.default_rng(self.project.training.seed)
        drawn = self._draw_rows if len(self.rows) * self.resamples <= WHOLE_ROWS else self._draw_columns
        before, after = drawn(rng, len(self.rows), names), drawn(rng, rows, names)
        without = {name: psi(before[name], after[name]) for name in names}
        scales = {name: _Scale.of(without[name], self._expected(name, rows)) for name in names}
        largest = np.max([scales[name].standard(without[name]) for name in names], axis=0)
        limit = float(np.quantile(largest, 1 - self.false_alarms))
        return {name: scales[name].back(limit) for name in names}

    def _draw_rows(self, rng: np.random.Generator, size: int, names: list[str]) -> dict[str, Numbers]:
        """Bin counts of resamples of `size` whole rows: per column, resamples x bins."""
        total = len(self.rows)
        weights = rng.multinomial(size, np.full(total, 1 / total), size=self.resamples).astype(np.float32)
        return {
            name: (weights @ np.eye(self.binnings[name].size, dtype=np.float32)[self.codes[name]]).astype(
                np.float64
            )
            for name in names
        }

    def _draw_columns(self, rng: np.random.Generator, size: int, names: list[str]) -> dict[str, Numbers]:
        return {
            name: rng.multinomial(
                size, self.counts[name] / self.counts[name].sum(), size=self.resamples
            ).astype(np.float64)
            for name in names
        }


@dataclass(frozen=True)
class _Scale:
    """Wilson and Hilferty's transform of one column's PSI, as a scaled chi-square of `freedom` degrees."""

    mean: float
    freedom: float

    @classmethod
    def of(cls, without: Numbers, expected: float) -> _Scale:
        mean, variance = float(without.mean()), float(without.var())
        if mean <= 0 or variance <= 0:  # the reference never varies: what theory says of the smallest case
            return cls(expected, 1.0)
        return cls(mean, 2 * mean**2 / variance)

    def standard(self, value: Numbers) -> Numbers:
        """Values on a common, nearly normal scale."""
        spread = 2 / (9 * self.freedom)
        result: Numbers = (np.cbrt(value / self.mean) - (1 - spread)) / np.sqrt(spread)
        return result

    def back(self, standard: float) -> float:
        """The PSI that stands at `standard`."""
        spread = 2 / (9 * self.freedom)
        return float(self.mean * max(0.0, 1 - spread + standard * np.sqrt(spread)) ** 3)


def psi(reference: Numbers, current: Numbers) -> Numbers:
    """Population stability index of counts; the last axis is the bins. Smoothed as the module says."""
    bins = reference.shape[-1]
    before, after = reference.sum(axis=-1, keepdims=True), current.sum(axis=-1, keepdims=True)
    pooled = (reference + current) / (before + after)
    pseudo = bins / 2
    r = (reference + pseudo * pooled) / (before + pseudo)
    c = (current + pseudo * pooled) / (after + pseudo)
    ratio = np.divide(c, r, out=np.ones_like(c), where=r > 0)
    index: Numbers = ((c - r) * np.log(ratio)).sum(axis=-1)
    return index


def jensen_shannon(first: Numbers, second: Numbers) -> float:
    """Jensen-Shannon distance (the divergence's root) of two distributions, in base 2: 0 to 1."""
    middle = (first + second) / 2
    divergence = 0.0
    for shares in (first, second):
        filled = shares > 0
        divergence += float((shares[filled] * np.log2(shares[filled] / middle[filled])).sum()) / 2
    return float(np.sqrt(max(0.0, divergence)))


def kolmogorov_smirnov(first: Numbers, second: Numbers) -> float | None:
    """Two-sample Kolmogorov-Smirnov statistic of the values that are not NaN; None when a side has none."""
    first, second = np.sort(first[~np.isnan(first)]), np.sort(second[~np.isnan(second)])
    if len(first) == 0 or len(second) == 0:
        return None
    points = np.concatenate([first, second])
    below = np.searchsorted(first, points, side="right") / len(first)
    return float(np.abs(below - np.searchsorted(second, points, side="right") / len(second)).max())


def chi_square(first: Numbers, second: Numbers) -> float:
    """Pearson's chi-square of a 2 x k table of counts, over the columns that hold anything; no Yates."""
    table = np.vstack([first, second])[:, (first + second) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


def _sources(rows: pd.DataFrame, project: Project) -> dict[str, tuple[str, Kind]]:
    """Name in the report -> column of the frames and its kind."""
    sources: dict[str, tuple[str, Kind]] = {
        name: (name, kind_of(column)) for name, column in project.feature_columns.items()
    }
    if project.task == "binary" and SCORE in rows.columns:
        sources[PREDICTION] = (SCORE, "probability")
    elif PREDICTION in rows.columns:
        sources[PREDICTION] = (PREDICTION, "category" if project.is_classification else "number")
    return sources


def _with_every_answer(
    rows: pd.DataFrame, sources: Mapping[str, tuple[str, Kind]], seed: int
) -> pd.DataFrame:
    """`rows` with an answer in each: splits by time leave the earliest rows without an out-of-fold answer.

    Those get an answer drawn from the others, else the reference would show missing answers, which live never has.
    """
    if PREDICTION not in sources:
        return rows
    source = sources[PREDICTION][0]
    missing = rows[source].isna()
    known = rows.loc[~missing, source]
    if not missing.any() or known.empty:
        return rows
    drawn = np.random.default_rng(seed).integers(0, len(known), int(missing.sum()))
    answers = rows[source].copy()
    answers[missing] = known.to_numpy()[drawn]
    return rows.assign(**{source: answers})


def _column(frame: pd.DataFrame, name: str, what: str) -> pd.Series:
    if name not in frame.columns:
        raise InvalidInput(
            f"The {what} has no column {name}",
            detail=f"its columns are {', '.join(map(str, frame.columns))}",
            remedy="Train the model again under the contract that holds now.",
        )
    return frame[name]


def _new_categories(binning: Binning, before: pd.Series, after: pd.Series) -> list[str]:
    if binning.ordered:
        return []
    known = set(as_texts(before, binning.kind).dropna())
    fresh = as_texts(after, binning.kind).dropna()
    return [str(value) for value in fresh[~fresh.isin(known)].value_counts().index[:MOST_SHOWN]]


def _ends(current: pd.DataFrame) -> tuple[str | None, str | None]:
    if "at" not in current.columns or len(current) == 0:
        return None, None
    moments = pd.to_datetime(current["at"], utc=True)
    first, last = moments.min(), moments.max()
    return first.isoformat(timespec="milliseconds"), last.isoformat(timespec="milliseconds")
